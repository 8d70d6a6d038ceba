"""Measures where an example has several labels, ignored ones, soft ones or a weight, beside scikit-learn's and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, log_loss
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, choose_threshold, evaluate, fit, predict, prune
from pyro_vd.evaluation.score import score_of
from pyro_vd.evaluation.uncertainty import entropy
from pyro_vd.models import Categorical


class Fixed(nn.Module):
    """Gives its input as output."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def tokens(n: int = 40, t: int = 6, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Logits, and labels drawn from them of which a third is ignored."""
    torch.manual_seed(1)
    logits = 2 * torch.randn(n, t, classes)
    y = torch.distributions.Categorical(logits=logits).sample()
    y[:, ::3] = -100
    return logits, y


@pytest.mark.parametrize("layout", ["tokens", "pixels"])
def test_each_label_that_is_not_ignored_counts_once(layout: str) -> None:
    logits, y = tokens()
    data = (logits, y)
    likelihood = Categorical(ignore_index=-100)
    if layout == "pixels":
        data = logits.reshape(40, 2, 3, 4).movedim(-1, 1), y.reshape(40, 2, 3)
        likelihood = Categorical(dim=1, ignore_index=-100)
    metrics = evaluate(Fixed(), data, likelihood=likelihood)
    kept = y != -100
    labels, p = y[kept].numpy(), logits[kept].double().softmax(-1)
    predicted = p.argmax(-1).numpy()
    assert metrics.error == pytest.approx((labels != predicted).mean())
    assert score_of(Fixed(), data, likelihood).named() == {"error": pytest.approx(metrics.error)}
    assert metrics.nll == pytest.approx(log_loss(labels, p))
    assert metrics.perplexity == pytest.approx(math.exp(log_loss(labels, p)))
    assert metrics.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert metrics.mean_iou == pytest.approx(jaccard_score(labels, predicted, average="macro"))
    assert metrics.entropy == pytest.approx(entropy(p.log()).mean().item())


def test_classes_that_neither_occur_nor_are_predicted_are_left_out_of_means_over_classes() -> None:
    logits, y = torch.eye(4)[[0, 1, 1, 0]] * 5, torch.tensor([0, 1, 0, 0])
    metrics = evaluate(Fixed(), (logits, y))
    assert metrics.mean_iou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert metrics.roc_auc is None


def test_a_perplexity_beyond_all_numbers_is_infinite() -> None:
    metrics = evaluate(Fixed(), (torch.tensor([[0.0, -800.0]] * 2), torch.tensor([1, 1])))
    assert (metrics.nll, metrics.perplexity) == (800, math.inf)


def test_soft_labels_are_measured_by_cross_entropy() -> None:
    logits = torch.randn(50, 3)
    soft = torch.randn(50, 3).softmax(-1)
    metrics = evaluate(Fixed(), (logits, soft))
    log_p = logits.double().log_softmax(-1)
    assert metrics.nll == pytest.approx(-(soft * log_p).sum(-1).mean().item(), rel=1e-6)
    assert metrics.brier == pytest.approx((log_p.exp() - soft).square().sum(-1).mean().item(), rel=1e-6)
    assert metrics.error == pytest.approx((soft.argmax(-1) != logits.argmax(-1)).double().mean().item())


def test_predictions_have_the_shape_of_the_labels() -> None:
    """Entropy and mutual information of each token, beside sums over the classes and the draws of an ensemble of weights."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (3, 4)))
    guide, x = VariationalDropout(BayesianNetwork(net, Categorical()), log_sigma2=-1.0), torch.randn(9, 5)
    plain = predict(net, x, likelihood=Categorical())
    torch.testing.assert_close(plain.log_p, net(x).detach().double().log_softmax(-1))
    assert plain.entropy.shape == (9, 3)
    torch.manual_seed(3)
    found = predict(guide, x, num_samples=7)
    torch.manual_seed(3)
    by_sum = guide.predictor(7).means(x, None, lambda observed, _: sums(observed.base_dist.logits))
    p = by_sum["p"]
    assert found.log_p.shape == (9, 3, 4)
    torch.testing.assert_close(found.log_p.exp(), p, rtol=1e-6, atol=0)
    entropies = -sum(p[..., k] * p[..., k].log() for k in range(4))
    torch.testing.assert_close(found.entropy, entropies, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.mutual_information, entropies - by_sum["entropy"], rtol=1e-5, atol=1e-7)
    assert (found.mutual_information > 0).all()


def sums(logits: Tensor) -> dict[str, Tensor]:
    """Probabilities, and their entropies, by sums over the classes."""
    p = logits.double().exp() / sum(logits[..., k : k + 1].double().exp() for k in range(4))
    return {"p": p, "entropy": -sum(p[..., k] * p[..., k].log() for k in range(4))}


def test_tokens_are_trained_pruned_and_measured() -> None:
    torch.manual_seed(4)
    x = torch.randn(120, 6, 5)
    y = (x @ torch.randn(5, 3)).argmax(-1)
    y[:, -1] = -100
    guide = VariationalDropout(BayesianNetwork(nn.Linear(5, 3), Categorical(ignore_index=-100)), log_sigma2=-6.0)
    history = fit(guide, (x, y), (x, y), epochs=25, batch_size=30, lr=0.05, progress=False).history
    assert history[-1].score < 0.1 < history[0].score
    choice = choose_threshold(guide, (x, y), 0.02)
    pruned = prune(guide, choice.threshold)
    metrics = evaluate(pruned, (x, y), likelihood=guide.model.likelihood)
    assert metrics.error == pytest.approx(score_of(pruned, (x, y), guide.model.likelihood).value)
    assert np.isfinite(evaluate(guide, (x, y), num_samples=3).nll)
