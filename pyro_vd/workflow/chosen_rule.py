"""The pruning rule of a run."""

from __future__ import annotations

from pyro_vd._core.errors import InputError
from pyro_vd.data.dataset import Arrays
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.pruning.rule import PruningRule
from pyro_vd.pruning.threshold_choice import choose_threshold
from pyro_vd.workflow.phases import PruneConfig


def chosen_rule(config: PruneConfig, guide: WeightGuide, validation: Arrays | None) -> PruningRule:
    """The rule that settings give; with ``max_error_rise`` the threshold is chosen on the validation data.

    Raises:
        InputError: the threshold is above the one from which training held means at zero; or a threshold is to be chosen, and
            there are no validation data, or no threshold is low enough.
    """
    if config.max_error_rise is None:
        config.check_highest(guide.train_threshold)
        return config.rule()
    if validation is None:
        raise InputError(
            f"max_error_rise (={config.max_error_rise}) needs a run with validation data, data.validation > 0",
            name="max_error_rise",
            value=config.max_error_rise,
        )
    return config.rule(choose_threshold(guide, validation, config.max_error_rise))
