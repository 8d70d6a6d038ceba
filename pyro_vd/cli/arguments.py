"""Parts that several commands share: arguments for data, runs and files, and the table or JSON object at the end."""

from __future__ import annotations

import json
import logging
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from pyro_vd._core.errors import InputError
from pyro_vd.cli.parsing import Parser

if TYPE_CHECKING:
    from pyro_vd.data.dataset import Arrays
    from pyro_vd.evaluation.observations import Observed
    from pyro_vd.workflow.finished_run import Run

SOURCE = "folder of a finished run or compression, or a pruned .safetensors file"
"""What :func:`source_of` takes."""

logger: logging.Logger = logging.getLogger(__name__)


def add_data_dir(parser: Parser) -> None:
    """Give a parser the option ``--data-dir``."""
    parser.value("--data-dir", str, "torchvision root (default: the recipe's data.dir, then $PYRO_VD_DATA)")


def add_trust(parser: Parser) -> None:
    """Give a parser the option ``--trust``."""
    parser.value(
        "--trust", str, "a package from which the recipe's model.class may be imported; may be repeated", action="append"
    )


def take_trust(values: Namespace) -> None:
    """Trust the packages that the option ``--trust`` names.

    Raises:
        InputError: a value is not the name of a package.
    """
    if values.trust:
        from pyro_vd.workflow.named_networks import trust

        trust(*values.trust)


def check_learns_alpha(run: Run) -> None:
    """Refuse a run whose guide learns no α.

    Raises:
        InputError: naming the run and the kind of its guide.
    """
    if not run.guide.learns_alpha:
        kind = run.recipe.train.guide.kind
        raise InputError(
            f"{run.folder} was trained with train.guide.kind {kind!r}, which learns no α to prune by",
            name="train.guide.kind",
            value=kind,
        )


def source_of(values: Namespace) -> Path:
    """The path ``values.source``; of a finished compression, that of the file of its network.

    Raises:
        InputError: it does not exist.
    """
    from pyro_vd.workflow.compress_identity import COMPRESSED, COMPRESSION

    if not (source := Path(values.source)).exists():
        raise InputError(name="source", value=values.source, allowed=f"the {SOURCE}")
    if not (source / COMPRESSION).exists():
        return source
    if not (source / COMPRESSED).exists():
        message = f"{source} holds a compression that is not finished; go on with pyro-vd compress --resume"
        raise InputError(message, name="source", value=values.source)
    return source / COMPRESSED


def likelihood_in(info: dict[str, Any], file: Path) -> Observed | None:
    """The likelihood that the ``info`` of a network's file names; None, for which Pyro is not needed, where it names none.

    Raises:
        InputError: it says something else than a run writes.
    """
    from pyro_vd._core.messages import one_line

    if "likelihood" not in info:
        return None
    from pyro_vd.models.likelihood_files import likelihood_of

    try:
        return likelihood_of(info)
    except Exception as error:  # the file can hold anything
        raise InputError(f"{file}: {one_line(error)[:300]}", name=str(file), value=info) from error


class _Table(TypedDict):
    target: str
    test: float | None
    drop: list[str]


class _Info(TypedDict):
    table: NotRequired[_Table]
    features: NotRequired[list[str]]
    classes: NotRequired[list[str]]


def data_to_measure(source: Path, name: str | None, info: dict[str, Any], data_dir: str | None) -> tuple[str, Arrays]:
    """The data to measure a network on, with their name: the test part of a data set, or all rows of another table.

    Args:
        source: of the network, for messages.
        name: of the data; None for those that the file names which the network was trained on.
        info: of the network's file.
        data_dir: the torchvision root.

    Raises:
        InputError: neither gives a name, there are no such data, or ``info`` is not as a run writes it.
    """
    from pyro_vd._core.schema import check_tree
    from pyro_vd.data.loading import load_data
    from pyro_vd.data.tables import holds_tables, read_table
    from pyro_vd.data.text_files import holds_texts

    if not (name or info.get("data")):
        message = f"{source} does not name the data set that it was trained on; give it with --data NAME"
        raise InputError(message, name="data", value=None)
    check_tree(str(source), info, _Info)
    own, table = str(info.get("data")), info.get("table")
    classes = info.get("classes")
    if name is None or Path(name).absolute() == Path(own):
        options = {} if table is None else {**table, "as_classes": classes is not None}
        data = load_data(own if table else name or own, data_dir, **options)
        return data.name, data.test
    if table is None or not holds_tables(Path(name)):
        data = load_data(name, data_dir)
        if classes is not None and data.classes is not None and list(data.classes) != classes:
            message = f"{name} has the classes {', '.join(data.classes)}; those of {source} are {', '.join(classes)}"
            raise InputError(message, name="data", value=name, allowed="data of the same classes")
        if holds_texts(Path(name)):
            logger.warning(
                "%s: its words are numbered by its own training texts; the results are right only if the network was "
                "trained on the same texts",
                name,
            )
        return data.name, data.test
    return name, read_table(name, info["features"], table["target"], classes)


def new_file(out: Path | str) -> Path:
    """The path of a file to write.

    Raises:
        InputError: the file exists already.
    """
    path = Path(out)
    if path.exists():
        raise InputError(f"{path} exists; choose another file with --out", name="out", value=str(path))
    return path


def finish(values: Namespace, result: dict[str, Any], title: str) -> None:
    """Print a result: with ``--json`` as one JSON object, and otherwise its ``networks`` as a table below the title."""
    from pyro_vd._core.storage import as_json
    from pyro_vd.workflow.tables import print_networks

    if values.json:
        print(as_json(result))
    else:
        print_networks(title, json.loads(as_json(result))["networks"])
