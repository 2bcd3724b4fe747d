"""Frozen dataclasses that are made by the thousand."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import fields, make_dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def maker(cls: Callable[P, T]) -> Callable[P, T]:
    """Make instances of a frozen dataclass with slots as its constructor does, in half of its time.

    A frozen one's ``__init__`` calls ``object.__setattr__`` for each field. Here a twin that is not frozen is filled,
    and becomes one: CPython lets an object be of another class that has the same slots.

    Raises:
        TypeError: the class has not just its fields as slots, or does more than fill them.

    """
    known = fields(cls)  # type: ignore[arg-type]
    given: Any = cls
    slots, parameters = vars(given).get("__slots__"), given.__dataclass_params__
    filled = parameters.init and not hasattr(cls, "__post_init__") and all(f.init for f in known)
    if slots != tuple(f.name for f in known) or not filled:
        raise TypeError(f"{given.__name__} is not a dataclass whose slots are its fields, and that only fills them")
    twin = make_dataclass(given.__name__, [(f.name, f.type, copy(f)) for f in known], slots=True)

    def make(*values: P.args, **named: P.kwargs) -> T:
        made: Any = twin(*values, **named)
        made.__class__ = cls
        return made  # type: ignore[no-any-return]

    return make
