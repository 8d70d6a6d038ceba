"""Batches of a ``DataLoader``, or of anything else that can be iterated over several times."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.errors import InputError
from pyro_vd.data.batches import fingerprint_of
from pyro_vd.data.dataset import Arrays
from pyro_vd.data.examples import some_examples
from pyro_vd.data.loader_pass import LoaderPass
from pyro_vd.data.loader_passes import LoaderPasses
from pyro_vd.data.loader_size import distributed_sampler, is_map_style, pass_examples, sampled_examples
from pyro_vd.data.loader_state import state_kept
from pyro_vd.data.pairs import check_target, pair_in
from pyro_vd.networks.inputs import num_examples as examples_in


class LoaderBatches:
    """The batches of a ``torch.utils.data.DataLoader``, or of any object that can be iterated over again and again.

    An epoch is one pass over the loader, or ``steps_per_epoch`` batches: then the next epoch goes on where the last one ended,
    and the loader starts anew when it ends. All random numbers that it draws depend on the generator of the epoch alone, so
    that a resumed training reads the same batches: the generators of torch, NumPy and Python are seeded for each batch and
    restored afterwards; a ``generator`` of the loader or of its sampler is seeded for each pass, their method ``set_epoch`` is
    called, and persistent workers are started anew. What a loader with ``state_dict`` and ``load_state_dict`` says about itself
    is saved in checkpoints; any other loader is read again from the start of its pass up to where it was.

    Args:
        loader: gives pairs of inputs and observations, or mappings; see :func:`~pyro_vd.data.pairs.pair_in`.
        num_examples: N, the number of examples that the batches are drawn from; None for what the loader says: of a
            ``DataLoader``, the number that its sampler chooses from.
        steps_per_epoch: batches per epoch; None for one pass. Without it, a loader without a length is read once to count its
            batches.
        target: the key of the observations in a batch that is a mapping; None for "target" or "labels".

    Raises:
        InputError: a number out of range; or ``loader`` cannot be iterated over, or only once.
    """

    def __init__(
        self, loader: Any, num_examples: int | None = None, steps_per_epoch: int | None = None, target: str | None = None
    ) -> None:
        if not hasattr(loader, "__iter__") or hasattr(loader, "__next__"):
            raise InputError(
                f"a {type(loader).__name__} cannot be iterated over again; it must be a DataLoader, or an object whose "
                "__iter__ starts anew",
                name="loader",
                value=loader,
                allowed="an object that can be iterated over again",
            )
        for name, value in {"num_examples": num_examples, "steps_per_epoch": steps_per_epoch}.items():
            if value is not None:
                check_number(name, value, low=1, high=LARGEST, whole=True)
        check_target(target)
        self.loader = loader
        self.target = target
        self._given, self._steps = num_examples, steps_per_epoch
        self._of_all: int | None = None
        self.dtype: torch.dtype | None = None
        self._passes = LoaderPasses(loader, goes_on=steps_per_epoch is not None)
        self._counted: int | None = None

    def __repr__(self) -> str:
        said = {"num_examples": self._given, "steps_per_epoch": self._steps, "target": self.target}
        given = "".join(f", {name}={value!r}" for name, value in said.items() if value is not None)
        return f"LoaderBatches({type(self.loader).__name__}{given})"

    def restarted(self, dtype: torch.dtype | None = None) -> LoaderBatches:
        """The same batches from the start, with floating-point inputs of this type; None keeps their type."""
        made = LoaderBatches(self.loader, self._given, self._steps, self.target)
        made.dtype, made._counted = dtype, self._counted
        return made

    @property
    def says_number(self) -> bool:
        """Whether the number of examples is the loader's own, and was not given."""
        return self._given is None

    def of_all_processes(self) -> LoaderBatches:
        """The same batches, which are those of one of several processes, where N is the number of examples of all of them.

        It is the number that was given, or the length of the data set of a distributed sampler. The few examples that the
        sampler gives twice, to make the shares equal, do not count. One pass gives fewer examples, those of one process.
        """
        made = LoaderBatches(self.loader, None, self._steps, self.target)
        made.dtype, made._counted = self.dtype, self._counted
        made._of_all = len(distributed_sampler(self.loader).dataset) if self._given is None else self._given
        return made

    @property
    def num_examples(self) -> int:
        """N, the number of examples that the batches are drawn from.

        Raises:
            InputError: the loader does not say it, and it was not given.
        """
        given = self._given if self._of_all is None else self._of_all
        found = sampled_examples(self.loader) if given is None else given
        if found is None:
            raise InputError(
                f"num_examples is missing: a {type(self.loader).__name__} does not say how many examples there are, N in the "
                "factor N / B of a batch of B examples; give it, as in fit(guide, loader, num_examples=50_000)",
                name="num_examples",
                allowed="given",
            )
        return found

    @property
    def last_size(self) -> int | None:
        """The number of examples of the last batch of a pass; None if it is not known before."""
        size, examples = getattr(self.loader, "batch_size", None), pass_examples(self.loader, self._given, self._steps)
        return None if size is None or examples is None else examples % size or size

    def __len__(self) -> int:
        if self._steps is not None:
            return self._steps
        try:
            return len(self.loader)
        except (TypeError, NotImplementedError):
            if self._counted is None:
                self._counted = self._count()
            return self._counted

    def epoch(self, generator: torch.Generator) -> Iterator[Arrays]:
        """Yield the batches of one epoch.

        Raises:
            InputError: a batch is no pair of tensors; a pass gives no batch, or another number of examples than it says.
        """
        if self._steps is None:
            passing = self._passes.start(generator)
            for batch in passing:
                yield self._pair(passing, batch)
            self._check_pass(passing)
            return
        for _ in range(self._steps):
            yield self._next(generator)

    def in_order(self) -> Iterator[Any]:
        """Yield the batches of one pass, at most ``steps_per_epoch``, as the loader gives them."""
        with state_kept(self.loader):
            yield from islice(LoaderPass(self.loader, 0), self._steps)

    def first(self) -> Arrays | None:
        """Return the first batch of a pass apart; None if there is none.

        Raises:
            InputError: it is no pair of tensors.
        """
        return next((pair_in(batch, self.target, self.dtype) for batch in self.in_order()), None)

    def fingerprint(self) -> str:
        """Identify the data by their type, their numbers and some examples; they are not read as a whole.

        The examples are the first, the middle and the last one of the data set of a ``DataLoader``, or the first batch.
        """
        source: Any = self.loader.dataset if is_map_style(self.loader) else self.loader

        def some() -> Any:
            return next(self.in_order()) if source is self.loader else some_examples(source)

        steps = "" if self._steps is None else f", {self._steps} steps per epoch"
        return (
            f"{type(self.loader).__qualname__} of {len(self)} batches{steps}, {fingerprint_of(source, self.num_examples, some)}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is, as plain values and tensors for a checkpoint; empty if the next epoch starts a new pass.

        Raises:
            InputError: the state of the loader itself holds anything else.
        """
        return self._passes.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`; a loader without a state of its own is read up to there, in the next epoch.

        Raises:
            InputError: the state holds other values than :meth:`state_dict` gives.
        """
        self._passes.load_state_dict(state)

    def _next(self, generator: torch.Generator) -> Arrays:
        """The next batch of a stream, which starts anew when it ends."""
        for _ in range(2):
            passing = self._passes.running(generator)
            for batch in passing:
                return self._pair(passing, batch)
            if not passing.taken:
                break
            self._check_pass(passing)
            self._passes.end()
        raise InputError(f"a {type(self.loader).__name__} gives no batch", name="loader", value=0, allowed="at least one batch")

    def _pair(self, passing: LoaderPass, batch: Any) -> Arrays:
        pair = pair_in(batch, self.target, self.dtype)
        passing.examples += examples_in(pair[0], "inputs")
        return pair

    def _check_pass(self, passing: LoaderPass) -> None:
        """Compare the number of examples of a pass that has ended with what the loader says, where it says one."""
        said = pass_examples(self.loader, self._given, self._steps)
        if said is not None and passing.examples != said:
            raise _other_number(self.loader, passing.examples, said)

    def _count(self) -> int:
        """The number of batches of one pass, which ends early where it has more examples than it should."""
        count, examples, said = 0, 0, self.num_examples
        for batch in self.in_order():
            count, examples = count + 1, examples + examples_in(pair_in(batch, self.target)[0], "inputs")
            if examples > said:
                raise _other_number(self.loader, f"more than {said}", said)
        return count


def _other_number(loader: Any, given: object, said: int) -> InputError:
    return InputError(
        f"a {type(loader).__name__} gives {given} examples; there should be {said} of them, as num_examples says",
        name="num_examples",
        value=said,
        allowed="the number of examples that a pass gives, or steps_per_epoch must be given",
    )
