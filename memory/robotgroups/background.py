"""What a robot does in the background beside presence and the agent's work: it looks for chores and gets them done.

It never delays a remember: it works on what is acknowledged, by connections of the pool, in tasks of its own. Any robot
that may serve helps; an active one looks as soon as something is remembered, the others every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from robotgroups.cancelling import cancelled
from robotgroups.chores import GATHER_S, POLL_S, Standing, Trouble, failed, finished, plan
from robotgroups.claims import Claims
from robotgroups.errors import (
    ArgumentError,
    EmbeddingConfigError,
    ExtractionConfigError,
    MemoryUnavailableError,
    MissingFeatureError,
    ModelError,
    RobotGroupsError,
)
from robotgroups.group_models import GroupModels
from robotgroups.jobs import Claimant, JobKind, Work

logger = logging.getLogger(__name__)


class Chore(Protocol):
    """One kind of work. At most one ``drain`` of it runs at a time."""

    @property
    def name(self) -> str:
        """What the logs call it."""

    def kinds(self, work: Work) -> frozenset[JobKind]:
        """The jobs that it does for a group with these settings."""

    async def drain(self, who: Claimant, work: Work) -> int:
        """Work until nothing is due; returns how many jobs that were. What it raises makes the chore rest."""


class Background:
    """Runs the chores of one robot between ``start`` and ``stop``.

    ``claimant`` tells who works: None while the robot may not serve. ``claims`` are what the chores claim by.
    """

    def __init__(
        self,
        claimant: Callable[[], Claimant | None],
        models: GroupModels,
        claims: Claims,
        chores: Sequence[Chore],
    ) -> None:
        self._claimant = claimant
        self._models = models
        self._claims = claims
        self._chores = {chore.name: chore for chore in chores}
        self._standing = {chore.name: Standing() for chore in chores}
        self._told: dict[str, str] = {}
        self._settings = 0  # how often they have changed
        self._modelled = True  # whether a model is to see each memory, as far as is known
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="background work")

    def wake(self) -> None:
        """Others have remembered something, or a setting has changed: look soon."""
        self._news.set()

    def remembered(self, *, tagged: bool) -> None:
        """This robot has remembered something: look soon, if that makes work."""
        if tagged or self._modelled:
            self._news.set()

    async def stop(self) -> None:
        """End, and give back what was not done. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            await cancelled([task])
            await cancelled(self._working)
            await self._claims.aclose()

    async def _run(self) -> None:
        looking = Standing()
        while True:
            look_at = time.monotonic() + POLL_S
            who = self._claimant()
            if who is not None:
                try:
                    look_at = await self._look(who)
                    looking = Standing()
                except RobotGroupsError as error:
                    looking = self._rest("look", looking, error)
                    look_at = looking.rests_until
                except Exception as error:
                    logger.exception("background work")
                    looking = self._rest("look", looking, error)
                    look_at = looking.rests_until
            await self._wait(look_at)

    async def _look(self, who: Claimant) -> float:
        work, changed = await self._models.look()
        self._modelled = any(chore.kinds(work) - {JobKind.RELATE} for chore in self._chores.values())
        if changed:
            self._settings += 1
            self._standing = {name: s if s.running else Standing() for name, s in self._standing.items()}
        due = {name: bool(chore.kinds(work) & work.due) for name, chore in self._chores.items()}
        decided = plan(due, self._standing, time.monotonic())
        for name in decided.start:
            self._standing[name] = Standing(running=True, failures=self._standing[name].failures)
            task = asyncio.create_task(self._do(self._chores[name], who, work), name=f"{who.robot}: {name}")
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return decided.look_at

    async def _wait(self, look_at: float) -> None:
        await asyncio.sleep(GATHER_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(look_at - time.monotonic(), 0)):
                await self._news.wait()
        self._news.clear()

    async def _do(self, chore: Chore, who: Claimant, work: Work) -> None:
        began, settings = self._standing[chore.name], self._settings
        try:
            after = finished(await chore.drain(who, work), time.monotonic())
            self._told.pop(chore.name, None)
        except RobotGroupsError as error:
            after = self._rest(chore.name, began, error)
        except Exception as error:
            logger.exception("background work %s", chore.name)
            after = self._rest(chore.name, began, error)
        # what failed by former settings may go well now
        self._standing[chore.name] = after if settings == self._settings else Standing()
        self._news.set()  # what has come in meanwhile, and when its rest ends

    def _rest(self, name: str, standing: Standing, error: Exception) -> Standing:
        if self._told.get(name) != str(error):
            logger.warning("background work %s: %s; trying again", name, error)
        self._told[name] = str(error)
        wanted = error.retry_after if isinstance(error, ModelError) else None
        luck = random.random()  # noqa: S311  spreads retries
        return failed(standing, trouble_of(error), time.monotonic(), wanted_s=wanted or 0.0, luck=luck)


def trouble_of(error: Exception) -> Trouble:
    """What kind of trouble an error is."""
    match error:
        case MemoryUnavailableError():
            return Trouble.DATABASE
        case EmbeddingConfigError() | ExtractionConfigError() | MissingFeatureError() | ArgumentError():
            return Trouble.SETTINGS
        case ModelError():
            return Trouble.MODEL_AWAY
    return Trouble.UNEXPECTED
