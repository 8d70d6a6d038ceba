"""Entropy, mutual information, calibration, refusal and foreign inputs, against values known by construction."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd import MLP, BayesianNetwork, BernoulliDropout, InputError, PointEstimate, VariationalDropout, evaluate, predict
from pyro_vd.posterior import log_predictive_draws
from pyro_vd.prediction import Prediction
from pyro_vd.sampling import joint_draws
from pyro_vd.storage import as_json
from pyro_vd.tables import print_networks
from pyro_vd.uncertainty import by_confidence, detection, entropy, equal_mass_calibration_error, risk_coverage
from pyro_vd.uncertainty_plots import error_against_coverage, reliability

N = 20_000


def calibrated(classes: int = 5) -> tuple[Tensor, Tensor]:
    """Random probabilities, and labels drawn from them."""
    p = torch.randn(N, classes, dtype=torch.float64).mul(2).softmax(-1)
    return p, torch.multinomial(p, 1)[:, 0]


def noisy_pair(net: nn.Module | None = None) -> tuple[BayesianNetwork, VariationalDropout]:
    model = BayesianNetwork(net) if net else MLP((6, 8, 4))
    return model, VariationalDropout(model, log_sigma2=-1.0)


def test_entropy_lies_between_certainty_and_no_idea() -> None:
    p, _ = calibrated()
    found = entropy(p.log())
    assert (found > 0).all()
    assert (found < math.log(5)).all()
    assert entropy(torch.full((4,), 0.25).log()).item() == pytest.approx(math.log(4))
    assert entropy(torch.tensor([0.0, -math.inf, -math.inf])).item() == 0
    torch.testing.assert_close(found, torch.distributions.Categorical(p).entropy())


def test_mutual_information_is_what_draws_disagree_about() -> None:
    x = torch.randn(40, 6)
    certain = PointEstimate(model := MLP((6, 8, 4)))
    assert predict(model, x, guide=certain).mutual_information.abs().max() < 1e-12
    found = predict(*(pair := noisy_pair())[:1], x, guide=pair[1])
    assert (found.mutual_information > 1e-3).all()
    assert (found.mutual_information < found.entropy).all()
    assert (found.entropy < math.log(4)).all()
    assert predict(pair[0], x, guide=pair[1], num_samples=1).mutual_information.max() == 0
    assert predict(nn.Linear(6, 3), x).mutual_information is None
    # Two equally likely weights, each sure of another class: all the entropy is mutual information.
    sure = torch.tensor([[[0.0, -math.inf]], [[-math.inf, 0.0]]])
    assert Prediction.of_draws(sure).mutual_information.item() == pytest.approx(math.log(2))


def test_draws_at_once_are_those_of_a_loop() -> None:
    """The noise of all draws comes at once, layer by layer; a loop over the draws with the same noise gives the same."""
    model, guide = noisy_pair()
    x, draws = torch.randn(7, 6), 5
    torch.manual_seed(3)
    found = log_predictive_draws(model, guide, x, draws)
    torch.manual_seed(3)
    torch.randn(1, 8), torch.randn(1, 4)  # of the one example that is tried first
    noise = [torch.randn(draws, 7, 8), torch.randn(draws, 7, 4)]
    for draw in range(draws):
        h = x
        for layer, (name, bias) in enumerate((("1.weight", model.net[1].bias), ("3.weight", model.net[3].bias))):
            q = guide.posterior(name)
            h = F.linear(h, q.theta, bias) + F.linear(h**2, q.variance).sqrt() * noise[layer][draw]
            h = h if layer else h.relu()
        torch.testing.assert_close(found[draw], h.double().log_softmax(-1), rtol=1e-5, atol=1e-5)


class Branching(nn.Module):
    """Decides by a value, which ``torch.vmap`` does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        return out if out.sum() > 0 else out + 1


