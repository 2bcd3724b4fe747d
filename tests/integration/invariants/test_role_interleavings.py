"""Role changes that meet: random sequences over several sessions; one holds its transaction open, another waits.

Whatever waited must have seen what it waited for: the outcome is the model's for the one after the other (R1, R3), and
a write under a tenure that ended meanwhile is refused in its own transaction (R2).
"""

import json
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import role_model
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from role_model import ACTIVE, FAILED, PASSIVE, Presence, Robot, State, Step

Connection = psycopg.Connection[tuple[Any, ...]]
NAMES = "abc"
LIMIT_S = 20
ROBOTS = st.integers(0, len(NAMES) - 1)
OTHER = st.one_of(st.none(), ROBOTS)
VERBS = (
    "declare",
    "declare-hung",
    "register-new",
    "hand-over",
    "switch-from",
    "failover",
    "promote",
    "demote",
    "withdraw",
)
PLANNED = ("hand-over", "switch-from")
VERB = st.sampled_from(VERBS + 3 * ("declare", "register-new"))
MOSTLY = st.sampled_from([True, True, True, False])
# Nobody's lease ends, and nobody has a lease's time to come back: what clocks decide is tested elsewhere.
TIMELESS = """
UPDATE robotgroups.presence SET heartbeat_at = now() + interval '1 hour' WHERE group_id = %(group)s;
UPDATE robotgroups.robots SET joined_at = now() - interval '1 hour', withdrawn_at = withdrawn_at - interval '1 hour'
    WHERE group_id = %(group)s AND greatest(withdrawn_at, joined_at) > now() - interval '1 minute'
"""
ROLES = """
SELECT r.role, CASE WHEN p.robot IS NULL THEN 'absent' WHEN NOT robotgroups.is_live(p) THEN 'dead'
    WHEN p.warm THEN 'warm' ELSE 'cold' END, r.tenure
FROM robotgroups.robots r LEFT JOIN robotgroups.presence p ON p.group_id = r.group_id AND p.robot = r.name
WHERE r.group_id = %s ORDER BY r.ordinal
"""
WAITS = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
CLAIM = "SELECT * FROM robotgroups.remember(%s, %s, %s, %s, 1, %s, '{}'::text[], '{}'::jsonb, NULL::text)"
NOT_ACTIVE = "RG001"
group_numbers = count()


@dataclass
class Act:
    """What one session is about to do, as it saw the group before: the statement, and what the model makes of it."""

    verb: str
    robot: int
    connection: Connection
    statement: str
    incarnation: UUID | None
    new: UUID


