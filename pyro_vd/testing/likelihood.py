"""What every likelihood satisfies."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.class_labels import is_classes
from pyro_vd.evaluation.metrics import evaluate
from pyro_vd.evaluation.observations import check_observations
from pyro_vd.evaluation.score import Score, output_score
from pyro_vd.evaluation.scores import expected, log_likelihood
from pyro_vd.guides.variational_dropout import VariationalDropout
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.models.likelihood_files import describe, likelihood_of
from pyro_vd.models.likelihoods import LIKELIHOODS
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.posterior.inference_data import to_inference_data
from pyro_vd.posterior.summary import predictive
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.testing.statistics import ERRORS, Seeded, check_mean
from pyro_vd.training.fitting import fit

DRAWS = 20_000


class LikelihoodConformance(Seeded, ABC):
    """Tests of a likelihood: its distribution, scores, checks of observations, and what a model with it trains and predicts.

    A subclass says how it is made, how many outputs it has, and what it must refuse to observe::

        class TestMyLikelihood(LikelihoodConformance):
            wrong = (-1.0,)

            def make(self):
                return MyLikelihood()
    """

    outputs: int | tuple[int, ...] = 1
    """Numbers that the network gives for each example, or the shape of an example's output."""
    wrong: tuple[float, ...] = ()
    """Observations that have no probability, beside NaN."""

    @abstractmethod
    def make(self) -> Likelihood:
        """The likelihood, the same at every call."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example's output."""
        return (self.outputs,) if isinstance(self.outputs, int) else self.outputs

    def output(self, n: int, seed: int = 0) -> Tensor:
        """Outputs ``(n, *shape)`` of a network."""
        return torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(seed))

    def data(self) -> tuple[Tensor, Tensor]:
        """Inputs ``(60, 4)``, and observations drawn for a linear function of them."""
        x = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
        true = torch.randn(4, math.prod(self.shape), generator=torch.Generator().manual_seed(2))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return x, self.make()((x @ true).reshape(60, *self.shape)).sample()

    def guide(self) -> VariationalDropout:
        """A guide of a linear model with this likelihood."""
        linear = nn.Linear(4, math.prod(self.shape))
        net = linear if len(self.shape) == 1 else nn.Sequential(linear, nn.Unflatten(1, self.shape))
        return VariationalDropout(BayesianNetwork(net, self.make()), log_sigma2=-4.0)

    def test_one_distribution_per_example(self) -> None:
        """Its batch shape is ``(n,)``, and one example has the log probability that it has among others."""
        output = self.output(7)
        distribution = self.make()(output)
        assert distribution.batch_shape == (7,)
        y = distribution.sample()
        alone = torch.cat([self.make()(output[k : k + 1]).log_prob(y[k : k + 1]) for k in range(7)])
        torch.testing.assert_close(distribution.log_prob(y), alone)

    def test_its_density_is_that_of_its_samples(self) -> None:
        """The gradient of log p in the output and in its own parameters is 0 in the mean over samples; it is not 0 in each."""
        likelihood, output = self.make(), self.output(1).expand(DRAWS, *self.shape).clone().requires_grad_()
        distribution = likelihood(output)
        y = distribution.sample()
        gradient = torch.autograd.grad(distribution.log_prob(y).sum(), output)[0]
        assert gradient.any()
        check_mean(gradient, torch.zeros(self.shape))
        if isinstance(likelihood, nn.Module):
            for parameter in likelihood.parameters():
                draws = [likelihood(output[:100]).log_prob(part).mean() for part in y.split(100)]
                gradients = [torch.autograd.grad(draw, parameter, retain_graph=True)[0] for draw in draws]
                check_mean(torch.stack(gradients), torch.zeros_like(parameter))

    def test_its_expectation_is_the_mean_of_its_samples(self) -> None:
        """Class probabilities, or the mean of numbers: what predictions show."""
        distribution = self.make()(self.output(1))
        y = distribution.sample((DRAWS,)).squeeze(1)
        mean = expected(distribution)[0]
        if is_classes(distribution):
            y = nn.functional.one_hot(y, mean.shape[-1]).float()
        check_mean(y, mean)

    def test_a_right_output_scores_better(self) -> None:
        """The score of the outputs that the observations were drawn for is better than that of other outputs."""
        likelihood, output = self.make(), self.output(2000)
        y = likelihood(output).sample()
        right, other = output_score(output, y, likelihood), output_score(self.output(2000, seed=1), y, likelihood)
        assert isinstance(right, Score)
        assert (right.value < other.value) == right.lower_is_better
        assert log_likelihood(likelihood(output), y).sum() > log_likelihood(likelihood(self.output(2000, 1)), y).sum()

    def test_observations_are_checked(self) -> None:
        """Its own samples pass, as they are or as integers where they are whole; NaN, other shapes and ``wrong`` do not."""
        likelihood, output = self.make(), self.output(7)
        y = likelihood(output).sample()
        torch.testing.assert_close(check_observations("data", y, likelihood, output), y)
        for wrong in (math.nan, *self.wrong):
            bad = y.float().clone()
            bad.view(-1)[-1] = wrong
            with pytest.raises(InputError):
                check_observations("data", bad if math.isnan(wrong) else bad.to(y.dtype), likelihood, output)
        with pytest.raises(InputError):
            check_observations("data", torch.stack([y, y], -1), likelihood, output)

    def test_a_file_describes_it(self) -> None:
        """One of :data:`~pyro_vd.models.likelihoods.LIKELIHOODS` is, read from its description, the same distribution."""
        output, likelihood = self.output(7), self.make()
        if type(likelihood) not in LIKELIHOODS.values():
            with pytest.raises(InputError):
                describe(likelihood)
            return
        read = likelihood_of(describe(likelihood))
        y = likelihood(output).sample()
        if read is None:  # classes from logits are not written
            assert is_classes(likelihood(output))
            return
        assert type(read) is type(likelihood)
        torch.testing.assert_close(read(output).log_prob(y), likelihood(output).log_prob(y))

    def test_a_model_learns_with_it(self) -> None:
        """fit lowers the data term and moves the likelihood's own parameters; evaluate, with draws and without, is finite."""
        guide, data = self.guide(), self.data()
        likelihood = guide.model.likelihood
        own = list(likelihood.parameters()) if isinstance(likelihood, nn.Module) else []
        before = [p.detach().clone() for p in own]
        history = fit(guide, data, data, epochs=10, batch_size=20, lr=0.05, kl_weight=0.01, progress=False).history
        assert history[-1].data_term < history[0].data_term
        assert all(p.isfinite().all() and not torch.equal(p, old) for p, old in zip(own, before, strict=True))
        net = guide.model.to_module({name: guide.mean(name) for name in guide.site_names})
        for metrics in (evaluate(guide, data, num_samples=3), evaluate(net, data, likelihood=likelihood)):
            assert math.isfinite(metrics.nll)
            assert math.isfinite(metrics.score.value)

    def test_predictions_have_its_expectation(self) -> None:
        """to_inference_data has a sample per draw and example; its expectations agree with predictive's in the mean."""
        guide, data = self.guide(), self.data()
        tree = to_tree(to_inference_data(guide, data, num_samples=30))
        found = tree["posterior_predictive"]
        name = "y_probability" if "y_probability" in found else "y_mean"
        assert found["y"].shape == (1, 30, *data[1].shape)
        draws = torch.tensor(np.asarray(found[name]))[0]
        mean = predictive(guide, data[0], num_samples=200)
        assert ((mean - draws.mean(0)).abs() <= ERRORS * draws.std(0) * math.sqrt(1 / 200 + 1 / 30) + 1e-6).all()
        assert np.isfinite(np.asarray(tree["log_likelihood"]["y"])).all()

    def test_a_checkpoint_holds_it(self, tmp_path: Path) -> None:
        """A training that was interrupted ends, resumed, with the same likelihood and guide, bit for bit."""

        def trained(stop: int, **options: Any) -> list[Tensor]:
            pyro.set_rng_seed(3)
            guide = self.guide()
            settings: dict[str, Any] = {"epochs": 4, "batch_size": 20, "lr": 0.05, "progress": False, **options}
            fit(guide, self.data(), callbacks=[Interrupt(stop)], **settings)
            likelihood = guide.model.likelihood
            return [*guide.parameters(), *(likelihood.parameters() if isinstance(likelihood, nn.Module) else ())]

        whole, checkpoint = trained(-1), tmp_path / "checkpoint"
        with pytest.raises(KeyboardInterrupt):
            trained(2, checkpoint=checkpoint)
        resumed = trained(-1, checkpoint=checkpoint, resume=True)
        assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))

    def test_it_goes_where_the_model_goes(self) -> None:
        """A model in float64 has it there, and its copy has one of its own."""
        model = self.guide().model.double()
        output = self.output(3).double()
        assert expected(model.likelihood(output)).dtype == torch.float64
        if isinstance(model.likelihood, nn.Module):
            assert all(p.dtype == torch.float64 for p in model.likelihood.parameters())
            assert copy.deepcopy(model).likelihood is not model.likelihood
