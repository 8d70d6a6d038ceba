"""``pyro-vd evaluate``: measure a run, or a pruned network's file, on the test data."""

from __future__ import annotations

from dataclasses import asdict

from pyro_vd.cli.arguments import SOURCE, add_data_dir, data_of, finish, likelihood_of, parse, parser_of, source_of

HELP = "measure a run, or a pruned network's file, on the test data"


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    parser = parser_of("evaluate RUN|FILE [--data NAME] [--data-dir DIR]", HELP)
    parser.add_argument("source", type=str, help=SOURCE)
    parser.add_argument("--data", type=str, help="data set (default: the one it was trained on)")
    add_data_dir(parser)
    parser.add_argument("--num-samples", type=int, default=20, help="draws of the Monte Carlo predictive")
    values = parse(parser, arguments)

    from pyro_vd.data.loading import load_data
    from pyro_vd.evaluation.metrics import Metrics, evaluate
    from pyro_vd.evaluation.regression import RegressionMetrics
    from pyro_vd.export.pruned_file import load_pruned, read_info
    from pyro_vd.networks.flops import network_cost

    source = source_of(values)
    networks: dict[str, Metrics | RegressionMetrics] = {}
    if source.is_dir():
        from pyro_vd.workflow.run_folder import PRUNED, load_run
        from pyro_vd.workflow.training_run import measure_posterior

        run = load_run(source, values.data_dir)
        data = load_data(values.data, values.data_dir) if values.data else run.data
        networks = measure_posterior(run.guide, data.test, run.recipe.seed, values.num_samples)
        net = load_pruned(file := source / PRUNED)
    else:
        net = load_pruned(file := source)
        data = data_of(source, values.data, read_info(file), values.data_dir)
    networks["pruned"] = evaluate(net, data.test, likelihood=likelihood_of(file))
    cost = {**asdict(network_cost(net, data.x_test[:1])), "bytes": file.stat().st_size}
    measured = {name: asdict(metrics) for name, metrics in networks.items()}
    result = {"source": str(source), "data": data.name, "networks": measured, "cost": cost}
    finish(values, result, f"{source}: test data of {data.name}")
    if not values.json:
        print(
            "pruned: {parameters:,} parameters, {nonzero:,} non-zero weights, {flops:,} FLOPs per example, of them "
            "{effective_flops:,} with non-zero weights, {bytes:,} bytes".format(**cost)
        )
