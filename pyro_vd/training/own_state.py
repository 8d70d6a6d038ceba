"""What each of several processes of a training has of its own, in a checkpoint: its noise, and where its loader is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import torch
from torch import Tensor

from pyro_vd._core.generators import generator_state, set_generator_state
from pyro_vd.data.batches import StatefulBatches
from pyro_vd.data.shards import WHOLE
from pyro_vd.training.state_forms import check_kind

if TYPE_CHECKING:
    from pyro_vd.training.state import TrainingState


class OwnState(TypedDict):
    """The state of a process of another rank than 0."""

    rng: Tensor
    cuda_rng: Tensor | None
    batches: NotRequired[dict[str, Any]]


def own_state(state: TrainingState) -> OwnState:
    """The state of this process: of torch's generators of the CPU and of its GPU, and of a loader of its own share."""
    found = OwnState(rng=torch.get_rng_state(), cuda_rng=generator_state(state.device) if _on_gpu(state) else None)
    if isinstance(state.batches, StatefulBatches) and _has_own_data(state):
        found["batches"] = state.batches.state_dict()
    return found


def generator_state_in(name: str, found: Any, own: Tensor) -> Tensor:
    """Return the state of a generator from a file as torch takes it: one number after the other in memory.

    Raises:
        InputError: it has another type or shape than the state ``own``.
    """
    check_kind(name, found, own)
    return found.contiguous()


def check_own(where: str, others: list[OwnState], state: TrainingState) -> None:
    """Refuse states from the file ``where`` that are no states of generators.

    Raises:
        InputError: naming the one.
    """
    for rank, each in enumerate(others, 1):
        each["rng"] = generator_state_in(f"{where}: others.{rank}.rng", each["rng"], torch.get_rng_state())
        torch.Generator().set_state(each["rng"])  # raises an error for an invalid state
        if _on_gpu(state) and (on_gpu := each["cuda_rng"]) is not None:
            own = generator_state(state.device)
            each["cuda_rng"] = generator_state_in(f"{where}: others.{rank}.cuda_rng", on_gpu, own)


def restore_own(state: TrainingState, of_first: dict[str, Any] | None, others: list[OwnState]) -> None:
    """Go on with what this process had of its own. Torch's generators must have the states of rank 0.

    With another number of processes, those of other ranks than 0 draw new noise, and loaders of shares start a new pass.

    Args:
        state: the training, whose order of the examples has been restored.
        of_first: the state of the batches of rank 0, if they have one.
        others: the states of the processes of the other ranks.
    """
    processes = state.processes
    rank, as_many = processes.shard.rank, processes.shard.size == len(others) + 1
    in_shares = _has_own_data(state) or any("batches" in each for each in others)
    if isinstance(state.batches, StatefulBatches) and (as_many or not in_shares):
        own = others[rank - 1].get("batches", of_first) if rank else of_first
        state.batches.load_state_dict(own or {})
    apart = torch.Generator().set_state(state.shuffle.get_state())
    processes.seed_others(int(torch.randint(2**31, (), generator=apart)))
    if as_many and rank:
        torch.set_rng_state(others[rank - 1]["rng"])
        if _on_gpu(state) and (on_gpu := others[rank - 1]["cuda_rng"]) is not None:
            set_generator_state(state.device, on_gpu)


def _on_gpu(state: TrainingState) -> bool:
    return state.device.type == "cuda"


def _has_own_data(state: TrainingState) -> bool:
    return not state.processes.alone and state.cut == WHOLE
