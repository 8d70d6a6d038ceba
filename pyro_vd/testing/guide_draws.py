"""What a guide draws: its sites, its means, the outputs and predictions under it, what its log α prunes."""

from __future__ import annotations

import math

import numpy as np
import pyro.poutine as poutine
import pytest
import torch

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.classification import Metrics
from pyro_vd.evaluation.metrics import evaluate
from pyro_vd.evaluation.prediction import Prediction, predict
from pyro_vd.guides.alpha import has_log_alpha, log_alpha
from pyro_vd.guides.means import posterior_mean
from pyro_vd.inference.lazy_weight import LazyWeight
from pyro_vd.inference.reparam import LocalReparameterization
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.posterior.inference_data import to_inference_data
from pyro_vd.pruning.pruned import prune
from pyro_vd.pruning.rule import pruning_masks
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD
from pyro_vd.testing.guide_case import DRAWS, GuideCase
from pyro_vd.testing.statistics import ERRORS, check_alike, check_mean


class DrawsOfGuide(GuideCase):
    """The draws of a guide are those of its posteriors, whatever they are used for."""

    def test_it_draws_each_weight_once_under_its_name(self) -> None:
        """Its sample sites are the model's weights, each one event of the weight's shape; its parameters are named by site."""
        guide = self.guide()
        sites = poutine.trace(guide).get_trace().nodes
        drawn = {name: site["fn"] for name, site in sites.items() if site["type"] == "sample"}
        assert list(drawn) == guide.site_names == guide.model.weight_names
        for name, weight in guide.model.initial_weights.items():
            assert (drawn[name].batch_shape, drawn[name].event_shape) == ((), weight.shape)
        assert all(name.startswith(tuple(f"sites.{site}." for site in drawn)) for name, _ in guide.named_parameters())

    def test_it_starts_at_the_networks_weights(self) -> None:
        """Its mean is, before training, the network that the model was made of."""
        for net in (self.network(), self.convolution()):
            x = self.data()[0]
            torch.testing.assert_close(posterior_mean(self.guide(net))(x), net(x))

    def test_its_mean_is_that_of_its_draws(self) -> None:
        """mean(name) is the mean of draws of the posterior, also where weights were removed, and posterior_mean holds it."""
        guide = self.guide(self.convolution())
        self.remove_half(guide)
        net = posterior_mean(guide)
        for name in guide.site_names:
            check_mean(guide.posterior(name).rsample((DRAWS,)).detach(), guide.mean(name))
            assert torch.equal(net.get_parameter(name), guide.mean(name))

    def test_outputs_drawn_locally_are_distributed_as_under_drawn_weights(self) -> None:
        """Local reparameterization gives the outputs the means, variances and covariances of outputs under drawn weights."""
        guide, x = self.guide(), torch.rand(6)
        with torch.no_grad(), LocalReparameterization():
            drawn = guide()
            at_once = all(isinstance(w, LazyWeight) or not guide.posterior(name).variance.any() for name, w in drawn.items())
            passes, rows = (1, DRAWS) if at_once else (1000, 1)  # a weight that is drawn serves all rows of its pass
            local = torch.cat([guide.model.output(guide(), x.expand(rows, 6)) for _ in range(passes)])
        check_alike(local, self.outputs(guide, x))

    def test_predictions_are_means_over_drawn_weights(self) -> None:
        """predict and to_inference_data give, within standard errors, the probabilities under drawn weights; evaluate runs."""
        guide, (x, y) = self.guide(), self.data()
        p = self.outputs(guide, x[:5]).softmax(-1)
        draws = 300
        bound = ERRORS * p.std(0) * math.sqrt(1 / draws + 1 / len(p)) + 1e-5
        predicted = predict(guide, x[:5], num_samples=draws)
        assert isinstance(predicted, Prediction)
        assert ((predicted.log_p.exp() - p.mean(0)).abs() <= bound).all()
        tree = to_tree(to_inference_data(guide, (x[:5], y[:5]), num_samples=draws, weights="all"))
        found = torch.tensor(np.asarray(tree["posterior_predictive"]["y_probability"]))[0]
        assert ((found.mean(0) - p.mean(0)).abs() <= bound).all()
        for name in guide.site_names:
            check_mean(torch.tensor(np.asarray(tree["posterior"][name]))[0], guide.mean(name).detach())
        metrics = evaluate(guide, (x, y), num_samples=5)
        assert isinstance(metrics, Metrics)
        assert math.isfinite(metrics.nll)

    def test_log_alpha_says_what_is_pruned(self) -> None:
        """log α is finite, +∞ where a weight was removed; prune keeps the mean where it is below the threshold."""
        guide = self.guide()
        if not has_log_alpha(guide):
            assert not guide.learns_alpha
            with pytest.raises(InputError):
                prune(guide)
            return
        masks = self.remove_half(guide)
        for name, values in log_alpha(guide).items():
            assert values.shape == guide.mean(name).shape
            assert torch.equal(values.isfinite(), masks[name])
            assert (values[~masks[name]] == torch.inf).all()
        values = torch.cat([each[each.isfinite()] for each in log_alpha(guide).values()])
        for threshold in (values.median().item(), DEFAULT_THRESHOLD):
            net, kept = prune(guide, threshold), pruning_masks(guide, threshold)
            for name, mask in kept.items():
                assert torch.equal(mask, log_alpha(guide)[name] < threshold)
                torch.testing.assert_close(net.get_parameter(name), guide.mean(name) * mask)
