"""Discriminated unions: dataclasses of different kinds in one place of a tree, distinguished by the key ``kind``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, ClassVar


class TaggedUnion:
    """Base class of a union of dataclasses, one of which a tree selects with its key ``kind``.

    A direct subclass is the type of the union, and not a dataclass. Each dataclass of the union derives from it, and has a
    field ``kind`` with ``init=False``. In a tree, the name of a kind stands for this kind with its defaults.
    """

    kinds: ClassVar[dict[str, type[Any]]]
    """The dataclasses by the name of their kind; the first is the default."""

    @classmethod
    def kind_of(cls, tree: Mapping[str, Any]) -> Any:
        """Return the kind that a tree names, or the first kind."""
        return tree.get("kind", next(iter(cls.kinds)))


def is_tagged(hint: Any) -> bool:
    """Whether a type is a union of dataclasses; see :class:`TaggedUnion`."""
    return isinstance(hint, type) and issubclass(hint, TaggedUnion) and not is_dataclass(hint)


def long_form(tree: Any) -> Any:
    """Return the tree of a :class:`TaggedUnion` with the name of a kind replaced by ``{kind: name}``."""
    return {"kind": tree} if isinstance(tree, str) else tree
