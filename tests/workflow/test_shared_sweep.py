"""A sweep in one folder that several processes share; here several objects, between which the locks hold as well."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from support import refuses

from pyro_vd.workflow.plans import Grid, Search
from pyro_vd.workflow.recipe_files import read_recipe, recipe_with
from pyro_vd.workflow.search_space import read_search
from pyro_vd.workflow.settings import Setting, make_setting
from pyro_vd.workflow.shared_sweep import Claim, SharedSweep
from pyro_vd.workflow.study import COMPLETE, FAILED, RUNNING, STOPPED, Study
from pyro_vd.workflow.sweep_folder import open_study

POINTS = [{"train.lr": text} for text in ("0.1", "0.2", "0.3")]
SPACE = read_search(["train.lr=log:1e-4..1e-2", "train.batch_size=10..200", "train.optimizer=Adam,AdamW"])


def make(out: Path) -> Callable[[Mapping[str, str], Sequence[str]], Setting]:
    content = read_recipe("digits")
    return lambda point, seeds: make_setting(out, lambda changed: recipe_with(content, changed), point, seeds)


def joined(out: Path, plan: Grid | Search) -> SharedSweep:
    """A further process, as it were, that works on the sweep."""
    return SharedSweep(Study(out / ".sweep"), plan, make(out))


@pytest.fixture
def finish(finished_run: Path) -> Callable[..., None]:
    """Puts the results of a run into the folder of a claimed run, with a validation score of its own."""

    def finish(claim: Claim, score: float | None = 0.1) -> None:
        shutil.copytree(finished_run, claim.run.folder)
        metrics = json.loads((claim.run.folder / "metrics.json").read_text())
        (claim.run.folder / "metrics.json").write_text(json.dumps(metrics | {"validation_error": score}))

    return finish


def taken(sweep: SharedSweep) -> Claim:
    claim = sweep.take()
    assert claim is not None
    return claim


def test_no_run_is_taken_twice(tmp_path: Path, finish: Callable[..., None]) -> None:
    """Three processes take six runs in turn; each comes once, the seeds of a setting first."""
    sweeps = [joined(tmp_path, Grid(POINTS, ["0", "1"])) for _ in range(3)]
    claims = [(sweeps[index % 3], taken(sweeps[index % 3])) for index in range(6)]
    assert [claim.name for _, claim in claims] == [f"train.lr={lr},seed={seed}" for lr in (0.1, 0.2, 0.3) for seed in (0, 1)]
    assert [claim.leads for _, claim in claims] == [True, False] * 3
    assert [sweep.take() for sweep in sweeps] == [None] * 3
    for number, (sweep, claim) in enumerate(claims):
        assert sweeps[0].in_progress() == 3 - number // 2
        finish(claim, 0.1 + 0.02 * number)
        sweep.give_back(claim)
    assert [sweep.take() for sweep in sweeps] == [None] * 3
    trials = Study(tmp_path / ".sweep").trials()
    assert [trial.state for trial in trials] == [COMPLETE] * 3
    assert [trial.value for trial in trials] == [pytest.approx(value) for value in (0.11, 0.15, 0.19)], "means over seeds"
    assert [setting.name for setting in sweeps[1].settings()] == ["train.lr=0.1", "train.lr=0.2", "train.lr=0.3"]
    assert sweeps[1].ended() == 6


def test_what_was_given_up_is_taken_again(tmp_path: Path, finish: Callable[..., None]) -> None:
    """A process that is killed loses its locks; what it had finished without saying so counts."""
    first, second = (joined(tmp_path, Grid(POINTS[:2], [])) for _ in range(2))
    finished, given_up = taken(first), taken(first)
    assert second.take() is None
    finish(finished)
    for claim in (finished, given_up):
        claim.lock.release()
    assert taken(second).name == given_up.name
    assert second.in_progress() == 1, "the finished one was ended"


def test_failed_runs_are_tried_again_once_per_command(tmp_path: Path, finish: Callable[..., None]) -> None:
    plan = Grid(POINTS[:1], ["0", "1"])
    first = joined(tmp_path, plan)
    a, b = taken(first), taken(first)
    first.give_back(a, "too large")
    assert first.in_progress() == 1
    finish(b)
    first.give_back(b)
    assert (first.take(), first.in_progress(), first.settings()) == (None, 0, [])
    assert first.failed() == {a.name: "too large"}
    second, third = joined(tmp_path, plan), joined(tmp_path, plan)
    again = taken(second)
    assert (again.name, third.take(), second.failed()) == (a.name, None, {}), "the other seed is finished"
    finish(again)
    second.give_back(again)
    assert third.take() is None
    assert ([setting.name for setting in third.settings()], third.failed()) == (["train.lr=0.1"], {})
    assert third.ended() == 2


def test_a_score_that_is_not_finite_is_a_failure(tmp_path: Path, finish: Callable[..., None]) -> None:
    sweep = joined(tmp_path, Grid(POINTS[:1], []))
    finish(claim := taken(sweep), None)
    sweep.give_back(claim)
    assert ("validation score" in sweep.failed()[claim.name], sweep.settings()) == (True, [])


def test_values_and_seeds_can_be_added(tmp_path: Path, finish: Callable[..., None]) -> None:
    sweep = joined(tmp_path, Grid(POINTS[:1], ["0"]))
    finish(claim := taken(sweep))
    sweep.give_back(claim)
    assert sweep.take() is None
    more = joined(tmp_path, Grid(POINTS[:2], ["0", "1"]))
    names = [taken(more).name for _ in range(3)]
    assert (names, more.take()) == (["train.lr=0.1,seed=1", "train.lr=0.2,seed=0", "train.lr=0.2,seed=1"], None)


@pytest.mark.parametrize("learns", [False, True])
def test_a_search_draws_so_many_points(tmp_path: Path, finish: Callable[..., None], learns: bool) -> None:
    """All within the range, none twice, the same ones for the same seed; whoever is free draws the next one."""
    drawn: list[list[Mapping[str, str]]] = []
    for name in "ab":
        plan = Search(SPACE, [], 14, learns, seed=3)
        sweeps = [joined(tmp_path / name, plan) for _ in range(2)]
        for number in range(14):
            sweep = sweeps[number % 2]
            finish(claim := taken(sweep), 0.1 * abs(claim.run.recipe.train.lr - 0.003))
            sweep.give_back(claim)
        assert [sweep.take() for sweep in sweeps] == [None, None]
        trials = Study(tmp_path / name / ".sweep").trials()
        drawn.append([trial.user_attrs["point"] for trial in trials])
        assert [trial.state for trial in trials] == [COMPLETE] * 14
    assert drawn[0] == drawn[1]
    assert len({str(point) for point in drawn[0]}) == 14
    rates, sizes = ([float(point[key]) for point in drawn[0]] for key in ("train.lr", "train.batch_size"))
    assert all(1e-4 <= lr <= 1e-2 for lr in rates)
    assert all(size.is_integer() and 10 <= size <= 200 for size in sizes)
    assert {point["train.optimizer"] for point in drawn[0]} == {"Adam", "AdamW"}
    assert len(joined(tmp_path / "a", Search(SPACE, [], 15, learns, seed=3))._trials()) == 14
    assert joined(tmp_path / "a", Search(SPACE, [], 15, learns, seed=3)).take() is not None, "one more"


def test_tpe_draws_near_what_was_good(tmp_path: Path, finish: Callable[..., None]) -> None:
    """The score is the distance of log lr from that of 0.001; of 20 draws after the first ten more are near than by chance.

    A third of the range of log lr is near. By chance 20/3 would be, with a standard deviation of 2.1.
    """
    plan = Search(read_search(["train.lr=log:1e-5..1e-2"]), [], 30, True, seed=0)
    sweep = joined(tmp_path, plan)
    exponents = []
    while claim := sweep.take():
        exponents.append(math.log10(claim.run.recipe.train.lr))
        finish(claim, abs(exponents[-1] + 3) / 10)
        sweep.give_back(claim)
    assert len(exponents) == 30
    assert sum(abs(each + 3) < 0.5 for each in exponents[10:]) > 20 / 3 + 2 * 2.1


def test_killed_while_it_drew(tmp_path: Path) -> None:
    """Such a trial has no point, and does not count."""
    study = Study(tmp_path / ".sweep")
    study.draw({key: each.distribution() for key, each in SPACE.items()}, False, 0)
    sweep = joined(tmp_path, Search(SPACE, [], 1, False, 0))
    assert taken(sweep).trial == 1
    assert [trial.state for trial in study.trials()] == [FAILED, RUNNING]
    assert sweep.take() is None


def test_a_point_that_does_not_fit_is_a_failure(tmp_path: Path) -> None:
    """Only who holds the lock ends its trial, whoever looks at it before."""
    plan = Grid([{"train.lr": "-1"}], ["0", "1"])
    first, second = joined(tmp_path, plan), joined(tmp_path, plan)
    study = Study(tmp_path / ".sweep")
    plan.next(study)
    assert (second.ended(), second.settings(), second.failed()) == (0, [], {})
    assert [trial.state for trial in study.trials()] == [RUNNING]
    assert (first.take(), second.take(), second.in_progress()) == (None, None, 0)
    assert "lr" in str(second.failed())


def test_hopeless(tmp_path: Path, finish: Callable[..., None]) -> None:
    """Stopped is what is worse than three quarters of five complete settings, at the same tenth; then its other seeds too."""
    plan = Grid([{"train.lr": f"0.{number}"} for number in range(1, 8)], ["0", "1"])
    sweep, other = joined(tmp_path, plan), joined(tmp_path, plan)
    for number in range(5):
        leading, following = taken(sweep), taken(sweep)
        assert not sweep.is_hopeless(leading, 3, 0.1 * number), "too few are complete"
        assert not sweep.is_hopeless(following, 3, 9.0)
        for claim in (leading, following):
            finish(claim)
            sweep.give_back(claim)
    good, follows_good = taken(sweep), taken(sweep)
    bad, follows_bad = taken(sweep), taken(other)
    assert not sweep.is_hopeless(good, 3, 0.25)
    assert not sweep.is_hopeless(bad, 2, 0.9), "nobody has a score there"
    assert not other.is_hopeless(follows_bad, 3, 0.9), "the first seed decides"
    assert sweep.is_hopeless(bad, 3, 0.9)
    assert other.is_hopeless(follows_bad, 4, 0.0)
    assert not sweep.is_hopeless(follows_good, 3, 0.9)
    for holder, claim in ((sweep, bad), (other, follows_bad)):
        holder.give_back(claim)
    assert (other.take(), sweep.stopped(), sweep.in_progress()) == (None, ["train.lr=0.7"], 1)
    assert Study(tmp_path / ".sweep").trials()[6].state == STOPPED
    for claim in (bad, follows_bad):
        finish(claim)
    assert (sweep.stopped(), len(sweep.settings())) == ([], 6), "finished by hand"


def test_another_sweep_in_the_folder(tmp_path: Path) -> None:
    content = read_recipe("digits")
    recipe = recipe_with(content, {"train.lr": "0.1"})
    open_study(tmp_path, recipe, ["train.lr"], None, ["0"])
    open_study(tmp_path, recipe_with(content, {"train.lr": "0.2", "seed": "3"}), ["train.lr"], None, ["0", "1"])
    open_study(tmp_path, recipe_with(content, {"train.lr": "0.1", "finetune.epochs": "3"}), ["finetune.epochs"], None, ["0"])
    with refuses("output folder", str(tmp_path), "train.epochs is 150 there, 7 here"):
        open_study(tmp_path, recipe_with(content, {"train.epochs": "7"}), ["train.lr"], None, ["0"])
    with refuses("output folder", str(tmp_path), "there a grid", "train.lr=1..2"):
        open_study(tmp_path, recipe, ["train.lr"], ["train.lr=1..2"], ["0"])
    open_study(tmp_path / "search", recipe, ["train.lr"], ["train.lr=1..2"], [])
    for texts, seeds in ((["train.lr=1..3"], []), (["train.lr=1..2"], ["0", "1"])):
        with refuses("output folder", str(tmp_path / "search"), "there a search of train.lr=1..2, here"):
            open_study(tmp_path / "search", recipe, ["train.lr"], texts, seeds)


def test_a_broken_journal(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.note("said", 1)
    journal = tmp_path / "journal.jsonl"
    content = journal.read_text()
    journal.write_text(content + '{"op_code": 2, "worker_')
    assert Study(tmp_path).about == {"said": 1}, "an unfinished record has never been written"
    study.note("said", 2)
    assert (Study(tmp_path).about, len(journal.read_text().splitlines())) == ({"said": 2}, 3)
    for bad in ('{"op_code": 1\n{}\n', "[]\n", '{"op_code": 99, "worker_id": "a"}\n', "mine\nyours\n"):
        journal.write_text(content + bad)
        with refuses(str(journal)):
            Study(tmp_path)
