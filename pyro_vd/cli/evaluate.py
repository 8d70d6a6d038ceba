"""``pyro-vd evaluate``: measure a run, or a pruned network's file, on the test data."""

from __future__ import annotations

from dataclasses import asdict

from pyro_vd.cli.arguments import SOURCE, add_data_dir, add_trust, data_to_measure, finish, likelihood_in, source_of, take_trust
from pyro_vd.cli.parsing import Parser


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    parser = Parser("evaluate RUN|FILE [--data NAME] [--data-dir DIR] [--trust PACKAGE]")
    parser.value("source", str, SOURCE)
    parser.value("--data", str, "data set, or another table with the same columns (default: what the network was trained on)")
    add_data_dir(parser)
    add_trust(parser)
    parser.value("--num-samples", int, "draws of the Monte Carlo predictive (default: 20)", default=20)
    values = parser.read(arguments)

    from pyro_vd.evaluation.metrics import AnyMetrics, evaluate
    from pyro_vd.export.pruned_file import load_pruned, read_info
    from pyro_vd.networks.flops import network_cost
    from pyro_vd.networks.inputs import rows

    source = source_of(values)
    take_trust(values)
    networks: dict[str, AnyMetrics] = {}
    if source.is_dir():
        from pyro_vd.workflow.finished_run import load_run, run_pruned
        from pyro_vd.workflow.measuring import measure_posterior
        from pyro_vd.workflow.run_folder import PRUNED

        run = load_run(source, values.data_dir)
        net, info = run_pruned(source), read_info(file := source / PRUNED)
        name, test = (
            data_to_measure(file, values.data, info, values.data_dir) if values.data else (run.data.name, run.data.test)
        )
        networks = measure_posterior(run.guide, test, run.recipe.seed, values.num_samples)
    else:
        net, info = load_pruned(file := source), read_info(file)
        name, test = data_to_measure(source, values.data, info, values.data_dir)
    networks["pruned"] = evaluate(net, test, likelihood=likelihood_in(info, file))
    cost = {**asdict(network_cost(net, rows(test[0], slice(1)))), "bytes": file.stat().st_size}
    measured = {name: asdict(metrics) for name, metrics in networks.items()}
    result = {"source": str(source), "data": name, "networks": measured, "cost": cost}
    finish(values, result, f"{source}: test data of {name}")
    if not values.json:
        print(
            "pruned: {parameters:,} parameters, {nonzero:,} non-zero weights, {flops:,} FLOPs per example, of them "
            "{effective_flops:,} with non-zero weights, {bytes:,} bytes".format(**cost)
        )
