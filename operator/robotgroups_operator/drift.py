"""Whether an object on the API server is what was applied. Pure.

What others add (defaults, status, labels of people) is no drift: only the fields that the operator sets count.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from kubernetes.utils import parse_quantity

_KEYS = ("name", "uid", "mountPath", "containerPort", "topologyKey", "key")
"""Fields by which entries of Kubernetes' lists are told apart, as far as the operator writes such lists."""


def differences(desired: Any, found: Any, path: str = "") -> list[str]:
    """The paths of the desired fields that the object lacks or has otherwise; empty when it is as desired."""
    if isinstance(desired, Mapping):
        if not isinstance(found, Mapping):
            return [] if not desired and found is None else [path]
        return [
            difference
            for key, value in desired.items()
            for difference in differences(value, found.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(desired, Sequence) and not isinstance(desired, str):
        if not isinstance(found, Sequence) or isinstance(found, str):
            return [] if not desired and found is None else [path]
        return _list_differences(desired, found, path)
    return [] if _same(desired, found, path) else [path]


def _list_differences(desired: Sequence[Any], found: Sequence[Any], path: str) -> list[str]:
    key = _list_key(desired)
    if key is None:
        if len(desired) != len(found):
            return [path]
        pairs = [(value, other, str(index)) for index, (value, other) in enumerate(zip(desired, found, strict=True))]
    else:
        by_key = {entry.get(key): entry for entry in found if isinstance(entry, Mapping)}
        pairs = [(value, by_key.get(value[key], ""), str(value[key])) for value in desired]
    return [difference for value, other, name in pairs for difference in differences(value, other, f"{path}[{name}]")]


def _list_key(desired: Sequence[Any]) -> str | None:
    for key in _KEYS:
        values = [entry.get(key) if isinstance(entry, Mapping) else None for entry in desired]
        if None not in values and len(set(values)) == len(values) and values:
            return key
    return None


def _same(desired: Any, found: Any, path: str) -> bool:
    if desired == found:
        return True
    if found is None:
        return desired in ("", None)  # the API server drops empty values
    if ".resources." in f".{path}":
        return _quantity(desired) == _quantity(found)
    return False


def _quantity(value: Any) -> Decimal | str:
    try:
        return parse_quantity(value)  # type: ignore[no-untyped-call,no-any-return]
    except ValueError:
        return str(value)
