"""The keys of a group's models: given, or in the environment. They are stored nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robotgroups.errors import ArgumentError

KeySource = Callable[[], str | None]
EMBEDDING_VARIABLE = "ROBOTGROUPS_EMBEDDING_API_KEY"
EXTRACTION_VARIABLE = "ROBOTGROUPS_EXTRACTION_API_KEY"


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Where the keys are asked for, each time anew: a mounted Secret changes while a robot lives.

    ``embedding_for`` and ``extraction_for`` are the base URLs that they are for, if that is known: they are sent
    nowhere else.
    """

    embedding: KeySource
    extraction: KeySource
    embedding_for: str | None = None
    extraction_for: str | None = None

    @classmethod
    def of(
        cls,
        embedding: str | None = None,
        extraction: str | None = None,
        *,
        embedding_for: str | None = None,
        extraction_for: str | None = None,
    ) -> ApiKeys:
        """The keys that are given, and what for; for a key that is None, the environment's of both."""
        return cls(
            (lambda: embedding) if embedding is not None else (lambda: key_from(os.environ, EMBEDDING_VARIABLE)),
            (lambda: extraction) if extraction is not None else (lambda: key_from(os.environ, EXTRACTION_VARIABLE)),
            embedding_for if embedding is not None else _place_from(os.environ, EMBEDDING_VARIABLE),
            extraction_for if extraction is not None else _place_from(os.environ, EXTRACTION_VARIABLE),
        )


def key_from(environment: Mapping[str, str], variable: str) -> str | None:
    """The key in a variable, or in the file that ``variable``_FILE names; None when neither is set.

    Raises:
        ArgumentError: the file cannot be read.

    """
    if environment.get(variable):
        return environment[variable]
    named = environment.get(f"{variable}_FILE")
    return read_key(Path(named), f"{variable}_FILE") if named else None


def _place_from(environment: Mapping[str, str], variable: str) -> str | None:
    return environment.get(f"{variable}_FOR") or None


def read_key(file: Path, variable: str) -> str:
    """The key in a file; ``variable`` is what the message calls it.

    Raises:
        ArgumentError: the file cannot be read.

    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ArgumentError(f"{variable}: {file}: {reason}; mount the Secret with the key there") from error
