"""What a robot (``Member``) and a group in this process (``AsyncRobotGroup``) can both do with memory, written once.

Each area of memory is a mixin on this base; the two differ only in whom they write for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from robotgroups.store import Store

T = TypeVar("T")
Write = Callable[[str | None, int | None], Awaitable[T]]


class Verbs(ABC):
    """A group's memory as somebody who may use it sees it."""

    _store: Store
    _group_id: int
    _tokenizer: str

    @abstractmethod
    async def _written(self, write: Write[T]) -> T:
        """Carry out a write as an active robot: ``write(robot, tenure)``. NotActiveError, NoActiveRobotError."""

    @abstractmethod
    def _acknowledge(self, revision: int) -> None:
        """Take note of a write's revision: what is read here afterwards is no older."""
