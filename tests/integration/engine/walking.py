"""A random life of two groups that share a space: what may happen to them, and what was acknowledged meanwhile."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import anyio

from robotgroups.cache import Cache
from robotgroups.errors import ArgumentError, MemoryUnavailableError, NotFoundError, RoleError
from robotgroups.models import (
    Change,
    ChangeKind,
    Eviction,
    GroupKey,
    GroupSettings,
    Memory,
    Remembered,
    RobotRole,
    Role,
)
from robotgroups.replica import Replica
from robotgroups.robot import HostedRobot

from .conftest import Group

SPACE = "walks"
WORDS = [
    "customer",
    "ticket",
    "billing",
    "account",
    "refund",
    "call",
    "friday",
    "urgent",
    "closed",
    "open",
    "escalated",
    "agent",
]
USERS = ["ann", "bob", "eve"]
# What a memory that both groups hold tells the one of what the other has done.
ACROSS = {ChangeKind.UPDATED, ChangeKind.FORGOTTEN}


class IdleError(Exception):
    """There is nothing that the step could be done with."""


@dataclass(frozen=True)
class Seen:
    """What a cache said at one revision."""

    revision: int
    epoch: int
    roles: dict[str, RobotRole]
    memories: dict[int, Memory]
    tokens: int

    def told(self, erased: Collection[int]) -> tuple[Any, ...]:
        """All of it, but for what was erased since: nobody can tell of that any more."""
        return (self.epoch, self.roles, {i: m for i, m in self.memories.items() if i not in erased})


def seen(cache: Cache) -> Seen:
    return Seen(cache.revision, cache.epoch, dict(cache.roles), dict(cache.memories), cache.tokens)


@dataclass
class Home:
    """One of the groups, and everything that the caches of its robots have said, at every revision that they had."""

    key: GroupKey
    group: Group
    names: str
    caught: list[Seen] = field(default_factory=list)


def settings_of(**more: Any) -> GroupSettings:
    return GroupSettings(heartbeat_ms=200, lease_ms=1500, space=SPACE, **more)


@dataclass
class Walk:
    """Groups that live at random; `acknowledged` is what the space is to hold, by id."""

    homes: list[Home]
    random: random.Random
    robots: dict[str, HostedRobot] = field(default_factory=dict)
    acknowledged: dict[int, str] = field(default_factory=dict)
    scopes: dict[int, dict[str, str]] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    erased: set[int] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    kinds: set[ChangeKind] = field(default_factory=set)
    across: set[ChangeKind] = field(default_factory=set)  # what a robot did that another group's feed tells
    written: int = 0

    async def start(self, name: str) -> None:
        self.robots[name] = await self.home(name).group.host(name, replace=True)

    def home(self, name: str) -> Home:
        return next(home for home in self.homes if name in home.names)

    def applied(self, replica: Replica, change: Change) -> None:
        """Catches a cache that has just gone one revision on."""
        home = self.record(replica)
        self.kinds.add(change.kind)
        if change.robot and change.robot not in home.names:
            self.across.add(change.kind)

    def record(self, replica: Replica) -> Home:
        """Catches a cache as it is now."""
        home = next(home for home in self.homes if home.group.id == replica._group_id)
        if replica.warm:
            home.caught.append(seen(replica.cache))
        return home

    def look(self) -> None:
        """Catches every cache: one that has started from a snapshot has applied no change yet."""
        for robot in self.robots.values():
            if robot.ended is None:
                self.record(robot._replica)

    # -- what is chosen ----------------------------------------------------------------------------------------------

    def content(self) -> str:
        self.written += 1
        return f"{self.written} " + " ".join(self.random.choices(WORDS, k=self.random.choice([1, 3, 10, 40, 400])))

    def robot(self) -> HostedRobot:
        return self.random.choice(list(self.robots.values()))

    def memory(self, among: Collection[int] | None = None) -> int:
        """The id of a memory, mostly one of the newest."""
        ids = list(self.acknowledged if among is None else among)
        if not ids:
            raise IdleError
        return self.random.choice(ids[-20:] if self.random.random() < 0.7 else ids)

    def somewhere(self) -> Home:
        return self.random.choices(self.homes, [3, 1])[0]

    # -- what may happen to memories ---------------------------------------------------------------------------------

    async def persist(self, content: str, **more: Any) -> Remembered:
        """Remember, again when the connection was cut under it: nobody knows then whether it was done (M2)."""
        robot = self.robot()
        try:
            return await robot.remember(content, **more)
        except MemoryUnavailableError:
            return await robot.remember(content, **more)

    async def remember(self) -> None:
        content = self.content()
        scope = {"user": self.random.choice(USERS)} if self.random.random() < 0.2 else {}
        done = await self.persist(content, key=content, scope=scope, tags=self.random.sample(WORDS, 2))
        self.acknowledged[done.id], self.scopes[done.id] = content, scope

    async def remember_again(self) -> None:
        memory_id = self.memory()
        done = await self.persist(
            self.acknowledged[memory_id], tags=[self.random.choice(WORDS)], scope=self.scopes[memory_id]
        )
        assert done.id == memory_id  # M2
        self.forgotten.discard(memory_id)

    async def recall(self) -> None:
        """What is found comes into the working set, or counts as accessed there."""
        words = " or ".join(self.random.sample(WORDS, 2))
        found = await self.robot().recall(words, limit=self.random.choice([1, 3, 10]), into_working_memory=True)
        if not found:
            raise IdleError

    async def update(self) -> None:
        memory_id, content = self.memory(), self.content()
        await self.robot().update(memory_id, content, metadata={"written": self.written})
        self.acknowledged[memory_id] = content

    async def tag(self) -> None:
        await self.robot().tag(self.memory(), self.random.choice(WORDS))

    async def untag(self) -> None:
        await self.robot().untag(self.memory(), *self.random.sample(WORDS, 3))

    async def pin(self) -> None:
        if not await self.robot().pin(self.memory()):
            raise IdleError

    async def unpin(self) -> None:
        robot = self.robot()
        pinned = [m.id for m in robot.cache.memories.values() if m.pinned]
        if not pinned or not await robot.unpin(self.random.choice(pinned)):
            raise IdleError

    async def forget(self) -> None:
        memory_id = self.memory([*self.acknowledged, -1])
        await self.robot().forget(memory_id)
        self.forgotten.add(memory_id)

    async def restore(self) -> None:
        memory_id = self.memory(self.forgotten)
        await self.robot().restore(memory_id)
        self.forgotten.discard(memory_id)

    async def erase(self) -> None:
        memory_id = self.memory()
        assert await self.robot().erase(memory_id) == 1
        self.gone([memory_id])

    async def erase_scope(self) -> None:
        scope = {"user": self.random.choice(USERS)}
        ids = [i for i in self.acknowledged if self.scopes.get(i) == scope]
        if not ids:
            raise IdleError
        assert await self.robot().erase(scope=scope) == len(ids)
        self.gone(ids)

    def gone(self, ids: Collection[int]) -> None:
        self.erased |= set(ids)
        self.forgotten -= set(ids)
        for memory_id in ids:
            del self.acknowledged[memory_id]

    async def clear(self) -> None:
        if not await self.robot().clear_working_memory():
            raise IdleError

    async def transfer(self) -> None:
        robot = self.robot()
        source, target = self.random.sample(self.home(robot.name).names, 2)
        if not await robot.transfer_working_memory(source, target):
            raise IdleError

    # -- what may happen to groups and robots ------------------------------------------------------------------------

    async def resettle(self) -> None:
        """Another budget, another policy of eviction."""
        home = self.somewhere()
        settings = settings_of(
            max_tokens=self.random.choice([50, 200, 600]), eviction=self.random.choice(list(Eviction))
        )
        await home.group.store.ensure_group(home.key, settings)

    async def failover(self) -> None:
        group = self.somewhere().group
        await group.store.failover(group.id, detected_by="test")

    async def promote(self) -> None:
        home = self.somewhere()
        await home.group.store.promote(home.group.id, self.random.choice(home.names))

    async def demote(self) -> None:
        home = self.somewhere()
        await home.group.store.demote(home.group.id, self.random.choice(home.names))

    async def hand_over(self) -> None:
        robot = self.robots.pop(self.robot().name)
        await robot.hand_over("drain")
        await robot.stop()
        await self.start(robot.name)

    async def crash(self) -> None:
        """As SIGKILL: nothing is said. Sometimes somebody sees it, sometimes the robot is back before anybody looks."""
        robot = self.robots.pop(self.robot().name)
        group = self.home(robot.name).group
        await group.kill(robot)
        if self.random.random() < 0.5:
            await group.store.declare_failed(
                group.id, robot.name, robot.incarnation, reason="killed", detected_by="test"
            )
        await self.start(robot.name)

    async def cut(self) -> None:
        robot = self.robot()
        await self.home(robot.name).group.cut(robot)

    async def leave_and_join(self) -> None:
        robot = self.robots.pop(self.robot().name)
        group = self.home(robot.name).group
        await group.store.leave(group.id, robot.name)
        await robot.stop()
        await group.store.join(group.id, robot.name, self.random.choice([Role.ACTIVE, Role.PASSIVE]))
        await self.start(robot.name)

    # -- a life ------------------------------------------------------------------------------------------------------

    def choices(self) -> dict[Callable[[], Awaitable[None]], int]:
        return {
            self.remember: 40,
            self.remember_again: 12,
            self.recall: 12,
            self.update: 8,
            self.tag: 4,
            self.untag: 3,
            self.pin: 6,
            self.unpin: 5,
            self.forget: 6,
            self.restore: 8,
            self.erase: 4,
            self.erase_scope: 1,
            self.clear: 3,
            self.transfer: 4,
            self.resettle: 4,
            self.failover: 4,
            self.promote: 4,
            self.demote: 4,
            self.hand_over: 2,
            self.crash: 4,
            self.cut: 4,
            self.leave_and_join: 2,
        }

    async def run(self, steps: int) -> None:
        """So many steps, and then more until it was no idle life."""
        choices = self.choices()
        for number in range(5 * steps):
            (step,) = self.random.choices(list(choices), list(choices.values()))
            if number >= steps:
                missing = self.missing()
                if not missing:
                    return
                never = [step for step in choices if step.__name__ in missing]
                if never and number % 2:
                    step = self.random.choice(never)
            await self.take(number, step)
        raise AssertionError(f"this never happened: {self.missing()}")

    def missing(self) -> list[str]:
        """Steps that were never done, changes that never came, and those that never reached the other group."""
        never = [step.__name__ for step in self.choices() if not self.done[step.__name__]]
        never += [kind for kind in ChangeKind if kind not in self.kinds]
        return never + [f"{kind} by the other group" for kind in ACROSS - self.across]

    async def take(self, number: int, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except (IdleError, RoleError, NotFoundError, ArgumentError) as error:
            # what the roles or the memories do not allow just now
            print(f"{number} {step.__name__}: {error!r}")
        else:
            print(f"{number} {step.__name__}")
            self.done[step.__name__] += 1
        self.look()

    async def write_from_elsewhere(self, stop: anyio.Event) -> None:
        """Another process writes all the while, into both groups: a failover does not stop it for long."""
        number = 0
        while not stop.is_set():
            number += 1
            content = f"from elsewhere {number}"
            group = self.homes[number % 3 == 0].group
            try:
                done = await group.writer.remember(
                    group.id, robot=None, tenure=None, content=content, tokens=4, key=content
                )
            except RoleError:  # nobody is active for a moment
                continue
            self.acknowledged[done.id], self.scopes[done.id] = content, {}
            await anyio.sleep(0.01)
