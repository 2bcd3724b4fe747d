"""Every state of small groups, every event: what the SQL functions make of it is what the model says, and R1-R3 hold.

One session holds the presence locks of all robots: it is the one whose end no function asks for.
"""

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from role_model import ACTIVE, FAILED, PASSIVE, Event, Presence, Robot, State, Step, events

Connection = psycopg.Connection[tuple[Any, ...]]
NAMES = "abcd"
BATCH = 50
# Or who is absent would have a lease's time to come back.
OLD_ENOUGH = "SELECT clock_timestamp() - robotgroups.server_started() > interval '1 s'"
KINDS = [Robot(role, presence) for role in (ACTIVE, PASSIVE) for presence in Presence] + [
    Robot(FAILED, Presence.ABSENT)  # to be declared failed ends a presence
]
STATEMENTS = {
    "declare": "SELECT outcome FROM robotgroups.declare_failed({g}, {name}, {own}, NULL, 'dead', 'test')",
    "declare-hung": "SELECT outcome FROM robotgroups.declare_failed({g}, {name}, {own}, 100, 'hung', 'test')",
    "register-new": "SELECT role FROM robotgroups.register({g}, {name}, {new}, '', true, true)",
    "register-same": "SELECT role FROM robotgroups.register({g}, {name}, {own}, '', true, true)",
    "hand-over": "SELECT coalesce(robotgroups.hand_over({g}, {name}, {own}, 'stops'), 'nobody')",
    "failover": "SELECT promoted FROM robotgroups.failover({g}, {name}, 'test')",
    "switch-from": "SELECT promoted FROM robotgroups.switchover({g}, {name}, NULL, 'test')",
    "switch-to": "SELECT promoted FROM robotgroups.switchover({g}, NULL, {name}, 'test')",
    "promote": "SELECT 'done' FROM robotgroups.promote({g}, {name})",
    "demote": "SELECT 'done' FROM robotgroups.demote({g}, {name})",
    "withdraw": "SELECT robotgroups.withdraw({g}, {name}, {own})::text",
    "beat-warm": "SELECT current::text FROM robotgroups.beat({g}, {name}, {own}, 1, true)",
    "beat-cold": "SELECT current::text FROM robotgroups.beat({g}, {name}, {own}, 1, false)",
}
# Brings the group into a state, lets something happen, tells what came of it, and takes it all back.
TRY = """
CREATE FUNCTION pg_temp.try(p_group bigint, p_state jsonb, p_statement text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE v_answer text; v_found jsonb; v_epoch bigint; v_revision bigint;
BEGIN
    UPDATE robotgroups.groups SET active_target = (p_state->>'target')::integer, epoch = 1 WHERE id = p_group
        RETURNING revision INTO v_revision;
    UPDATE robotgroups.robots r SET role = s->>'role', tenure = (s->>'role' = 'active')::integer,
            incarnation = (s->>'incarnation')::uuid, joined_at = now() - interval '1 hour',
            failed_at = CASE s->>'role' WHEN 'failed' THEN now() - interval '1 hour' END
        FROM jsonb_array_elements(p_state->'robots') s WHERE r.group_id = p_group AND r.name = s->>'name';
    INSERT INTO robotgroups.presence (group_id, robot, incarnation, backend_pid, server_started, warm, applied_revision,
            heartbeat, heartbeat_at, registered_at)
        SELECT p_group, s->>'name', (s->>'incarnation')::uuid, CASE s->>'presence' WHEN 'dead' THEN 0 ELSE
                pg_backend_pid() END, robotgroups.server_started(), s->>'presence' <> 'cold', 1, 100,
            clock_timestamp(), clock_timestamp()
        FROM jsonb_array_elements(p_state->'robots') s WHERE s->>'presence' <> 'absent';
    BEGIN
        EXECUTE p_statement INTO v_answer;
    EXCEPTION WHEN OTHERS THEN
        v_answer := SQLSTATE;
    END;
    SELECT jsonb_build_object('answer', v_answer, 'target', g.active_target, 'epochs', g.epoch - 1,
            'rows', (SELECT count(*) FROM robotgroups.failovers f WHERE f.group_id = g.id),
            'events', (SELECT count(*) FROM robotgroups.changes c WHERE c.group_id = g.id AND c.revision > v_revision),
            'robots', (SELECT jsonb_agg(jsonb_build_array(r.role, CASE WHEN p.robot IS NULL THEN 'absent'
                    WHEN p.backend_pid = 0 THEN 'dead' WHEN p.warm THEN 'warm' ELSE 'cold' END, r.tenure)
                ORDER BY r.ordinal) FROM robotgroups.robots r LEFT JOIN robotgroups.presence p
                    ON p.group_id = r.group_id AND p.robot = r.name WHERE r.group_id = g.id))
        INTO v_found FROM robotgroups.groups g WHERE g.id = p_group;
    RAISE EXCEPTION USING ERRCODE = 'RGTRY', MESSAGE = v_found::text;
EXCEPTION WHEN SQLSTATE 'RGTRY' THEN
    RETURN SQLERRM::jsonb;
END $$
"""


def incarnation(i: int, *, new: bool = False) -> str:
    return str(UUID(int=1 + i + 100 * new))


