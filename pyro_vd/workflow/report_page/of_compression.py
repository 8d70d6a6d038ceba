"""The report on a compression."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyro_vd.compaction import surviving_units
from pyro_vd.guides.alpha import log_alpha
from pyro_vd.models.class_likelihoods import Categorical
from pyro_vd.pruning.rule import PruningRule
from pyro_vd.workflow.measuring import inputs_left
from pyro_vd.workflow.report_page.alpha import alpha_section
from pyro_vd.workflow.report_page.headline import FILES, Deployed, Measured, deployed, headline
from pyro_vd.workflow.report_page.inputs import InputNames, names_left
from pyro_vd.workflow.report_page.markup import table
from pyro_vd.workflow.report_page.networks import Pair, calibration_of, threshold_of
from pyro_vd.workflow.report_page.page import check_report, page
from pyro_vd.workflow.report_page.recipe import recipe_section, versions_here
from pyro_vd.workflow.report_page.section import Section, Subject
from pyro_vd.workflow.report_page.training import training_section
from pyro_vd.workflow.report_page.units import units_section

if TYPE_CHECKING:
    from pyro_vd.workflow.compress_result import CompressResult

_LEAD = "A trained network, made smaller by pyro_vd: what that has cost, and what is left of it."


def compression_report(result: CompressResult) -> bytes:
    """Return the page on a compression. Errors: see :meth:`~pyro_vd.CompressResult.report`."""
    check_report()
    made, data, example = result.trained, result.data, result.example
    pair = Pair(result.given, result.network, ("given", "compressed"), (result.given_likelihood, result.likelihood))
    measured = data.validation if data.test is None else data.test
    without = "log α over the epochs is not shown: its log is not in the folder of the compression."
    thresholds = dict.fromkeys(made.guide.site_names, made.threshold)
    names = InputNames(example, data.features, data.words)
    left = inputs_left(made.pruned, data.features, data.words, example)
    sections = (
        _headline(result),
        threshold_of(made.guide, PruningRule, made.threshold, data.validation, names, progress=False),
        alpha_section(log_alpha(made.guide), thresholds, made.alphas, without),
        units_section(surviving_units(made.pruned, example), names_left({"features": data.features or (), **left})),
        calibration_of(pair, measured, ((), ()), result.measured_on),
        training_section(made.history),
        _repeat(result),
    )
    return page("A compressed network", _LEAD, [Subject(f"{result.smaller:.1f} times smaller", sections)])


def _headline(result: CompressResult) -> Section:
    before, after = result.before, result.after
    errors = [Measured(losses.score, losses.interval) for losses in (result.losses_before, result.losses_after)]
    found = deployed(result.given, result.network, result.example)
    sizes = {**found.bytes, FILES[result.deploy]: (before.bytes, after.bytes)}
    forms = Deployed(sizes, {**found.seconds, **result.seconds}, found.notes)
    numbers = {"parameters": (before.parameters, after.parameters), "FLOPs": (before.flops, after.flops)}
    found_by = headline((errors[0], errors[1]), numbers, forms, [*result.captions(), *result.said], result.deploy)
    head, *rows = result.tried() or [[]]
    tried = (table(head, rows, "The sizes that were tried"),) if rows else ()
    return replace(found_by, parts=(*found_by.parts, *tried))


def _repeat(result: CompressResult) -> Section:
    given = [f"{name}={value!r}" for name, value in result.arguments.items()]
    likelihood = [] if isinstance(result.given_likelihood, Categorical | None) else ["likelihood=likelihood"]
    data = ["validation=validation"] if result.data.note is None else []  # or they were split off
    data += [] if result.data.test is None else ["test=test"]
    call = f"result = pyro_vd.compress({', '.join(['net', 'train', *data, *likelihood, *given])})"
    settings = "\n".join(f"{name}: {value!r}" for name, value in result.arguments.items())
    return recipe_section(settings, "Arguments", versions_here(), [call, 'result.report("report.html")'])
