"""Sparse variational dropout in Pyro's own idiom: a model, a guide, SVI. Prints what is left of the network.

Run ``python runs/svi_script.py``; it takes about 20 seconds.
"""

import pyro
import torch
from pyro.infer import SVI
from pyro.optim import ClippedAdam

from pyro_vd import VariationalDropout, VariationalDropoutELBO, evaluate, load_data, prune
from pyro_vd.models import MLP
from pyro_vd.posterior import summarize

EPOCHS, WARM_UP, BATCH = 150, 40, 50


def main() -> None:
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    data = load_data("digits")
    x, y = data.x_train, data.y_train

    model = MLP([64, 100, 10], num_data=len(x))  # log-uniform priors on the weights, a categorical likelihood
    guide = VariationalDropout(model)  # q(w) = N(θ, αθ²)
    elbo = VariationalDropoutELBO()
    svi = SVI(model, guide, ClippedAdam({"lr": 3e-3, "lrd": 0.9998}), loss=elbo)

    for epoch in range(EPOCHS):
        elbo.kl_weight = min(1.0, epoch / WARM_UP)
        losses = [svi.step(x[batch], y[batch]) for batch in torch.randperm(len(x)).split(BATCH)]
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3}  loss {sum(losses) / len(losses):8.1f}  KL {elbo.kl:7.1f}")

    for layer in summarize(guide):
        print(f"{layer.site}: {layer.pruned} of {layer.weights} weights have log α ≥ 3")
    metrics = evaluate(prune(guide), data.test)
    file = f", {metrics.deployed.sparse_bytes} bytes" if metrics.deployed else ""
    print(f"pruned {metrics.compression:.1f} times{file}, test {metrics.score}")


if __name__ == "__main__":
    main()