class Bench:
    """A group of so many robots, and the session that plays them all."""

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        settings = json.dumps({"heartbeat_ms": 200, "lease_ms": 600, "language": "english"})
        ensure = "SELECT robotgroups.ensure_group('local', 'states', %s, %s)"
        row = connection.execute(ensure, (f"of-{size}", settings)).fetchone()
        assert row is not None
        self.group: int = row[0]
        members = "SELECT robotgroups.reconcile_members(%s, %s::text[], '{}')"
        connection.execute(members, (self.group, list(NAMES[:size])))
        lock = "SELECT pg_advisory_lock(robotgroups.presence_lock(%s, pg_backend_pid()))"
        for i in range(size):
            connection.execute(lock, (incarnation(i),))

    def statement(self, event: str) -> str:
        verb, _, number = event.partition(" ")
        i = int(number or 0)
        return STATEMENTS[verb].format(
            g=self.group,
            name=f"'{NAMES[i]}'" if number else "NULL",
            own=f"'{incarnation(i)}'",
            new=f"'{incarnation(i, new=True)}'",
        )

    def attempts(self, cases: list[tuple[State, Event]]) -> list[dict[str, Any]]:
        states = [
            json.dumps(
                {
                    "target": state.target,
                    "robots": [
                        {"name": NAMES[i], "incarnation": incarnation(i), "role": r.role, "presence": r.presence}
                        for i, r in enumerate(state.robots)
                    ],
                }
            )
            for state, _ in cases
        ]
        ask = "SELECT pg_temp.try(%s, s, e) FROM unnest(%s::jsonb[], %s::text[]) AS t(s, e)"
        statements = [self.statement(name) for _, (name, _) in cases]
        return [row[0] for row in self._connection.execute(ask, (self.group, states, statements)).fetchall()]


def expected(step: Step) -> dict[str, Any]:
    answer = NAMES[int(step.answer)] if step.answer.isdecimal() else step.answer
    return {
        "answer": answer,
        "target": step.state.target,
        "epochs": step.epochs,
        "rows": step.rows,
        "robots": [(r.role, r.presence.value) for r in step.state.robots],
    }


def compare(state: State, event: Event, found: dict[str, Any]) -> None:
    step = event[1](state)
    robots = found.pop("robots")
    changes = found.pop("events")
    seen = found | {"robots": [(role, presence) for role, presence, _ in robots]}
    assert seen == expected(step), f"{event[0]} in {state}"
    # R1: an epoch for each change of roles, and an event for each epoch
    assert changes == step.epochs
    # R2: a tenure is the epoch at which it began; whoever kept its role kept its tenure, unless it is another process
    for i, (role, _, tenure) in enumerate(robots):
        stayed = state.robots[i].role == ACTIVE and event[0] != f"register-new {i}"
        began = 1 <= tenure <= step.epochs + 1 if not stayed else tenure == 1
        assert began if role == ACTIVE else tenure == 0, f"{event[0]} in {state}: {robots}"
    # R3: one failure, one promotion, and never more active robots than there are places
    assert found["rows"] <= (step.epochs if event[0].startswith("beat") else 1)
    assert step.state.active <= step.state.target


@pytest.fixture(scope="module")
def connection(shared_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(shared_dsn, autocommit=True) as made:
        made.execute(TRY.encode())
        deadline = time.monotonic() + 20
        while made.execute(OLD_ENOUGH).fetchall() != [(True,)]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield made


def full(kinds: Iterable[tuple[Robot, ...]]) -> Iterator[State]:
    """With every place taken."""
    for robots in kinds:
        yield State(robots, max(sum(robot.role == ACTIVE for robot in robots), 1))


def vacant(kinds: Iterable[tuple[Robot, ...]]) -> Iterator[State]:
    """With one vacancy, where somebody could fill it."""
    for state in full(kinds):
        if state.active == state.target < len(state.robots):
            yield State(state.robots, state.target + 1)


def of(verbs: tuple[str, ...], every: Iterable[State]) -> Iterator[tuple[State, Event]]:
    return ((state, event) for state in every for event in events(state) if event[0].split()[0] in verbs)


def check_all(bench: Bench, cases: Iterator[tuple[State, Event]]) -> int:
    count = 0
    while batch := list(itertools.islice(cases, BATCH)):
        for (state, event), found in zip(batch, bench.attempts(batch), strict=True):
            compare(state, event, found)
        count += len(batch)
    return count


@pytest.mark.parametrize("size", [1, 2])
def test_every_event_in_every_state_of_small_groups(connection: Connection, size: int) -> None:
    kinds = list(itertools.product(KINDS, repeat=size))
    cases = of(tuple(STATEMENTS), itertools.chain(full(kinds), vacant(kinds)))
    assert check_all(Bench(connection, size), cases) == {1: 130, 2: 3254}[size]


def test_every_failure_and_every_return_in_every_state_of_three(connection: Connection) -> None:
    """What two cannot show: another standby, another active robot."""
    cases = of(
        ("declare", "declare-hung", "register-new", "hand-over", "switch-to"), full(itertools.product(KINDS, repeat=3))
    )
    assert check_all(Bench(connection, 3), cases) == 9720


def test_every_vacancy_of_three(connection: Connection) -> None:
    """Who beats finds it, who comes back takes it."""
    cases = of(("beat-warm", "register-new"), vacant(itertools.product(KINDS, repeat=3)))
    cases = ((s, e) for s, e in cases if s.robots[int(e[0][-1])].live == e[0].startswith("beat"))
    assert check_all(Bench(connection, 3), cases) == 1620


def test_every_failure_in_every_state_of_four(connection: Connection) -> None:
    """In one order of each: which of them comes first decides nothing but ties."""
    cases = of(("declare",), full(itertools.combinations_with_replacement(KINDS, 4)))
    assert check_all(Bench(connection, 4), cases) == 1980