class Tied(nn.Module):
    """One weight used twice, so drawn once a draw."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())[:, :4]


NETS: dict[str, Callable[[], nn.Module]] = {
    "layers": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)),
    "tied": Tied,
    "branch": Branching,
}


@pytest.mark.parametrize(("net", "dropout"), [("layers", False), ("layers", True), ("tied", False), ("branch", False)])
def test_draws_are_distributed_as_with_drawn_weights(net: str, dropout: bool) -> None:
    model, guide = noisy_pair(NETS[net]())
    if dropout:
        guide = BernoulliDropout(model, 0.4)
    x, count = torch.randn(3, 6), 3000 if net != "branch" else 600
    found = log_predictive_draws(model, guide, x, count).exp()
    _, joint = joint_draws(model, guide, (x, torch.zeros(3, dtype=torch.long)), count, keep=lambda _: {})
    for power in (1, 2):
        a, b = found**power, joint["probability"].double() ** power
        error = ((a.var(0) + b.var(0)) / count).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4.5 * error).all()
    neighbours = torch.corrcoef(torch.stack([found[1:, 0, 0], found[:-1, 0, 0]]))[0, 1]
    assert abs(neighbours) < 4.5 / math.sqrt(count), "draws are independent"


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    p, y = calibrated()
    metrics = evaluate(nn.Identity(), (p.log(), y))
    bound = 15 * 0.5 / math.sqrt(N / 15) / 15  # every bin's standard error at its largest
    assert max(metrics.ece, metrics.ece_equal_mass) < bound
    sharper = p.pow(3) / p.pow(3).sum(-1, keepdim=True)
    worse = evaluate(nn.Identity(), (sharper.log(), y))
    assert min(worse.ece, worse.ece_equal_mass) > 5 * bound
    assert worse.nll > metrics.nll, "so it is seen in the likelihood, too"


def test_calibration_error_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    y = torch.tensor([0] * 6 + [1] * 4 + [0] * 9 + [1])
    assert equal_mass_calibration_error(p, y, bins=2) == pytest.approx((0.3 + 0.3) / 2)
    assert equal_mass_calibration_error(p, y, bins=1) == pytest.approx(0.0, abs=1e-7), "too sure and too unsure cancel"
    assert equal_mass_calibration_error(p[:3], y[:3]) == pytest.approx(0.1), "no more bins than predictions"
    shuffled = torch.randperm(20)
    assert equal_mass_calibration_error(p[shuffled], y[shuffled], 4) == pytest.approx(equal_mass_calibration_error(p, y, 4))


def test_refusal() -> None:
    n, wrong = 100, 10
    confidence = torch.linspace(0.99, 0.51, n, dtype=torch.float64)
    p, y = torch.stack([confidence, 1 - confidence], 1), torch.zeros(n, dtype=torch.long)
    y[-wrong:] = 1  # the least confident are the wrong ones
    best = risk_coverage(p, y)
    assert best[: n - wrong].max() == 0
    assert best[-1] == pytest.approx(wrong / n)
    assert best.mean() == pytest.approx(sum(k / (n - wrong + k) for k in range(1, wrong + 1)) / n)
    worst = risk_coverage(p, y.flip(0))
    assert worst[:wrong].min() == 1
    assert worst[-1] == best[-1]
    ties = risk_coverage(torch.tensor([[0.6, 0.4]]).expand(n, 2), y)  # where confidence says nothing, refusing gains nothing
    torch.testing.assert_close(ties, torch.full((n,), wrong / n, dtype=torch.float64))
    values, correct = by_confidence(p, y)
    assert values.tolist() == sorted(values.tolist(), reverse=True)
    assert correct.sum() == n - wrong


def test_detection() -> None:
    scores = torch.rand(500)
    same = detection(scores, scores)
    assert same.auroc == pytest.approx(0.5)
    assert same.fpr95 == pytest.approx(0.95, abs=0.01)
    apart = detection(torch.arange(100.0), torch.arange(100.0, 150.0))
    assert (apart.auroc, apart.fpr95) == (1.0, 0.0)
    # 95 of 100 familiar scores are at most 94; 30 of the 40 foreign ones are, too.
    foreign = torch.cat([torch.linspace(0.0, 94.0, 30), torch.linspace(94.5, 200.0, 10)])
    assert detection(torch.arange(100.0), foreign).fpr95 == pytest.approx(30 / 40)
    assert detection(torch.zeros(10), torch.ones(10)).auroc == 1
    assert detection(torch.ones(10), torch.ones(10)).fpr95 == 1, "what cannot be told apart is let through"
    for broken in (torch.tensor([]), torch.tensor([math.nan])):
        with pytest.raises(InputError, match="finite"):
            detection(scores, broken)


def test_pictures() -> None:
    p, y = calibrated()
    sure = p.pow(3) / p.pow(3).sum(-1, keepdim=True)
    shares, axes = reliability({"calibrated": (p, y), "too sure": (sure, y)}).axes
    curves = {str(line.get_label()): line.get_xydata() for line in axes.lines}
    x, accuracy = curves["calibrated"].T
    assert abs(x - accuracy).max() < 4.5 * 0.5 / math.sqrt(10)
    x, accuracy = curves["too sure"].T
    assert (accuracy < x + 0.02).all(), "below the diagonal"
    assert all(patch.get_data().values.sum() == pytest.approx(100) for patch in shares.patches)
    (few,) = [line for line in reliability({"few": (p[:9], y[:9])}).axes[1].lines if line.get_label() == "few"]
    assert len(few.get_xdata()) == 0
    curve = risk_coverage(p, y)
    drawn = error_against_coverage({"a": [curve, 2 * curve]}).axes[0]
    assert drawn.lines[0].get_xydata()[-1].tolist() == pytest.approx([100, 150 * curve[-1].item()])
    for picture in (axes, drawn, shares):
        assert picture.get_ylabel()


def test_evaluate_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    model, guide = noisy_pair()
    data = torch.randn(50, 6), torch.randint(4, (50,))
    metrics = evaluate(model, data, guide=guide, num_samples=200)
    predicted = predict(model, data[0], guide=guide, num_samples=200)
    assert metrics.entropy == pytest.approx(predicted.entropy.mean().item(), rel=0.02)
    assert predicted.mutual_information is not None
    assert metrics.mutual_information == pytest.approx(predicted.mutual_information.mean().item(), rel=0.05)
    plain = evaluate(nn.Linear(6, 4), data)
    assert (plain.mutual_information, plain.entropy > 0) == (None, True)
    new = json.loads(as_json({"Monte Carlo": asdict(metrics), "plain": asdict(plain)}))
    old = {key: value for key, value in new["plain"].items() if key not in ("entropy", "mutual_information", "ece_equal_mass")}
    print_networks("runs", {**new, "by an earlier version": old})
    lines = {line[:22].strip(): line[22:].split() for line in capsys.readouterr().out.splitlines()}
    assert [lines[name].count("–") for name in (*new, "by an earlier version")] == [0, 1, 3]
    assert f"{metrics.mutual_information:.3f}" in lines["Monte Carlo"]
