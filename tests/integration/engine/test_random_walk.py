"""M1, M3, M4, M5 and R1 under a random life: every cache, at whatever revision it is caught, equals the group at it.

What the group was at every revision is written down by a trigger in Postgres itself, at the end of the transaction
that made the revision: neither the library's reader nor its cache has a part in the truth.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from robotgroups.cache import Cache
from robotgroups.errors import ArgumentError, MemoryUnavailableError, NotFoundError, RoleError
from robotgroups.models import ChangeKind, GroupSettings, Memory, Remembered, Role, Snapshot, roles_from_json
from robotgroups.robot import HostedRobot

from .conftest import KEY

STEPS = 300
LIMIT_S = 30
NAMES = "abcd"
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
RECORD = """
CREATE TABLE public.truth (revision bigint PRIMARY KEY, state jsonb NOT NULL);
CREATE FUNCTION public.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.truth SELECT (s->>'revision')::bigint, s FROM robotgroups.snapshot(NEW.group_id) s
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record AFTER INSERT ON robotgroups.changes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION public.record();
"""


def seen(cache: Cache) -> tuple[Any, ...]:
    """What a cache says. The keepers of one transfer change together, in events of their own: they are left out."""
    return (cache.epoch, dict(cache.roles), {i: told(m) for i, m in cache.memories.items()}, cache.tokens)


def told(memory: Memory) -> dict[str, Any]:
    return {name: value for name, value in memory.as_json().items() if name != "keeper"}


def true(state: Mapping[str, Any]) -> tuple[Any, ...]:
    memories = [Memory.from_json(m) for m in state["working_memory"]]
    return (
        state["epoch"],
        roles_from_json(state["roles"]),
        {m.id: told(m) for m in memories},
        sum(m.tokens for m in memories),
    )


@dataclass
class Walk:
    """A group that lives at random, and what was acknowledged to whoever wrote."""

    group: Any
    random: random.Random
    robots: dict[str, HostedRobot] = field(default_factory=dict)
    acknowledged: dict[int, str] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    caught: list[tuple[str, int, tuple[Any, ...]]] = field(default_factory=list)
    refused: int = 0
    written: int = 0

    async def start(self, name: str) -> None:
        self.robots[name] = await self.group.host(name, replace=True)

    def look(self) -> None:
        """Catches every cache as it is now, between two of its changes."""
        for name, robot in self.robots.items():
            if robot.warm and robot.ended is None:
                self.caught.append((name, robot.revision, seen(robot.cache)))

    # -- what may happen ---------------------------------------------------------------------------------------------

    def content(self) -> str:
        self.written += 1
        return f"{self.written} " + " ".join(self.random.choices(WORDS, k=self.random.choice([1, 3, 10, 40, 400])))

    def writer(self) -> HostedRobot:
        return self.random.choice(list(self.robots.values()))

    async def persist(self, content: str, **more: Any) -> Remembered:
        """Remember, again when the connection was cut under it: nobody knows then whether it was done (M2)."""
        robot = self.writer()
        try:
            return await robot.remember(content, **more)
        except MemoryUnavailableError:
            return await robot.remember(content, **more)

    async def remember(self) -> None:
        content = self.content()
        done = await self.persist(content, key=content)
        self.acknowledged[done.id] = content

    async def remember_again(self) -> None:
        if self.acknowledged:
            memory_id = self.random.choice(list(self.acknowledged))
            done = await self.persist(self.acknowledged[memory_id], tags=[self.random.choice(WORDS)])
            assert done.id == memory_id  # M2
            self.forgotten.discard(memory_id)

    async def forget(self) -> None:
        memory_id = self.random.choice([*self.acknowledged, -1])
        await self.writer().forget(memory_id)
        self.forgotten.add(memory_id)

    async def restore(self) -> None:
        memory_id = self.random.choice([*self.forgotten] or [*self.acknowledged, -1])
        await self.writer().restore(memory_id)
        self.forgotten.discard(memory_id)

    async def clear(self) -> None:
        await self.writer().clear_working_memory()

    async def transfer(self) -> None:
        await self.writer().transfer_working_memory(self.random.choice(NAMES), self.random.choice(NAMES))

    async def rebudget(self) -> None:
        settings = GroupSettings(max_tokens=self.random.choice([50, 200, 600]), heartbeat_ms=200, lease_ms=1500)
        await self.group.store.ensure_group(KEY, settings)

    async def failover(self) -> None:
        await self.group.store.failover(self.group.id, detected_by="test")

    async def promote(self) -> None:
        await self.group.store.promote(self.group.id, self.random.choice(NAMES))

    async def demote(self) -> None:
        await self.group.store.demote(self.group.id, self.random.choice(NAMES))

    async def hand_over(self) -> None:
        name = self.random.choice(list(self.robots))
        robot = self.robots.pop(name)
        await robot.hand_over("drain")
        await robot.stop()
        await self.start(name)

    async def crash(self) -> None:
        """As SIGKILL: nothing is said. Sometimes somebody sees it, sometimes the robot is back before anybody looks."""
        name = self.random.choice(list(self.robots))
        robot = self.robots.pop(name)
        await self.group.kill(robot)
        if self.random.random() < 0.5:
            await self.group.store.declare_failed(
                self.group.id, name, robot.incarnation, reason="killed", detected_by="test"
            )
        await self.start(name)

    async def cut(self) -> None:
        await self.group.cut(self.writer())

    async def leave_and_join(self) -> None:
        name = self.random.choice(list(self.robots))
        await self.group.store.leave(self.group.id, name)
        await self.robots.pop(name).stop()
        await self.group.store.join(self.group.id, name, self.random.choice([Role.ACTIVE, Role.PASSIVE]))
        await self.start(name)

    def choices(self) -> dict[Callable[[], Awaitable[None]], int]:
        return {
            self.remember: 40,
            self.remember_again: 12,
            self.forget: 6,
            self.restore: 6,
            self.clear: 2,
            self.transfer: 4,
            self.rebudget: 3,
            self.failover: 4,
            self.promote: 4,
            self.demote: 4,
            self.hand_over: 2,
            self.crash: 4,
            self.cut: 4,
            self.leave_and_join: 2,
        }

    async def run(self, steps: int) -> None:
        choices = self.choices()
        for _ in range(steps):
            (step,) = self.random.choices(list(choices), list(choices.values()))
            try:
                await step()
            except (RoleError, NotFoundError, ArgumentError):  # what the roles or the memories do not allow just now
                self.refused += 1
            self.look()

    async def write_from_elsewhere(self, stop: anyio.Event) -> None:
        """Another process writes all the while: a failover does not stop it for long."""
        number = 0
        while not stop.is_set():
            number += 1
            content = f"from elsewhere {number}"
            try:
                done = await self.group.writer.remember(
                    self.group.id, robot=None, tenure=None, content=content, tokens=4, key=content
                )
            except RoleError:  # nobody is active for a moment
                continue
            self.acknowledged[done.id] = content
            await anyio.sleep(0.01)


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_cache_equals_the_group_at_its_revision_whatever_happens(group: Any, seed: int) -> None:
    await group.store.reconcile_members(group.id, ["a", "b"], ["c", "d"])
    start = await group.store.snapshot(group.id)
    await group.sql(RECORD)
    walk = Walk(group, random.Random(seed))
    for name in NAMES:
        await walk.start(name)
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(walk.write_from_elsewhere, stop)
        await walk.run(STEPS)
        stop.set()
    for robot in walk.robots.values():
        await group.agrees(robot)
    walk.look()
    await check(walk, start)


async def check(walk: Walk, start: Snapshot) -> None:
    group = walk.group
    # first: the robots live on, and may go further before the truth is read
    final = await group.store.snapshot(group.id)
    truth = dict(await group.sql("SELECT revision, state FROM public.truth WHERE revision <= %s", final.revision))
    # M3: gap-free; a cache that takes every change, one by one, passes through exactly what the group was. What one
    # transaction did is true at its last revision.
    cache, changes, replay = Cache(start), [], {}
    while cache.revision < final.revision:
        for change in await group.store.changes(group.id, cache.revision, final.revision - cache.revision):
            cache.apply(change)
            changes.append(change)
            replay[change.revision] = seen(cache)
            assert change.revision not in truth or seen(cache) == true(truth[change.revision]), change
    assert list(replay) == list(range(start.revision + 1, final.revision + 1))
    assert set(truth) <= set(replay)
    assert final.revision in truth
    assert list(cache.memories.values()) == list(final.working_memory)
    # M4
    assert [r for r, state in truth.items() if true(state)[-1] > state["max_tokens"]] == []
    # M3, M5: the robots' caches, wherever they were caught
    wrong = [(n, r) for n, r, saw in walk.caught if r > start.revision and saw != replay[r]]
    assert wrong == []
    # R1
    epochs = [c.epoch for c in changes if c.kind is ChangeKind.ROLE]
    assert epochs == list(range(start.epoch + 1, final.epoch + 1))
    failovers = await group.store.failovers(group.id, 1000)
    assert len({f.epoch for f in failovers}) == len(failovers)
    # M1, M2
    rows = await group.sql("SELECT id, content, forgotten_at IS NOT NULL FROM robotgroups.memories ORDER BY id")
    assert {i: content for i, content, _ in rows} == walk.acknowledged
    assert {i for i, _, forgotten in rows if forgotten} == walk.forgotten
    # it was no idle life; how many steps the roles refuse depends on how fast caches follow them
    assert {c.kind for c in changes} >= set(ChangeKind) - {ChangeKind.CLEARED}
    assert failovers
    assert len({r for _, r, _ in walk.caught}) > STEPS / 10
    assert walk.written > STEPS / 10
