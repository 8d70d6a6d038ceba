"""Schedules: ranges, monotone warm-up and decay, end points, how fast they change, and that they are read back equal."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from pyro_vd.training import KLWeight, LRSchedule
from pyro_vd.workflow import Recipe
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe

EPOCHS = st.integers(1, 500)
TIMES = st.floats(0, 500, allow_subnormal=False)
KL_WEIGHTS = st.builds(
    lambda value, start, length: KLWeight(value, start, start + length),
    st.floats(0, 1e12),
    TIMES,
    st.just(0.0) | st.floats(1e-3, 500),
)
LR_SCHEDULES = st.one_of(
    st.just(LRSchedule()),
    st.builds(LRSchedule, st.just("linear"), st.floats(0, 0.999)),
    st.builds(
        LRSchedule,
        st.just("steps"),
        steps=st.dictionaries(st.integers(0, 500), st.floats(1e-6, 1e6), min_size=1, max_size=4),
    ),
)


@examples(300)
@given(schedule=KL_WEIGHTS, times=st.tuples(TIMES, TIMES))
def test_the_weight_of_the_kl(schedule: KLWeight, times: tuple[float, float]) -> None:
    early, late = sorted(times)
    assert 0 <= schedule.at(early) <= schedule.at(late) <= schedule.value
    assert schedule.at(schedule.end) == schedule.value == schedule.at(1e9)
    if schedule.end > schedule.start:
        assert schedule.at(schedule.start) == 0
        slope = schedule.value / (schedule.end - schedule.start)
        rounding = 1e-12 * schedule.value
        assert schedule.at(late) - schedule.at(early) <= slope * (late - early) + rounding
        middle = (schedule.start + schedule.end) / 2
        assert math.isclose(schedule.at(middle), schedule.value / 2, rel_tol=1e-9, abs_tol=1e-300)
    elif late < schedule.start:
        assert schedule.at(late) == 0, "no warm-up: all at once"


@examples(300)
@given(schedule=LR_SCHEDULES, epochs=EPOCHS, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_factor_on_the_learning_rate(schedule: LRSchedule, epochs: int, shares: tuple[float, float]) -> None:
    early, late = (share * epochs for share in sorted(shares))
    before, after = schedule.at(early, epochs), schedule.at(late, epochs)
    match schedule.kind:
        case "constant":
            assert before == after == 1
        case "linear":
            assert 0 <= after <= before <= 1
            assert schedule.at(epochs, epochs) == 0
            assert math.isclose(schedule.at(schedule.after * epochs, epochs), 1, rel_tol=1e-9)
            assert before - after <= (late - early) / epochs / (1 - schedule.after) + 1e-9
        case _:
            passed = [factor for epoch, factor in schedule.steps.items() if early < epoch <= late]
            assert math.isclose(after, before * math.prod(passed), rel_tol=1e-9)
            assert schedule.at(-1, epochs) == 1
            for epoch in schedule.steps:
                assert schedule.at(epoch, epochs) == schedule.at(epoch + 0.5, epochs), "from that epoch on"


@examples(100)
@given(kl_weight=KL_WEIGHTS, lr_schedule=LR_SCHEDULES)
def test_what_is_written_is_read_back_equal(kl_weight: KLWeight, lr_schedule: LRSchedule) -> None:
    for schedule in (kl_weight, lr_schedule):
        assert eval(repr(schedule), {type(schedule).__name__: type(schedule)}) == schedule
    tree = {"train": {"kl_weight": asdict(kl_weight), "lr_schedule": asdict(lr_schedule)}}
    with TemporaryDirectory() as folder:
        (path := Path(folder) / "recipe.yaml").write_text(yaml.safe_dump(tree))
        recipe = parse_recipe(read_recipe(str(path)))
    assert isinstance(recipe, Recipe)
    assert (recipe.train.kl_weight, recipe.train.lr_schedule) == (kl_weight, lr_schedule)
