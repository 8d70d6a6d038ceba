"""Every reader of files, with small files that the library itself writes, and what spoils them."""

from __future__ import annotations

import io
import json
import random
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from mutate import Mutation, spoil_bytes, spoil_json, spoil_tree, spoil_yaml, spoil_zip
from PIL import Image
from support import EachStep, flat, idx
from torch import Tensor, nn

from pyro_vd import InputError, VariationalDropout, compact, fit, load_pruned, save_pruned
from pyro_vd._core.sealed import seal_zip
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.cli.arguments import read_likelihood
from pyro_vd.data.files import load_image_folder, load_npz
from pyro_vd.data.idx_files import read_idx
from pyro_vd.export.pruned_file import read_info
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood_files import describe
from pyro_vd.models.likelihoods import Normal
from pyro_vd.networks.ready import mlp
from pyro_vd.posterior.arviz_files import read_inference_data, to_tree, write_inference_data
from pyro_vd.training import TrainingState
from pyro_vd.training.frame_files import frame_of, read_frames, write_frames
from pyro_vd.workflow.comparison import read_results
from pyro_vd.workflow.finished_run import load_run
from pyro_vd.workflow.inspection import run_inference_data
from pyro_vd.workflow.posterior_file import load_posterior, save_posterior
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.run_folder import read_history, read_metrics
from pyro_vd.workflow.tables import print_networks, print_results
from pyro_vd.workflow.training_run import train_run

DATA = torch.rand(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 2
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 4, "progress": False}


@dataclass(frozen=True)
class Reader:
    """Reads ``file`` in a folder and gives what it holds, as text.

    What was spoilt by an ``exact`` mutation is refused or read as it was written; by a ``loose`` one, where the format has no
    checksum or the mutation corrects it, refused or read.
    """

    file: str
    read: Callable[[Path], str]
    seeds: tuple[bytes, ...]
    exact: tuple[Mutation, ...] = ()
    loose: tuple[Mutation, ...] = ()
    cost: int = 1
    """How many times fewer cases are tried: one of them starts a process."""


def text_of(tensors: Any) -> str:
    return repr({key: (str(t.dtype), t.tolist()) for key, t in tensors.items()})


def pair() -> tuple[BayesianNetwork, VariationalDropout]:
    torch.manual_seed(1)
    model = BayesianNetwork(mlp((4, 3, 2)))
    return model, VariationalDropout(model)


def bytes_of(write: Callable[[Path], Any], name: str = "file") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def read_recipe_file(path: Path) -> str:
    content = read_yaml(path)
    recipe = asdict(parse_recipe(content, str(path)))
    given, taken = flat(content), flat(recipe)
    assert all(given[key] == taken.get(key, {}) for key in given), "another value than the file's"
    return repr(recipe)


def read_results_file(path: Path) -> str:
    content = read_metrics(path.parent)
    results = read_results([path.parent], names=["run"])
    print_results("", results, [], [])
    print_networks("", content["networks"])
    return repr(content)


def read_pruned_file(path: Path) -> str:
    net = load_pruned(path)
    return f"{read_info(path)} {read_likelihood(path)} {net} {text_of(net.state_dict())}"


