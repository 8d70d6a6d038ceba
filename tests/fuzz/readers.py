"""Every reader of files, with small files that the library itself writes, and what spoils them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import yaml
from mutate import Mutation, spoil_bytes, spoil_json, spoil_yaml, spoil_zip
from reading import (
    Own,
    read_alpha_file,
    read_frames_file,
    read_image,
    read_journal,
    read_log_file,
    read_netcdf,
    read_own_file,
    read_posterior_file,
    read_pruned_file,
    read_recipe_file,
    read_results_file,
    read_table,
    read_texts,
    resume,
)
from seeds import (
    DATA,
    bytes_of,
    frames_seed,
    image_seed,
    journal_seed,
    network_file,
    npz_seed,
    pair,
    pruned_seed,
    table_seeds,
    texts_seed,
    unfinished,
)
from spoil import spoil_description, spoil_leaf
from support import idx

from pyro_vd import InputError, compact, save_pruned
from pyro_vd.data.files import load_npz
from pyro_vd.data.idx_files import read_idx
from pyro_vd.networks.ready import mlp
from pyro_vd.posterior.arviz_files import to_tree, write_inference_data
from pyro_vd.workflow.finished_run import load_run
from pyro_vd.workflow.inspection import run_inference_data
from pyro_vd.workflow.posterior_file import save_posterior
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.training_run import train_run


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
    frames, npz, image, (csv, parquet), texts = frames_seed(), npz_seed(), image_seed(), table_seeds(), texts_seed()
    for name in ("train.jsonl", "test.jsonl"):
        (folder / "texts").mkdir(exist_ok=True)
        (folder / "texts" / name).write_bytes(texts)
    ours, theirs = ((folder / name).read_bytes() for name in ("ours.nc", "theirs.nc"))
    return {
        "recipe": Reader("r.yaml", read_recipe_file, recipes, (), (spoil_bytes, spoil_yaml)),
        "metrics.json": Reader("metrics.json", read_results_file, (run["metrics.json"],), (), both),
        "metrics.jsonl": Reader("metrics.jsonl", read_log_file, (run["metrics.jsonl"],), (), both),
        "log-alpha.jsonl": Reader("log-alpha.jsonl", read_alpha_file, (run["log-alpha.jsonl"],), (), both),
        "pruned": Reader(file, read_pruned_file, pruned, (spoil_bytes, spoil_description)),
        "pruned-own": Reader(file, read_own_file, own, (spoil_bytes, spoil_description)),
        "posterior": Reader(file, read_posterior_file, (posterior,), (spoil_bytes, spoil_description)),
        "checkpoint": Reader("c.pt", resume, (checkpoint,), (spoil_bytes,), (spoil_leaf,)),
        **{name: Reader(file, network_file(load), (seed,), (spoil_bytes,)) for name, (load, seed) in sealed.items()},
        "frames": Reader("00000.npz", read_frames_file, (frames,), (spoil_bytes,), (spoil_zip,)),
        "npz": Reader("a.npz", lambda path: repr(asdict(load_npz(path))), (npz,), (spoil_bytes,), (spoil_zip,)),
        "csv": Reader("a.csv", read_table, (csv,), (), (spoil_bytes,)),
        "parquet": Reader("a.parquet", read_table, (parquet,), (), (spoil_bytes,)),
        "texts": Reader("texts/train.jsonl", read_texts, (texts,), (), both),
        "journal": Reader("journal.jsonl", read_journal, (journal_seed(),), (), both),
        "idx": Reader(file, lambda path: repr(read_idx(path, 3).tolist()), (idx_seed,), (), (spoil_bytes,)),
        "image": Reader("images/train/a/1.png", read_image, (image,), (), (spoil_bytes,)),
        "netcdf": Reader("a.nc", read_netcdf, (ours,), (spoil_bytes,), ()),
        "arviz-netcdf": Reader("a.nc", read_netcdf, (theirs,), (), (spoil_bytes,)),
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
