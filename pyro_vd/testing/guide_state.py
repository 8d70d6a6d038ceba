"""What a guide keeps: parameters, masks and threshold, saved, copied, moved and resumed; and the model beside it."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.testing.guide_case import GuideCase
from pyro_vd.testing.interrupting import Interrupt


class StateOfGuide(GuideCase):
    """The state of a guide is all that it is, and removes weights for good."""

    def test_the_model_is_no_part_of_it(self) -> None:
        """It knows its model, whose parameters are not among its own."""
        model = BayesianNetwork(self.network(), prior=type(self).prior)
        guide = self.make(model)
        assert guide.model is model
        assert all(module is not model for module in guide.modules())
        assert not {id(p) for p in guide.parameters()} & {id(p) for p in model.parameters()}

    def test_it_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        """A training that was interrupted ends, resumed from its checkpoint, with the same state, bit for bit."""

        def trained(stop: int, **options: Any) -> dict[str, Tensor]:
            pyro.set_rng_seed(3)
            guide = self.guide()
            self.fit(guide, callbacks=[Interrupt(stop)], **options)
            return {**guide.state_dict(), **guide.model.state_dict()}

        whole, checkpoint = trained(-1), tmp_path / "checkpoint"
        with pytest.raises(KeyboardInterrupt):
            trained(2, checkpoint=checkpoint)
        resumed = trained(-1, checkpoint=checkpoint, resume=True)
        assert all(torch.equal(value, whole[name]) for name, value in resumed.items())

    def test_its_state_is_all_that_it_is(self) -> None:
        """A new guide that loads its state has its parameters, masks and threshold, and draws the same from one seed."""
        guide, other = self.guide(), self.guide()
        self.fit(guide, epochs=1, train_threshold=1.5 if guide.learns_alpha else None)
        self.remove_half(guide)
        torch.save(guide.state_dict(), buffer := io.BytesIO())
        buffer.seek(0)
        other.load_state_dict(torch.load(buffer, weights_only=True))
        assert other.train_threshold == guide.train_threshold
        drawn = []
        for each in (guide, other, copy.deepcopy(guide)):
            pyro.set_rng_seed(0)
            drawn.append(each())
        for name in guide.site_names:
            assert all(torch.equal(each[name], drawn[0][name]) for each in drawn)
            assert torch.equal(other.mean(name), guide.mean(name))

    def test_a_copy_has_a_model_of_its_own(self) -> None:
        """Training a copy leaves guide and model as they were, bit for bit; copied together, a pair stays a pair."""
        guide = self.guide()
        model = guide.model
        before = {name: value.clone() for each in (model, guide) for name, value in each.state_dict().items()}
        alone = copy.deepcopy(guide)
        self.fit(alone, epochs=1)
        assert alone.model is not model
        assert guide.model is model
        assert all(torch.equal(value, before[name]) for each in (model, guide) for name, value in each.state_dict().items())
        assert any(not torch.equal(value, before[name]) for name, value in alone.model.state_dict().items())
        both, together = copy.deepcopy((model, guide))
        assert together.model is both

    def test_removed_weights_stay_removed(self) -> None:
        """They are 0, without noise, after training and after loading a state that has them or other masks."""
        guide, other = self.guide(), self.guide()
        masks = self.remove_half(guide)
        self.fit(guide)
        guide.load_state_dict(other.state_dict())
        self.check_removed(guide, masks)
        others = self.remove_half(other)
        guide.load_state_dict(other.state_dict())
        self.check_removed(guide, {name: mask & others[name] for name, mask in masks.items()})
        self.check_removed(copy.deepcopy(guide), {name: mask & others[name] for name, mask in masks.items()})

    @pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    def test_it_moves_with_its_model(self, device: str) -> None:
        """Both in float64 on a device, it draws there, with finite gradients; removed weights stay removed."""
        guide = self.guide()
        masks = self.remove_half(guide)
        for module in (guide, guide.model):
            module.to(device, torch.float64)
        assert all((w.dtype, w.device.type) == (torch.float64, device) for w in guide().values())
        x, y = self.data()
        loss = VariationalDropoutELBO().differentiable_loss(guide.model, guide, x.to(device, torch.float64), y.to(device))
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in guide.parameters())
        self.check_removed(guide, {name: mask.to(device) for name, mask in masks.items()})

    def check_removed(self, guide: WeightGuide, masks: dict[str, Tensor]) -> None:
        """Exactly these weights are left: the others are 0 in the mean and in every draw, and the state says so."""
        state = guide.state_dict()
        for name, mask in masks.items():
            assert torch.equal(state[f"sites.{name}.mask"], mask)
            assert not guide.mean(name)[~mask].any()
            assert not guide.posterior(name).rsample((3,))[:, ~mask].any()
