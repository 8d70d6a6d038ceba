"""The processes of a training: what they tell each other, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

import pyro_vd._core.groups  # noqa: F401  a group that is made after this import can end
from pyro_vd._core.errors import InputError, ProcessError
from pyro_vd._core.generators import generator_state, set_generator_state
from pyro_vd._core.launched import launched
from pyro_vd._core.storage import checksum
from pyro_vd.data.shards import Shard
from pyro_vd.training.failures import Failure, in_common, is_told, lost, told
from pyro_vd.training.gradient_sum import GradientSum

_T = TypeVar("_T")


class Processes:
    """The processes that train one guide together: the default group of ``torch.distributed``, or this process alone.

    Every method but the first two must be called by all of them, in the same order. In a process that trains alone they do
    nothing, and give back what they were given. An error in one process, raised inside of :meth:`together`, ends the others at
    their next call, with a message that names the rank. For that, every call begins as :meth:`exchange` does, or :meth:`mean`.

    Args:
        shard: number of this process, and how many there are.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard: Shard = shard
        self._sum: GradientSum | None = None
        self._ended = False
        """Whether all processes know that the training has failed, so that none of them listens any more."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files, calls the callbacks, and measures."""
        return self.shard.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.shard.size == 1

    @contextmanager
    def together(self) -> Iterator[None]:
        """Tell the other processes of an error that is raised inside; it names the rank, where not all have the same one."""
        try:
            yield
        except Exception as error:
            if self.alone or is_told(error):
                raise
            if self._ended:  # a second error, such as one that a callback's on_end raises after that of the training
                told(error)
                raise
            failure = Failure.of(self.shard.rank, error)
            failures: list[Failure | None] = []
            with suppress(ProcessError):
                if self._sum is not None:
                    self._sum.meet(failed=True)
                failures = [each for each, _ in self._heard(failure, None)]
            told(error)
            if in_common(failures) or not isinstance(error, type(failure.error())):
                raise
            raise failure.error() from error

    def begin(self, parameters: list[nn.Parameter]) -> None:
        """Take the parameters that will be trained; from now on, :meth:`mean` can be called."""
        if not self.alone:
            made = GradientSum(parameters, self._add_up)
            self.exchange(None)  # none has failed: from here on there is a sum, or one of another size
            self._sum = made

    def mean(self, examples: int, terms: Tensor) -> Tensor:
        """Replace gradients by their means over the examples of all processes; see :meth:`.GradientSum.mean`."""
        if self._sum is None:
            return terms
        found = self._sum.mean(examples, terms)
        if found is None:
            self._values(self._heard(None, None))
        return cast(Tensor, found)

    def exchange(self, value: _T) -> list[_T]:
        """Return what all processes have given, by rank."""
        if self.alone:
            return [value]
        if self._sum is not None:
            self._sum.meet(failed=False)
        return self._values(self._heard(None, value))

    def of_first(self, make: Callable[[], _T]) -> _T:
        """Return what rank 0 has made; ``make`` is not called by the others."""
        value = make() if self.is_first else None
        if not self.alone:
            self.exchange(None)
            with self._connected():
                dist.broadcast_object_list(box := [value], src=0)
            value = box[0]
        return cast(_T, value)

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """Give tensors the values that they have in rank 0; shapes and types must be the same in all processes."""
        if self.alone or not tensors:
            return
        self.exchange(None)
        pieces = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in tensors]
        sizes = [piece.numel() for piece in pieces]
        flat = torch.cat(pieces)
        with self._connected():
            dist.broadcast(flat, src=0)
        if not self.is_first:
            with torch.no_grad():
                for tensor, piece in zip(tensors, flat.split(sizes), strict=True):
                    tensor.copy_(piece.clone().view(tensor.dtype).view(tensor.shape))

    def agree_after_epoch(self, module: nn.Module, epoch: int) -> None:
        """Take the buffers of rank 0, such as running statistics, and make sure that all have the same parameters.

        Raises:
            InputError: they differ, as where an optimizer draws random numbers.
        """
        if self.alone:
            return
        found = self.exchange(checksum(module.parameters()))
        if different := [rank for rank, each in enumerate(found) if each != found[0]]:
            raise InputError(
                f"after epoch {epoch} the parameters of rank {different[0]} are no longer those of rank 0: something "
                "has changed them in one process alone, such as an optimizer that draws random numbers, a "
                "callback, or a machine of another kind",
                name="parameters",
                value=different,
                allowed="the same on all ranks",
            )
        self.copy_from_first(list(module.buffers()))

    def seed_others(self, seed: int) -> None:
        """Seed torch's generators in every process but the first one, for noise that is independent of the others'."""
        if not self.is_first:
            torch.manual_seed(seed + self.shard.rank)

    def same_generators(self, device: torch.device) -> None:
        """Give torch's generators of the CPU and of the device the states that they have in rank 0."""
        if self.alone:
            return
        for kind in dict.fromkeys((torch.device("cpu"), device)):
            state = self.of_first(lambda kind=kind: generator_state(kind))  # type: ignore[misc]
            if not self.is_first:
                set_generator_state(kind, state)

    def _add_up(self, tensor: Tensor) -> None:
        with self._connected():
            dist.all_reduce(tensor)

    def _heard(self, failure: Failure | None, value: _T) -> list[tuple[Failure | None, _T]]:
        """What every process says: why it has failed, if it has, and a value."""
        found: list[Any] = [None] * self.shard.size
        with self._connected():
            dist.all_gather_object(found, (failure, value))
        self._ended = any(each is not None for each, _ in found)
        return found

    def _values(self, heard: list[tuple[Failure | None, _T]]) -> list[_T]:
        for failure, _ in heard:
            if failure is not None:
                raise failure.error()
        return [value for _, value in heard]

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Say it in a sentence if another process is not there any more.

        Raises:
            ProcessError: it has ended, or does not answer within the time limit of the group.
        """
        try:
            yield
        except RuntimeError as error:  # gloo and NCCL raise it, or a subclass
            self._ended = True
            raise lost(self.shard.rank, self.shard.size, error) from error


def processes_here() -> Processes:
    """The processes that this one belongs to.

    Raises:
        InputError: it was started as one of several, which are not in a group: each would train apart.
    """
    if dist.is_available() and dist.is_initialized():
        return Processes(Shard(dist.get_rank(), dist.get_world_size()))
    if (started := launched()) > 1:
        raise InputError(
            f"this is one of {started} processes (WORLD_SIZE), which would train apart; call "
            "torch.distributed.init_process_group() before fit, or remove WORLD_SIZE from the environment to train each alone",
            name="WORLD_SIZE",
            value=started,
            allowed="1 without a process group",
        )
    return Processes(Shard())
