"""The keys of ``metrics.json`` that are read again; further keys are allowed."""

from __future__ import annotations

import math
from typing import Any, NotRequired, TypedDict

from pyro_vd._core.errors import InputError
from pyro_vd._core.schema import check_tree


class _Layer(TypedDict):
    site: str
    weights: int
    nonzero: int


class _Deployed(TypedDict):
    parameters: int
    bytes: int
    sparse_bytes: int
    not_compacted: str | None


class _Network(TypedDict):
    nll: float | None
    compression: float | None
    prior_share: NotRequired[float | None]
    deployed: NotRequired[_Deployed | None]
    layers: list[_Layer]


class _Classes(_Network):
    error: float
    roc_auc: float | None
    ece: NotRequired[float | None]
    ece_equal_mass: NotRequired[float | None]
    brier: NotRequired[float | None]
    entropy: NotRequired[float | None]
    mutual_information: NotRequired[float | None]


class _Numbers(_Network):
    rmse: float | None
    rmse_se: float | None
    coverage_50: float | None
    coverage_90: float | None
    examples: int


class _LayerUnits(TypedDict):
    kind: str
    inputs: list[int]
    units: list[int]
    all_inputs: int
    all_units: int


class _Compact(TypedDict):
    units: dict[str, _LayerUnits] | str  # text, such as "97-71-33", in a run of an earlier version
    parameters: int
    flops: int


class _Results(TypedDict):
    data: str
    test_size: NotRequired[int | None]
    seed: int
    threshold: float | None
    validation_error: NotRequired[float | None]
    validation_rmse: NotRequired[float | None]
    validation_nll: NotRequired[float | None]
    validation_se: NotRequired[float | None]
    validation_size: NotRequired[int | None]
    networks: dict[str, dict[str, Any]]
    compact: NotRequired[_Compact]
    features: NotRequired[list[str]]
    classes: NotRequired[list[str]]
    features_left: NotRequired[list[str]]
    words: NotRequired[int]
    words_left: NotRequired[list[str]]
    seconds: dict[str, float]


def check_results(where: str, content: Any) -> dict[str, Any]:
    """Check that a tree is the content of a finished run's ``metrics.json``, and return it.

    JSON has null for an RMSE that is not finite: it becomes infinity again, and its standard error NaN.

    Args:
        where: the file, for messages.
        content: the tree.

    Raises:
        InputError: naming the key that is missing or does not fit.
    """
    check_tree(where, content, _Results)
    networks: dict[str, dict[str, Any]] = content["networks"]
    if "pruned" not in networks:
        raise InputError(f"{where}: 'networks.pruned' is missing", name="networks.pruned")
    for name, network in networks.items():
        key = f"networks.{name}"
        check_tree(where, network, _Numbers if "rmse" in network else _Classes, key)
        for layer in network["layers"]:
            if not 0 <= layer["nonzero"] <= layer["weights"] or not layer["weights"]:
                allowed = "0 <= nonzero <= weights, and weights >= 1"
                raise InputError(
                    f"{where}: {key}.layers (={layer}) must have {allowed}", name=f"{key}.layers", value=layer, allowed=allowed
                )
        if network.get("examples", 1) < 1:
            examples, allowed = network["examples"], "an integer >= 1"
            message = f"{where}: {key}.examples (={examples}) must be {allowed}"
            raise InputError(message, name=f"{key}.examples", value=examples, allowed=allowed)
        for lost, value in ("rmse", math.inf), ("rmse_se", math.nan):
            if lost in network and network[lost] is None:
                network[lost] = value
    results: dict[str, Any] = content
    return results
