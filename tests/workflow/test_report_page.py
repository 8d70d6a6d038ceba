"""The report page in Chromium: it loads nothing, its slider shows what the library computes, and names stay text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import run_cli
from torch import nn

from pyro_vd import Dataset, compress, load_data, load_run, prune
from pyro_vd.compaction import surviving_features
from pyro_vd.evaluation.deployed import deployed_size
from pyro_vd.evaluation.score import score_of
from pyro_vd.networks import mlp
from pyro_vd.networks.inputs import rows
from pyro_vd.networks.sizes import compression
from pyro_vd.pruning import pruning_masks
from pyro_vd.workflow.report_page.files import report_runs
from pyro_vd.workflow.report_page.threshold import numbers_of
from pyro_vd.workflow.report_page.threshold_curve import Step

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = '<img src=x onerror="window.hacked=1"><b>$x$ & {{7*7}}</b>\'"'
SECTIONS = ("headline", "threshold", "alpha", "units", "calibration", "training", "repeat")
READY = "html[data-ready=yes]"
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; nothing is downloaded."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        yield (found := playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]))
        found.close()


@pytest.fixture(scope="module")
def digits_page(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    report_runs([finished_run], path := tmp_path_factory.mktemp("page") / "a.html", progress=False)
    return path


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page and waits for it; at the end, nothing may have been loaded or logged."""
    complaints: list[str] = []
    pages = []

    def open_(path: Path, ready: str = READY, **options: Any) -> Page:
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: None if request.url == path.as_uri() else complaints.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector(ready, timeout=60_000)
        return page

    yield open_
    assert not complaints
    for page in pages:
        page.close()