class Interleavings(RuleBasedStateMachine):
    """Three robots, and whoever else changes their roles."""

    dsn: str

    def __init__(self) -> None:
        super().__init__()
        self.look = self._connect()
        self.threads = ThreadPoolExecutor(2)
        self.sessions: dict[int, Connection] = {}
        self.incarnations: dict[int, UUID] = {}
        self.lost: Counter[int] = Counter()  # how often a robot's active role was taken by a failure
        self.claims: set[tuple[int, int]] = set()  # every tenure that there ever was
        self.just_left: set[int] = set()  # who withdrew, and has a lease's time to come back
        self.epoch = 0

    def _connect(self) -> Connection:
        return psycopg.connect(self.dsn, autocommit=True)

    def teardown(self) -> None:
        for connection in (*self.sessions.values(), self.look):
            connection.close()
        self.threads.shutdown()

    def until(self, statement: str, *arguments: object) -> None:
        """Until its answer is true."""
        deadline = time.monotonic() + LIMIT_S
        while self.ask(statement, *arguments) != [(True,)]:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def ask(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        return self.look.execute(statement.encode(), arguments).fetchall()

    def tenure(self, i: int) -> int:
        """A robot's present one; 0 while it is not active."""
        statement = "SELECT tenure FROM robotgroups.robots WHERE group_id = %s AND name = %s"
        [(tenure,)] = self.ask(statement, self.group, NAMES[i])
        return int(tenure)

    @initialize(passive=st.integers(1, 2))
    def begin(self, passive: int) -> None:
        # or who is absent would have a lease's time to come back
        self.until("SELECT clock_timestamp() - robotgroups.server_started() > interval '1 s'")
        told = json.dumps({"heartbeat_ms": 200, "lease_ms": 600, "failover_cooldown_ms": 0, "language": "english"})
        name = f"interleaved-{next(group_numbers)}"
        [(self.group,)] = self.ask("SELECT robotgroups.ensure_group('local', 'interleaved', %s, %s)", name, told)
        active = list(NAMES[: len(NAMES) - passive])
        members = "SELECT * FROM robotgroups.reconcile_members(%s, %s::text[], %s::text[])"
        self.ask(members, self.group, active, list(NAMES[len(active) :]))
        roles = [ACTIVE] * len(active) + [PASSIVE] * passive
        self.state = State(tuple(Robot(role, Presence.ABSENT) for role in roles), len(active))
        self.epoch = 1
        for i in range(len(NAMES)):
            act = self.act("register-new", i)
            act.connection.execute(act.statement.encode())
            self.committed(act)
            self.state = self.state.put({i: Robot(roles[i], Presence.COLD)})
            self.beat(i, warm=True)
        self.compare()

    # -- one of several ----------------------------------------------------------------------------------------------

    def act(self, verb: str, i: int) -> Act:
        """Gets it ready. To register takes a session of its own, which is the robot's from then on."""
        now, new = self.incarnations.get(i), uuid4()
        name, own = f"'{NAMES[i]}'", f"'{now}'" if now else "NULL"
        heartbeat = "NULL"
        if verb == "declare-hung":
            found = self.ask(
                "SELECT heartbeat FROM robotgroups.presence WHERE group_id = %s AND robot = %s", self.group, NAMES[i]
            )
            heartbeat = str(found[0][0]) if found else "NULL"
        declare = (
            f"SELECT outcome FROM robotgroups.declare_failed({self.group}, {name}, {own}, {heartbeat}, '', 'test')"
        )
        statements = {
            "declare": declare,
            "declare-hung": declare,
            "register-new": f"SELECT role FROM robotgroups.register({self.group}, {name}, '{new}', '', true, true)",
            "hand-over": f"SELECT coalesce(robotgroups.hand_over({self.group}, {name}, {own}, ''), 'nobody')",
            "failover": f"SELECT promoted FROM robotgroups.failover({self.group}, {name}, 'test')",
            "switch-from": f"SELECT promoted FROM robotgroups.switchover({self.group}, {name}, NULL, 'test')",
            "promote": f"SELECT 'done' FROM robotgroups.promote({self.group}, {name})",
            "demote": f"SELECT 'done' FROM robotgroups.demote({self.group}, {name})",
            "withdraw": f"SELECT robotgroups.withdraw({self.group}, {name}, {own})::text",
        }
        return Act(verb, i, self._connect(), statements[verb], now, new)

    def expect(self, act: Act) -> Step:
        """What the model says that it does now: it may be about an incarnation that is there no more."""
        i, robot = act.robot, self.state.robots[act.robot]
        outdated = act.incarnation != self.incarnations.get(i)
        if act.verb in ("declare", "declare-hung"):
            stale = outdated and robot.role != FAILED
            if not stale and robot.role != FAILED and i in self.just_left:
                return Step(self.state, "grace")
            hung = act.verb == "declare-hung"
            return Step(self.state, "stale") if stale else role_model.declare(self.state, i, hung=hung)
        if act.verb == "hand-over" and outdated:
            return Step(self.state, "nobody")
        if act.verb == "withdraw" and outdated:
            return Step(self.state, "false")
        if act.verb == "register-new":
            return role_model.register(self.state, i, same=False)
        known = {"hand-over": role_model.hand_over, "failover": role_model.failover, "promote": role_model.promote}
        known |= {
            "switch-from": partial(role_model.switchover, target=None),
            "demote": role_model.demote,
            "withdraw": role_model.withdraw,
        }
        return known[act.verb](self.state, i)

    def committed(self, act: Act) -> None:
        if act.verb == "register-new":
            if act.robot in self.sessions:
                self.sessions[act.robot].close()
            self.sessions[act.robot] = act.connection
            self.incarnations[act.robot] = act.new
        else:
            act.connection.close()

    def answered(self, act: Act, answer: str) -> None:
        """It was committed with this answer: so says the model, and this is the group now."""
        step = self.expect(act)
        expected = NAMES[int(step.answer)] if step.answer.isdecimal() else step.answer
        assert answer == expected, f"{act.verb} {act.robot} in {self.state}"
        for i, (before, after) in enumerate(zip(self.state.robots, step.state.robots, strict=True)):
            self.lost[i] += act.verb not in PLANNED and before.role == ACTIVE and after.role != ACTIVE
        if act.verb == "withdraw" and answer == "true":
            self.just_left.add(act.robot)
        elif act.verb == "register-new":
            self.just_left.discard(act.robot)
        self.epoch += step.epochs
        self.state = step.state
        self.committed(act)

    @staticmethod
    def run(connection: Connection, statement: str) -> str:
        """The answer, or the SQLSTATE of what was raised."""
        try:
            row = connection.execute(statement.encode()).fetchone()
        except psycopg.Error as error:
            return error.sqlstate or ""
        assert row is not None
        return str(row[0])

    def waits_or_is_done(self, connection: Connection, future: "Future[str]") -> None:
        deadline = time.monotonic() + LIMIT_S
        while not future.done() and self.ask(WAITS, connection.info.backend_pid) != [(True,)]:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def heal(self) -> None:
        """Everybody is there and warm; without it a group is soon one of the dead."""
        for i in range(len(NAMES)):
            if not self.state.robots[i].live:
                act = self.act("register-new", i)
                self.answered(act, self.run(act.connection, act.statement))
            if self.state.robots[i].presence is Presence.COLD:
                self.beat(i, warm=True)
        self.compare()

    # -- what happens ------------------------------------------------------------------------------------------------

    @rule(first=VERB, i=ROBOTS, second=VERB, j=OTHER, dies=MOSTLY, commits=MOSTLY)
    def meet(self, first: str, i: int, second: str, j: int | None, *, dies: bool, commits: bool) -> None:
        """The second one comes while the first one's transaction is open, which ends one way or the other."""
        self.heal()
        j = i if j is None else j
        if dies:
            self.die(i)
        one, two = self.act(first, i), self.act(second, j)
        one.connection.execute("BEGIN")
        answer = self.run(one.connection, one.statement)
        future = self.threads.submit(self.run, two.connection, two.statement)
        self.waits_or_is_done(two.connection, future)
        if commits:
            one.connection.execute("COMMIT")
            self.answered(one, answer)
        else:
            one.connection.execute("ROLLBACK")
            one.connection.close()
            if first == "declare-hung" and answer in ("promoted", "vacant", "failed"):
                self.is_dead(i)  # to end a session cannot be taken back
            if first == "register-new" and self.state.robots[i].live:
                self.is_dead(i)
            if first == "failover" and answer in NAMES:
                self.is_dead(i)
        self.answered(two, future.result(LIMIT_S))
        self.compare()

    @rule(verb=VERB, i=ROBOTS, j=ROBOTS, dies=st.booleans())
    def write_behind(self, verb: str, i: int, j: int, *, dies: bool) -> None:
        """A robot writes while its role may be changing: acknowledged only if it has the same tenure after all."""
        self.heal()
        if dies:
            self.die(i)
        one = self.act(verb, i)
        tenure = self.tenure(j)
        writer = self._connect()
        one.connection.execute("BEGIN")
        answer = self.run(one.connection, one.statement)
        content = str(uuid4())
        future = self.threads.submit(self.write, writer, j, tenure or 1, content)
        self.waits_or_is_done(writer, future)
        one.connection.execute("COMMIT")
        self.answered(one, answer)
        now = self.tenure(j)
        assert future.result(LIMIT_S) == ("written" if tenure and now == tenure else NOT_ACTIVE)
        writer.close()
        self.compare()

    def write(self, connection: Connection, i: int, tenure: int, content: str) -> str:
        try:
            connection.execute(CLAIM.encode(), (self.group, NAMES[i], tenure, content, NAMES[i]))
        except psycopg.Error as error:
            return error.sqlstate or ""
        return "written"

    @rule(i=ROBOTS, warm=st.booleans())
    def beat(self, i: int, *, warm: bool) -> None:
        if self.state.robots[i].live:
            step = role_model.beat(self.state, i, warm=warm)
            who = f"{self.group}, '{NAMES[i]}', '{self.incarnations[i]}'"
            statement = f"SELECT current::text FROM robotgroups.beat({who}, 1, {warm})"
            assert self.run(self.sessions[i], statement) == "true"
            self.state = step.state
            self.epoch += step.epochs
            self.compare()

    @rule(i=ROBOTS)
    def die(self, i: int) -> None:
        if self.state.robots[i].live:
            self.sessions[i].close()
            self.is_dead(i)
            self.compare()

    def is_dead(self, i: int) -> None:
        """Waits until Postgres has noticed that its session has ended."""
        dead = "SELECT NOT robotgroups.is_live(p) FROM robotgroups.presence p WHERE group_id = %s AND robot = %s"
        self.until(dead, self.group, NAMES[i])
        self.state = self.state.put({i: Robot(self.state.robots[i].role, Presence.DEAD)})

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def write_under_an_old_tenure(self, data: st.DataObject) -> None:
        i, tenure = data.draw(st.sampled_from(sorted(self.claims)))
        expected = "written" if self.tenure(i) == tenure else NOT_ACTIVE
        assert self.write(self.look, i, tenure, str(uuid4())) == expected

    def compare(self) -> None:
        """The group is as the model says."""
        self.look.execute(TIMELESS.replace("%(group)s", str(self.group)).encode())
        self.just_left.clear()
        robots = self.ask(ROLES, self.group)
        assert [(role, presence) for role, presence, _ in robots] == [
            (robot.role, robot.presence.value) for robot in self.state.robots
        ]
        [(epoch, target)] = self.ask("SELECT epoch, active_target FROM robotgroups.groups WHERE id = %s", self.group)
        assert (epoch, target) == (self.epoch, self.state.target)
        assert self.state.active <= target
        # R1: each epoch is one event
        events = self.ask(
            "SELECT epoch FROM robotgroups.changes WHERE group_id = %s AND kind = 'role' ORDER BY revision", self.group
        )
        assert [row[0] for row in events] == list(range(1, epoch + 1))
        # R2: no tenure is given out twice
        held = {(i, tenure) for i, (_, _, tenure) in enumerate(robots) if tenure}
        assert all(tenure <= epoch for _, tenure in held)
        self.claims |= held
        # R3: no failure has two promotions
        failovers = self.ask(
            "SELECT source, count(*) FROM robotgroups.failovers "
            "WHERE group_id = %s AND kind = 'failover' GROUP BY source",
            self.group,
        )
        assert all(rows <= self.lost[NAMES.index(source)] for source, rows in failovers)


@pytest.mark.timeout(300)
def test_role_changes_that_meet_have_one_order(shared_dsn: str) -> None:
    machine = type("OnThisServer", (Interleavings,), {"dsn": shared_dsn})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=20, derandomize=True, deadline=None, database=None,
            phases=(Phase.explicit, Phase.generate),  # to make a failure smaller takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
