"""Frozen dataclasses that are made by the thousand."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def maker(cls: type[T]) -> Callable[..., T]:
    """Make instances of a frozen dataclass with slots as its constructor does, in half of its time.

    A frozen one's ``__init__`` calls ``object.__setattr__`` for each field. Here a twin that is not frozen is filled,
    and becomes one: CPython lets an object be of another class that has the same slots.

    Raises:
        TypeError: the class has no slots, or does more than fill its fields.

    """
    known = fields(cls)  # type: ignore[arg-type]
    if "__slots__" not in vars(cls) or hasattr(cls, "__post_init__") or not all(f.init for f in known):
        raise TypeError(f"{cls.__name__} is not a dataclass with slots that only fills its fields")
    twin = make_dataclass(cls.__name__, [(f.name, f.type, copy(f)) for f in known], slots=True)

    def make(*values: Any, **named: Any) -> T:
        made: Any = twin(*values, **named)
        made.__class__ = cls
        return made  # type: ignore[no-any-return]

    return make
