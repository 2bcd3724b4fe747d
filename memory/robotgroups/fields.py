"""Checks of single settings. Every message names the field, its value and what to write instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from robotgroups.errors import ArgumentError

MAX_CHARACTERS = 2048
MAX_WEIGHT = 1_000_000
E = TypeVar("E", bound=StrEnum)


def choice(field: str, value: object, among: type[E]) -> E:
    """The member of an enumeration that a value names. ArgumentError when there is none."""
    if isinstance(value, str) and value in {member.value for member in among}:
        return among(value)
    raise ArgumentError(f"unknown {field} {value!r}: choose one of {', '.join(among)}")


def text(field: str, value: object) -> None:
    """ArgumentError unless it is text of at most 2048 characters."""
    if not isinstance(value, str):
        raise ArgumentError(f"{field} must be text, not {value!r}")
    if len(value) > MAX_CHARACTERS:
        raise ArgumentError(f"{field} has {len(value)} characters; at most {MAX_CHARACTERS} are taken")


def flag(field: str, value: object) -> None:
    """ArgumentError unless it is True or False."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{field} must be true or false, not {value!r}")


def whole(field: str, value: object, least: int, most: int | None = None) -> None:
    """ArgumentError unless it is a whole number, ``least`` or more and at most ``most``."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least and (most is None or value <= most):
        return
    wanted = f"{least} or more" if most is None else f"{least}..{most}"
    raise ArgumentError(f"{field} must be a whole number, {wanted}, not {value!r}")


def seconds(field: str, value: object, most: float) -> None:
    """ArgumentError unless it is a finite number above 0 and at most ``most``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and 0 < value <= most):  # type: ignore[arg-type,operator]
        raise ArgumentError(f"{field} must be above 0 and at most {most:g} seconds, not {value!r}")


def weight(field: str, value: object) -> None:
    """ArgumentError unless it is a number from 0 to a million: sums and products of those are finite."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 <= value <= MAX_WEIGHT):  # type: ignore[operator]
        raise ArgumentError(f"weight of {field} must be a number between 0 and {MAX_WEIGHT}, not {value!r}")


def known(prefix: str, data: Mapping[str, object], names: Iterable[str]) -> None:
    """ArgumentError when a mapping has a key that is none of ``names``."""
    names = list(names)
    unknown = sorted(map(str, set(data) - set(names)))
    if unknown:
        raise ArgumentError(f"unknown field {prefix}.{unknown[0]}: the fields are {', '.join(names)}")
