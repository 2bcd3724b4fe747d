"""Every error of the library, under one root.

RobotGroupsError
├── ArgumentError (also ValueError)     a wrong argument: the message names it, its value and the remedy
│   ├── AlreadyMemberError
│   ├── LastActiveRobotError
│   ├── UnknownStrategyError
│   ├── InvalidTextError                it is blank, or nothing that can be stored
│   ├── ContentTooLargeError
│   ├── InvalidTagError
│   ├── InvalidMetadataError
│   ├── InvalidScopeError
│   ├── InvalidFileError                a file that cannot be loaded
│   ├── InvalidExportError              no export, or a line of one that cannot be imported: carries its number
│   └── IdempotencyConflictError        the key was used with other content
├── NotFoundError (also LookupError)
│   ├── UnknownGroupError
│   ├── UnknownRobotError
│   └── UnknownMemoryError
├── RoleError
│   ├── NotActiveError                  the fence (R2): carries the robots that are active
│   ├── NoActiveRobotError
│   ├── NoPassiveRobotError
│   ├── NotWarmError
│   ├── HostedElsewhereError
│   └── ReplacedError                   this incarnation's place was given away
├── PrunedError                         changes that are gone were asked for: carries up to which revision
├── MissingFeatureError                 what was asked for needs a part that is not there
├── ModelError                          an embedding model or an LLM failed: carries its reason
│   ├── EmbeddingError
│   │   ├── EmbeddingUnavailableError   try again: carries how much later, if the endpoint says so
│   │   ├── EmbeddingConfigError        the settings or the key must change first
│   │   └── EmbeddingInputError         this text cannot be embedded; others can
│   └── ExtractionError
│       ├── ExtractionUnavailableError
│       ├── ExtractionConfigError
│       └── ExtractionInputError
├── NotPermittedError                   the login may not do this
├── SetupError
│   ├── SchemaVersionError
│   ├── PoolerError
│   └── DatabaseConfigError
├── MemoryUnavailableError              Postgres is away: try again
├── ClosedError                         it has been shut down
└── ServiceError                        what the HTTP service answered, with its problem details
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class RobotGroupsError(Exception):
    """The root: whatever this library raises on purpose."""


class ArgumentError(RobotGroupsError, ValueError):
    """An argument is wrong."""


class AlreadyMemberError(ArgumentError):
    """The robot is a member of the group already."""


class LastActiveRobotError(ArgumentError):
    """The group would be left without an active robot."""


class UnknownStrategyError(ArgumentError):
    """No strategy of recall or context has this name."""


class InvalidTextError(ArgumentError):
    """A text is blank, too long, or holds what cannot be stored: a NUL or a lone surrogate."""


class ContentTooLargeError(ArgumentError):
    """A memory's content has more bytes than a memory may have."""


class InvalidTagError(ArgumentError):
    """A tag cannot be used; ``reason`` says why without repeating the tag."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class InvalidMetadataError(ArgumentError):
    """Metadata is no JSON that can be stored, or too much of it."""


class InvalidScopeError(ArgumentError):
    """A scope is no flat mapping of names to texts, or too much of one."""


class InvalidFileError(ArgumentError):
    """A file cannot be loaded: it is missing, too large, no UTF-8, or its front matter cannot be read."""


class InvalidExportError(ArgumentError):
    """What is to be imported is no export, is not whole, or has a line that cannot be imported.

    ``line`` is the number of that line, from 1; None when it is about the whole.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


class IdempotencyConflictError(ArgumentError):
    """An idempotency key was used before with other content."""


class NotFoundError(RobotGroupsError, LookupError):
    """What was named does not exist."""


class UnknownGroupError(NotFoundError):
    """No such group, or none that this login may use."""


class UnknownRobotError(NotFoundError):
    """The group has no such robot."""


class UnknownMemoryError(NotFoundError):
    """The group has no such memory."""


class RoleError(RobotGroupsError):
    """The roles of the group do not allow it now."""


class NotActiveError(RoleError):
    """The fence (R2): the robot is not active under the tenure that it claims.

    ``active`` names the robots that are.
    """

    def __init__(self, message: str, active: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.active = active


class NoActiveRobotError(RoleError):
    """The group has no active robot."""


class NoPassiveRobotError(RoleError):
    """No warm passive robot can take over."""


class NotWarmError(RoleError):
    """The robot has not caught up with the group's revision (M6)."""


class HostedElsewhereError(RoleError):
    """The robot lives in another process; ``endpoint`` says where, as far as that process told."""

    def __init__(self, message: str, endpoint: str = "") -> None:
        super().__init__(message)
        self.endpoint = endpoint


class ReplacedError(RoleError):
    """This incarnation of the robot was replaced or declared failed."""


class PrunedError(RobotGroupsError):
    """Changes were asked for that are gone: start from a snapshot (the working memory has its revision).

    ``pruned_to`` is the last revision that is gone.
    """

    def __init__(self, message: str, pruned_to: int) -> None:
        super().__init__(message)
        self.pruned_to = pruned_to


class MissingFeatureError(RobotGroupsError):
    """What was asked for needs a part that is not installed or not configured."""


class ModelFailure(StrEnum):
    """Why a model failed; a metric's label."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    SERVER_ERROR = "server_error"
    CIRCUIT_OPEN = "circuit_open"
    MALFORMED_ANSWER = "malformed_answer"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    WRONG_DIMENSIONS = "wrong_dimensions"
    WRONG_WEIGHTS = "wrong_weights"
    REFUSED = "refused"
    TOO_LONG = "too_long"
    UNUSABLE_TEXT = "unusable_text"
    UNUSABLE_VECTOR = "unusable_vector"


class ModelError(RobotGroupsError):
    """A model did not do what it was asked.

    ``retry_after`` is how many seconds the endpoint wants to be left alone; None when it has not said.
    """

    def __init__(self, message: str, reason: ModelFailure, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class EmbeddingError(ModelError):
    """Texts could not be embedded."""


class EmbeddingUnavailableError(EmbeddingError):
    """The endpoint is away, busy or answers nonsense; the same call may succeed later."""


class EmbeddingConfigError(EmbeddingError):
    """Nothing can be embedded until the settings, the key or the model's files are put right."""


class EmbeddingInputError(EmbeddingError):
    """A text is not one that the model can embed; without it the others can be."""


class ExtractionError(ModelError):
    """Tags or propositions could not be extracted."""


class ExtractionUnavailableError(ExtractionError):
    """The endpoint is away, busy or answers nonsense; the same call may succeed later."""


class ExtractionConfigError(ExtractionError):
    """Nothing can be extracted until the settings or the key are put right."""


class ExtractionInputError(ExtractionError):
    """The model does not take this text; it takes others."""


class NotPermittedError(RobotGroupsError):
    """The database login may not do this (S1)."""


class SetupError(RobotGroupsError):
    """The database cannot be used as it is set up."""


class SchemaVersionError(SetupError):
    """The database's schema is older or newer than this library."""


class PoolerError(SetupError):
    """A transaction-mode pooler stands before Postgres: sessions, LISTEN and advisory locks would not hold."""


class DatabaseConfigError(SetupError):
    """The DSN is not usable."""


class MemoryUnavailableError(RobotGroupsError):
    """Postgres cannot be reached or has just gone away; the operation may be tried again."""


class ClosedError(RobotGroupsError):
    """It has been shut down: open it again."""


class ServiceError(RobotGroupsError):
    """The HTTP service refused; ``status`` and ``problem`` are what it answered (RFC 9457)."""

    def __init__(self, message: str, status: int, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem: Mapping[str, Any] = problem or {}