def trained(folder: Path, *arguments: Any) -> Path:
    code, _, err = run_cli("train", *arguments, "--out", folder, "--quiet", "--device=cpu")
    assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with hostile names, on a table: of its folder, its file, its columns and its classes."""
    root = tmp_path_factory.mktemp("table") / HOSTILE.replace("/", "")
    root.mkdir()
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {f"{HOSTILE}{name}": rng.normal(size=200) for name in ("", "2", "</script><script>window.hacked=1</script>")}
    )
    frame["kind"] = np.where(frame.iloc[:, 0] > 0, HOSTILE, "</script>")
    frame["</script>"] = 1
    frame.to_csv(file := root / "a.csv", index=False)
    keys = ("--model.sizes=[auto,8,auto]", "--train.epochs=40", "--train.lr=0.02", "--train.kl_weight.end=5")
    return trained(root / "run", "tabular", f"--data.name={file}", "--data.target=kind", "--data.drop=[</script>]", *keys)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    for part, count in (("train", 60), ("test", 20)):
        lines = [{"text": f"a < film & {'good' if n % 2 else 'bad'} > number{n}", "label": n % 2} for n in range(count)]
        (root / f"{part}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    keys = ("--train.epochs=6", "--train.kl_weight.end=2", "--train.lr=0.02", "--data.validation=20")
    return trained(
        root / "run",
        "text",
        f"--data.name={root}",
        "--model.args={vocabulary: auto, classes: auto, width: 6, hidden: 4}",
        *keys,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    x, y = load_data("digits").test
    x, y = x.reshape(-1, 8, 8).numpy(), y.numpy()
    np.savez(root / "a.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    keys = (
        "--model.args={shape: auto, classes: auto, width: 4}",
        "--train.epochs=4",
        "--train.kl_weight.end=1",
        "--data.validation=50",
    )
    return trained(root / "run", "images", f"--data.name={root / 'a.npz'}", *keys)


def slide(page: Page, section: str, at: int) -> dict[str, str]:
    """Move a slider; the numbers beside it."""
    slider = page.locator(f"#{section} [data-slider]")
    slider.fill(str(at))
    return {each.get_attribute("data-number"): each.inner_text() for each in page.locator(f"#{section} [data-number]").all()}


def filled(page: Page, canvas: str) -> int:
    """How many cells of a canvas have the colour of what is left."""
    script = """(canvas) => {
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
      copy.drawImage(canvas, 0, 0);
      const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
      const style = getComputedStyle(document.documentElement).getPropertyValue('--after').trim();
      const wanted = [1, 3, 5].map((at) => parseInt(style.slice(at, at + 2), 16));
      let count = 0;
      for (let k = 0; k < data.length; k += 4) count += wanted.every((value, channel) => data[k + channel] === value);
      return count;
    }"""
    return int(page.eval_on_selector(canvas, script))


def test_the_slider_shows_what_the_library_computes(finished_run: Path, digits_page: Path, opened: Open) -> None:
    page = opened(digits_page)
    run = load_run(finished_run)
    assert run.validation is not None
    steps = int(page.locator("[data-slider]").get_attribute("max") or 0) + 1
    seen = set()
    for at in (0, 9, steps // 2, steps - 1):
        shown = slide(page, "r0-threshold", at)
        threshold = float(shown["threshold"].replace("−", "-"))
        net, masks = prune(run.guide, rule := run.recipe.prune.rule(threshold)), pruning_masks(run.guide, rule)
        size = deployed_size(net, rows(run.validation[0], slice(1)))
        assert size is not None
        score, left = score_of(net, run.validation, run.model.observed), {name: int(mask.sum()) for name, mask in masks.items()}
        step = Step(threshold, score, compression(net, run.model.weight_names), size, len(run.validation[1]), left)
        assert shown == numbers_of(step)
        for place, (name, mask) in enumerate(masks.items()):
            assert filled(page, f'[data-mask="{place}"]') == left[name]
            assert f"{left[name]:,} of {mask.numel():,}" in page.locator(f'[data-left="{place}"]').inner_text()
        first = next(iter(masks.values()))
        assert page.locator("[data-inputs-left]").inner_text() == str(int(first.any(0).sum()))
        assert page.locator("[data-inputs-most]").inner_text() == str(int(first.sum(0).max()))
        seen.add(tuple(shown.values()))
    assert len(seen) == 4
    line = "document.querySelector('#r0-threshold .plot').layout.shapes[0].x0"
    assert page.evaluate(line) == threshold, "the line of the figure follows"
    page.locator("[data-slider]").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("[data-slider]").input_value() == str(steps - 2)
    assert page.locator("[data-slider]").get_attribute("aria-valuetext") == page.locator("[data-number=threshold]").inner_text()


def test_every_section_is_there_in_light_and_dark_and_on_paper(digits_page: Path, opened: Open) -> None:
    assert digits_page.stat().st_size < 3e6
    pages = {
        scheme: opened(digits_page, color_scheme=scheme, viewport={"width": 400, "height": 800}) for scheme in ("light", "dark")
    }
    for page in pages.values():
        assert [section.get_attribute("id") for section in page.locator("section").all()] == [f"r0-{key}" for key in SECTIONS]
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert page.locator(".plot:has(.main-svg)").count() == page.locator(".plot").count() >= len(SECTIONS)
        assert all(each.get_attribute("aria-label") for each in page.locator("[role=img]").all())
        for text in ("--text", "--soft", "--link"):
            assert contrast(page, text, "--back") >= 4.5
            assert contrast(page, text, "--box") >= 4.5
        assert contrast(page, "--after", "--empty") >= 3
    line = "document.querySelector('#r0-threshold .plot path.js-line').style.stroke"
    dark = pages["dark"]
    before = dark.evaluate(line)
    assert before != pages["light"].evaluate(line)
    dark.emulate_media(color_scheme="light")
    until(dark, f"{line} !== '{before}'")
    dark.emulate_media(color_scheme="dark")
    until(dark, f"{line} === '{before}'")
    dark.evaluate("dispatchEvent(new Event('beforeprint'))")
    until(dark, f"{line} !== '{before}'")  # paper is white


def until(page: Page, condition: str) -> None:
    """Wait until a condition holds. The page forbids what ``wait_for_function`` does: to evaluate text."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


def contrast(page: Page, front: str, back: str) -> float:
    """The ratio of contrast of two colours, by WCAG 2."""

    def luminance(name: str) -> float:
        text = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{name}').trim()")
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(front), luminance(back)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_names_never_become_markup(table: Path, tmp_path: Path, opened: Open) -> None:
    other = Path(shutil.copytree(table, tmp_path / HOSTILE.replace("/", "")))
    report_runs([table, other], path := tmp_path / "a.html", progress=False)
    page = opened(path)
    slide(page, "r0-threshold", 3)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, body b b, link[href]:not([rel=icon])").count() == 0
    assert page.locator("script").count() == 4, "two of data, and two programs"
    features = load_run(table).data.features
    assert features is not None
    assert page.locator("#r0-threshold .features .name").all_inner_texts() == list(features)
    assert any(HOSTILE in name for name in features)
    assert HOSTILE.replace("/", "") in page.locator("h2").all_inner_texts()[-1]
    assert "</script>" in page.locator("#r0-repeat pre").last.text_content()
    page.locator("#all-pareto .plot .nsewdrag").hover()
    texts = page.evaluate("document.querySelector('#all-pareto .plot').data.flatMap((trace) => trace.text || [])")
    assert len(texts) == 4
    assert all("&lt;img" in text and "<img" not in text for text in texts), "plotly takes tags of names"


