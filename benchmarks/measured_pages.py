"""The pages of the measured figures: which section stands on which page, and what is kept of those that are not made anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from measured_goals import PUBLISHED
from measured_runs import ROOT
from measured_tables import table

from pyro_vd.runs import recipes

PAGES = ROOT / "docs" / "results"
COUNTED = (
    "Compression is |W| / |W kept|: W are all weights of the network, its parameters of two dimensions or more, biases not",
    "counted; a weight without a prior counts as kept. All weights of the networks here have one. Where parameters and bytes",
    "stand beside it, they are those of the compact network, in a file of every number or of the non-zeros only.",
    "",
    "Runs on cuda were made side by side, 16 at a time, on a machine with one NVIDIA H100 and 16 virtual cores, in less than",
    "eight minutes in all. That set their numbers of epochs, and times of single runs are of that sharing. Those of",
    "lenet-300-100 and lenet-300-100-plain were made two to four at a time on two cores. vgg-like and resnet20, for CIFAR-10,",
    "were tried for two epochs of each phase, and not trained in full.",
)


@dataclass(frozen=True)
class Page:
    """One page: its title, what it shows, and its sections in their order."""

    title: str
    about: str
    sections: tuple[str, ...]


CONTENTS = {
    "lenet-300-100": Page(
        "LeNet-300-100 on MNIST",
        "Single weights are removed with and without augmented images, and whole units.",
        ("lenet-300-100", "lenet-300-100-plain", "structured-lenet-300-100"),
    ),
    "lenet5": Page("LeNet-5 on MNIST", "Single weights are removed, and whole filters.", ("lenet5", "structured-lenet5")),
    "imdb": Page("An LSTM on IMDB", "Texts: single weights are removed, and words.", ("imdb-lstm", "imdb-lstm-small")),
    "small-data": Page("Digits and diabetes", "Data that scikit-learn brings along.", ("digits", "diabetes")),
    "report": Page(
        "The experiments of the report",
        "What [the report](../report.md) showed, and what it left open, measured again.",
        (
            *("experiment report-dropout-rates", "experiment report-mlp2", "experiment report-mlp3", "report-mlp3"),
            *("experiment report-tradeoff", "experiment report-overfitting", "experiment report-stability"),
            *("soak-report-mlp2", "soak-report-mlp3"),
        ),
    ),
    "posterior-quality": Page(
        "Quality of the posterior, measured",
        "What the measures mean: [Is the posterior any good?](../posterior-quality.md)",
        ("experiment posterior-quality",),
    ),
}

Sections = Mapping[str, list[str]]


def recorded() -> dict[str, list[str]]:
    """The sections of the pages as they are, by title."""
    found: dict[str, list[str]] = {}
    for name in CONTENTS:
        path, lines = PAGES / f"{name}.md", []
        for line in path.read_text().splitlines() if path.exists() else []:
            if line.startswith("## "):
                lines = found[line.removeprefix("## ")] = []
            lines.append(line)
    return found


def pruned_cells(section: Sequence[str]) -> dict[str, str]:
    """The row of the pruned network in the tables of a section, by column."""
    found: dict[str, str] = {}
    columns: list[str] = []
    for line in section:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "network":
            columns = cells
        elif cells[0] == "pruned" and len(cells) == len(columns):
            found |= dict(zip(columns, cells, strict=True))
    return found


def index(sections: Sequence[str], made: Sections) -> list[str]:
    """The page that sums up: one row per recipe."""
    rows = []
    for name, page in CONTENTS.items():
        for section in (each for each in page.sections if each in sections):
            cells = pruned_cells(made.get(section, []))
            score = f"RMSE {cells['RMSE']}" if "RMSE" in cells else f"{cells.get('error %', '–')} %"
            link = f"[{section}]({name}.md#{section})"
            rows.append([link, score, f"{cells['compression']}x", cells.get("sparse bytes", "–"), PUBLISHED.get(section, "–")])
    return [
        "# Measured results",
        "",
        "Made by `python benchmarks/measured.py` from the runs and outputs of the commands that the pages show; not edited by",
        "hand. Nothing was chosen on the test data, which a run looks at only when all is trained and pruned.",
        "",
        *table(["recipe", "test error, pruned", "compression", "bytes, sparse file", "published"], rows, ["published"]),
        "Mean ± standard deviation over the seeds, where there are several. A dash: not measured, or nothing published.",
        "",
        *COUNTED,
        "",
        *(f"- [{page.title}]({name}.md): {page.about[0].lower()}{page.about[1:]}" for name, page in CONTENTS.items()),
        "- Speed: [latency and files](../inference.md), [the time of a step](../step-time.md), [shrinking](../shrinking.md)",
    ]


def recipe_list(made: Sections) -> list[str]:
    """The page beside the recipes: what each is, and where its figures are."""
    places = {section: name for name, page in CONTENTS.items() for section in page.sections if section in made}
    rows = []
    for recipe, (_, about) in recipes().items():
        page = places.get(recipe, places.get(f"experiment {recipe}"))
        rows.append([f"[{recipe}]({recipe}.yaml)", about, f"[measured](../docs/results/{page}.md)" if page else ""])
    return [
        "# Recipes",
        "",
        "Each file is a recipe for `pyro-vd train NAME`; any key can be changed on the command line. `mini_vd.py` is the whole",
        "method in one file, and `svi_script.py` trains with Pyro's own SVI. All figures of the documentation are on the pages",
        "of [measured results](../docs/results/index.md). `python benchmarks/measured.py` makes this list and those pages.",
        "",
        *table(["recipe", "what", "figures"], rows, ["what", "figures"]),
    ]


def pages(sections: Sequence[str], made: Sections) -> dict[Path, str]:
    """The text of every page by its file.

    Args:
        sections: the recipes that the first page sums up.
        made: the lines of every section by title.
    """
    written = {PAGES / "index.md": index(sections, made), ROOT / "runs" / "README.md": recipe_list(made)}
    for name, page in CONTENTS.items():
        lines = [line for section in page.sections for line in made.get(section, [])]
        written[PAGES / f"{name}.md"] = [f"# {page.title}", "", page.about, "", *lines]
    return {path: "\n".join(lines).rstrip() + "\n" for path, lines in written.items()}
