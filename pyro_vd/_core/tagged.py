"""Dataclasses of different kinds in one place of a tree, told apart by their key ``kind``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, ClassVar


class TaggedUnion:
    """Base class of dataclasses of different kinds, of which a tree names one under its key ``kind``.

    The class that derives from it directly stands for all of them as a type, and is no dataclass itself. Each of the
    dataclasses derives from that class and has a field ``kind`` that is no argument of it. In a tree, the name of a kind alone
    stands for that kind with its defaults.
    """

    kinds: ClassVar[dict[str, type[Any]]]
    """The dataclasses by the name of their kind; the first is meant where a tree names none."""

    @classmethod
    def kind_of(cls, tree: Mapping[str, Any]) -> Any:
        """What a tree gives as its kind, or the first kind."""
        return tree.get("kind", next(iter(cls.kinds)))


def is_tagged(hint: Any) -> bool:
    """Whether a type stands for dataclasses of different kinds; see :class:`TaggedUnion`."""
    return isinstance(hint, type) and issubclass(hint, TaggedUnion) and not is_dataclass(hint)


def long_form(tree: Any) -> Any:
    """The tree of a :class:`TaggedUnion`: the name of a kind alone becomes ``{kind: name}``."""
    return {"kind": tree} if isinstance(tree, str) else tree