def test_features_are_listed_by_name(table: Path, tmp_path: Path, opened: Open) -> None:
    report_runs([table], path := tmp_path / "a.html", progress=False)
    page, run = opened(path), load_run(table)
    for at in (2, 20):
        threshold = float(slide(page, "r0-threshold", at)["threshold"].replace("−", "-"))
        mask = next(iter(pruning_masks(run.guide, threshold).values()))
        counts = page.locator("#r0-threshold .features .count").all_inner_texts()
        assert counts == [str(int(count)) for count in mask.sum(0)]
        gone = [row.get_attribute("class") == "gone" for row in page.locator("#r0-threshold .features li").all()]
        assert gone == [not bool(left) for left in mask.any(0)]


@pytest.mark.slow
def test_words_are_listed(texts: Path, tmp_path: Path, opened: Open) -> None:
    report_runs([texts], path := tmp_path / "a.html", progress=False)
    page, run = opened(path), load_run(texts)
    assert run.data.words is not None
    for at in (6, 20):
        threshold = float(slide(page, "r0-threshold", at)["threshold"].replace("−", "-"))
        mask = pruning_masks(run.guide, threshold)["embedding.weight"]
        left = {word for word, row in zip(run.data.words, mask, strict=False) if row.any()}
        shown = page.locator("#r0-threshold .words").text_content() or ""
        assert set(shown.replace("(other words)", "(other_words)").split()) == {word.replace(" ", "_") for word in left}
    assert page.locator("#r0-units details", has_text="words").count() == 1


@pytest.mark.slow
def test_filters_are_tiles(images: Path, tmp_path: Path, opened: Open) -> None:
    report_runs([images], path := tmp_path / "a.html", progress=False)
    page, run = opened(path), load_run(images)
    for at in (4, 16):
        threshold = float(slide(page, "r0-threshold", at)["threshold"].replace("−", "-"))
        masks = pruning_masks(run.guide, threshold)
        assert filled(page, '[data-mask="0"]') == int(next(iter(masks.values())).sum())
    assert "each of 4 filters is a tile" in page.locator("#r0-threshold").inner_text()


@pytest.mark.slow
def test_a_compression(tmp_path: Path, opened: Open) -> None:
    data = load_data("digits")
    torch.manual_seed(0)
    net: nn.Module = mlp([64, 20, 10])
    train, validation = data.split(300)
    result = compress(
        net, train, validation=validation, test=data.test, target=3, deploy="sparse", epochs=2, lr=0.01, progress=False
    )
    result.report(path := tmp_path / "a.html")
    page = opened(path)
    assert [section.get_attribute("id") for section in page.locator("section").all()] == [f"r0-{key}" for key in SECTIONS]
    text = page.locator("#r0-headline").inner_text()
    assert f"{result.after.bytes:,}" in text
    assert f"{result.before.parameters:,}" in text
    masks = pruning_masks(result.trained.guide, result.trained.threshold)
    assert [filled(page, f'[data-mask="{k}"]') for k in range(2)] == [int(mask.sum()) for mask in masks.values()]
    assert page.locator("#r0-alpha .plot").count() == 3
    assert "target=3.0" in page.locator("#r0-repeat").inner_text()


@pytest.mark.slow
def test_a_compression_shows_what_was_asked_for(tmp_path: Path, opened: Open) -> None:
    """The names of the features of the data; large, the size and time of the form that is deployed."""
    torch.manual_seed(0)
    x = torch.randn(400, 5)
    y = (x[:, 1] > 0).long()
    names = ("a", HOSTILE, "c", "d", "e")
    data = Dataset("mine", x[:200], y[:200], x[300:], y[300:], features=names)
    options = {"validation": (x[200:300], y[200:300]), "epochs": 40, "lr": 0.02, "progress": False}
    result = compress(mlp([5, 12, 2]), data, target=2, deploy="torch", **options)
    result.report(path := tmp_path / "a.html")
    page = opened(path)
    cards = page.locator("#r0-headline .cards dt").all_inner_texts()
    assert cards[-2:] == ["bytes, every number", "PyTorch, µs"]
    assert page.locator("#r0-threshold .features .name").all_inner_texts() == list(names)
    left = surviving_features(result.trained.pruned, names, result.example)
    units = page.locator("#r0-units")
    assert f"{len(left)} of 5 features are left in the compact network" in units.inner_text()
    units.locator("summary").first.click()
    assert units.locator(".words").first.inner_text() == ", ".join(left)


def test_without_javascript_the_numbers_are_there(digits_page: Path, opened: Open) -> None:
    page = opened(digits_page, "main", java_script_enabled=False)
    text = page.locator("body").inner_text()
    assert "Without JavaScript" in text
    assert "of 768 weights left" in text
    page.locator("#r0-threshold summary").first.click()
    assert page.locator("#r0-threshold table tbody tr").count() > 20