class Own(nn.Module):
    """A network that its file cannot describe, made smaller by compaction."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 2)
        self.inner.weight.data[2:] = 0
        self.inner.weight.data[:, 1] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x).relu())


def read_own_file(path: Path) -> str:
    return text_of(load_pruned(path, Own()).state_dict())


def read_posterior_file(path: Path) -> str:
    model, guide = pair()
    load_posterior(path, guide)
    return text_of({**model.state_dict(), **guide.state_dict()})


def resume(path: Path) -> str:
    """Go on from a checkpoint after its first epoch, by one step a batch: a wrong moment would be written through."""
    model, guide = pair()
    result = fit(guide, DATA, checkpoint=path, resume=True, **OPTIONS)
    losses = [(record.epoch, record.loss, record.kl) for record in result.history]
    return f"{losses} {text_of({**model.state_dict(), **guide.state_dict()})}"


def unfinished() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path, kept = Path(folder) / "c.pt", []

        def keep(state: TrainingState) -> None:
            if state.epoch == 1 and not kept:
                kept.append(path.read_bytes())

        fit(pair()[1], DATA, checkpoint=path, callbacks=[EachStep(keep)], **OPTIONS)
        return kept[0]


def spoil_leaf(rng: random.Random, good: bytes) -> bytes:
    """A checkpoint with a right digest and a leaf of another shape, type, device of storage, or value."""
    state = torch.load(io.BytesIO(good), weights_only=True)
    places: list[tuple[Any, Any]] = []

    def collect(tree: Any) -> None:
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            places.append((tree, key))
            if isinstance(tree[key], dict | list):
                collect(tree[key])

    collect(state)
    tensors = [place for place in places if isinstance(place[0][place[1]], Tensor)]
    tree, key = rng.choice(tensors if rng.random() < 0.5 else places)
    value = tree[key]
    wrong: list[Any] = [None, 3, -1, "x", [], {}, [1], torch.zeros(1), torch.zeros(0), torch.tensor(-1.0), (1, 2), 1e300]
    if isinstance(value, Tensor):
        wrong += [value.double(), value.long(), value.flatten()[:1], value.unsqueeze(0), value.expand(2, *value.shape)]
        wrong += [
            torch.full_like(value, 1),
            value.clone().fill_(-1) if value.is_floating_point() else value,
            value * 0,
            value.t(),
        ]
        wrong += [value.to_sparse(), nn.Parameter(value)] if value.is_floating_point() else []
        if value.is_floating_point():
            wrong += [torch.full_like(value, torch.nan), torch.full_like(value, torch.inf)]
    if isinstance(tree, dict) and rng.random() < 0.15:
        del tree[key]
    else:
        tree[key] = rng.choice(wrong) if rng.random() < 0.8 else spoil_tree(rng, value if not isinstance(value, Tensor) else 0)
    torch.save(state, buffer := io.BytesIO())
    return seal_zip(buffer.getvalue())


def spoil_description(rng: random.Random, good: bytes) -> bytes:
    """A safetensors file with another description, or header."""
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    if rng.random() < 0.5:
        header = spoil_tree(rng, header)
    else:
        ((mark, text),) = header["__metadata__"].items()
        header["__metadata__"] = {mark: json.dumps(spoil_tree(rng, json.loads(text)))}
    if isinstance(header, dict) and rng.random() < 0.3:
        for part in header.values():
            if isinstance(part, dict) and "dtype" in part:
                part["dtype"] = rng.choice(("F8_E4M3", "F8_E5M2", "F4", "U16", "U32", "BOOL", "C64", "F64", "I8", "X"))
                break
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + good[8 + length :]


def pruned_seed(layout: Any) -> bytes:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(12, 6), nn.LeakyReLU(0.3), nn.Linear(6, 3))
    net[0].weight.data[:, 4:] = 0
    return bytes_of(lambda path: save_pruned(net, path, {"threshold": 3.0, **describe(Normal())}, layout=layout))


def frames_seed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder), 0, [frame_of(nn.Sequential(nn.Linear(4, 2)), 0.0, DATA, None, "training")])
        return (Path(folder) / "00000.npz").read_bytes()


def npz_seed() -> bytes:
    x = np.random.default_rng(0).random((12, 4), np.float32)
    np.savez_compressed(buffer := io.BytesIO(), x_train=x, y_train=np.arange(12) % 3, x_test=x[:6], y_test=np.arange(6) % 3)
    return buffer.getvalue()


def read_log_file(path: Path) -> str:
    return repr(read_history(path.parent))


def read_frames_file(path: Path) -> str:
    frames = read_frames(path.parent)
    return repr((frames.epoch.tolist(), frames.score.tolist(), frames.measured_on, frames.score_name, str(frames.weights)))


def read_image(path: Path) -> str:
    return repr(load_image_folder(path.parents[2]).x_train.tolist())


def image_seed() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "png")
    return buffer.getvalue()


def read_netcdf(path: Path) -> str:
    tree = to_tree(read_inference_data(path))
    return repr([(node.path, node.to_dataset().to_dict()) for node in tree.subtree])


def network_file(load: Callable[[Path], nn.Module]) -> Callable[[Path], str]:
    return lambda path: repr(load(path)(DATA[0]).tolist())


def prepare(folder: Path) -> dict[str, Reader]:
    """Every reader by name; ``folder`` comes to hold what they need beside the file that is spoilt."""
    from pyro_vd.export.onnx_file import load_onnx, save_onnx
    from pyro_vd.export.torch_file import load_torch_export, save_torch_export

    steps = {"epochs": 1, "batch_size": 500}
    settings = {"pretrain": steps, "train": {**steps, "train_threshold": 3.0, "kl_weight": {"end": 1}}, "finetune": dict(steps)}
    recipe = {**settings, "model": {"sizes": [64, 4, 10]}, "data": {"validation": 100}, "seed": 3}
    train_run(parse_recipe(recipe), folder / "run", progress=False)
    run = {path.name: path.read_bytes() for path in (folder / "run").iterdir() if path.is_file()}
    for part in ("train/a", "train/b", "test/a", "test/b"):
        (folder / "images" / part).mkdir(parents=True)
        (folder / "images" / part / "1.png").write_bytes(image_seed())
    data = run_inference_data(load_run(folder / "run"), num_samples=2, weights=2)
    write_inference_data(data, folder / "ours.nc")
    to_tree(data).to_netcdf(folder / "theirs.nc", engine="h5netcdf")
    torch.manual_seed(0)
    net, file, both = mlp((4, 3, 2)), "file", (spoil_bytes, spoil_json)
    sealed = {
        "torch-export": (load_torch_export, bytes_of(lambda path: save_torch_export(net, path, DATA[0]))),
    }
    if find_spec("onnxscript"):  # of the extra
        sealed["onnx"] = load_onnx, bytes_of(lambda path: save_onnx(net, path, DATA[0]))
    pruned = tuple(pruned_seed(layout) for layout in ("dense", "sparse", "quantised"))
    small = compact(Own(), DATA[0])
    own = tuple(bytes_of(lambda path, form=form: save_pruned(small, path, layout=form)) for form in ("dense", "sparse"))
    posterior = bytes_of(lambda path: save_posterior(path.parent, pair()[1]), "posterior.safetensors")
    checkpoint, idx_seed = unfinished(), idx(np.arange(24).reshape(2, 3, 4))
    recipes = run["recipe.yaml"], yaml.safe_dump(recipe).encode()
    frames, npz, image = frames_seed(), npz_seed(), image_seed()
    ours, theirs = ((folder / name).read_bytes() for name in ("ours.nc", "theirs.nc"))
    return {
        "recipe": Reader("r.yaml", read_recipe_file, recipes, (), (spoil_bytes, spoil_yaml)),
        "metrics.json": Reader("metrics.json", read_results_file, (run["metrics.json"],), (), both),
        "metrics.jsonl": Reader("metrics.jsonl", read_log_file, (run["metrics.jsonl"],), (), both),
        "pruned": Reader(file, read_pruned_file, pruned, (spoil_bytes, spoil_description)),
        "pruned-own": Reader(file, read_own_file, own, (spoil_bytes, spoil_description)),
        "posterior": Reader(file, read_posterior_file, (posterior,), (spoil_bytes, spoil_description)),
        "checkpoint": Reader("c.pt", resume, (checkpoint,), (spoil_bytes,), (spoil_leaf,)),
        **{name: Reader(file, network_file(load), (seed,), (spoil_bytes,)) for name, (load, seed) in sealed.items()},
        "frames": Reader("00000.npz", read_frames_file, (frames,), (spoil_bytes,), (spoil_zip,)),
        "npz": Reader("a.npz", lambda path: repr(asdict(load_npz(path))), (npz,), (spoil_bytes,), (spoil_zip,)),
        "idx": Reader(file, lambda path: repr(read_idx(path, 3).tolist()), (idx_seed,), (), (spoil_bytes,)),
        "image": Reader("images/train/a/1.png", read_image, (image,), (), (spoil_bytes,)),
        "netcdf": Reader("a.nc", read_netcdf, (ours,), (spoil_bytes,), (), 8),
        "arviz-netcdf": Reader("a.nc", read_netcdf, (theirs,), (), (spoil_bytes,), 8),
    }


def try_one(reader: Reader, path: Path, rng: random.Random, wanted: dict[bytes, str]) -> str | None:
    """What is wrong with how the reader takes one spoilt file; None where nothing is."""
    good = rng.choice(reader.seeds)
    mutation = rng.choice(reader.exact + reader.loose)
    bad = mutation(rng, good)
    path.write_bytes(bad)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = reader.read(path)
    except InputError as error:
        if str(path) not in str(error) and str(path.parent) not in str(error):
            return f"{mutation.__name__}: the message does not name the file: {error}"
        return f"{mutation.__name__}: a message of {len(str(error))} characters" if len(str(error)) > 2000 else None
    except Exception as error:
        return f"{mutation.__name__}: {type(error).__name__}: {error}"[:500]
    if mutation in reader.exact and found != wanted[good]:
        return f"{mutation.__name__}: other content than was written"
    return None
