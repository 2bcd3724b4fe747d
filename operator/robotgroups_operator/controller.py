"""One group's loop: look, decide, act, tell. Level-triggered: whatever woke it, it looks at everything."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from robotgroups.errors import ArgumentError, MemoryUnavailableError, RobotGroupsError, UnknownGroupError
from robotgroups.models import GroupStatus
from robotgroups.store import login_number
from robotgroups_operator.api import ApiError, KubernetesApi, NotFoundError
from robotgroups_operator.api_keys import KeyChecker
from robotgroups_operator.apply import Applied, Applier
from robotgroups_operator.cache import Cache, GroupRef
from robotgroups_operator.children import plan_children
from robotgroups_operator.database import MEMORY_UNAVAILABLE, Database
from robotgroups_operator.departures import Departures
from robotgroups_operator.failover_clock import FailoverClock
from robotgroups_operator.failures import FailureDetector
from robotgroups_operator.group_settings import SETTINGS_REFUSED
from robotgroups_operator.labels import plan_labels
from robotgroups_operator.local_model import local_model_problem
from robotgroups_operator.manifests.identity import Group, Identity, RobotDefaults
from robotgroups_operator.membership import REFUSED_RETRY_SECONDS, Membership
from robotgroups_operator.metrics import FAILURES, RECONCILES
from robotgroups_operator.names import CHILDREN, Kind
from robotgroups_operator.observation import Problem
from robotgroups_operator.pods import RobotPod, read_pod
from robotgroups_operator.reporter import Reporter
from robotgroups_operator.rollout import admit
from robotgroups_operator.rotation import left_behind, requested_rotation
from robotgroups_operator.secret import SecretKeeper
from robotgroups_operator.spec import SpecError, milliseconds, parse_spec
from robotgroups_operator.switchover import Switchovers
from robotgroups_operator.view import look_at, robot_views
from robotgroups_operator.wakeup import Wakeup

log = structlog.get_logger(__name__)

JsonObject = dict[str, Any]
RETRY_SECONDS = 1.0
BUG_RETRY_SECONDS = 10.0
# A look asks Postgres and the API server, each with limits of its own; one that takes longer hangs.
LIMIT_SECONDS = 120.0
COALESCE_SECONDS = 0.1
"""How long further news of children and of memory is waited for; news of pods is acted on at once."""


@dataclass(frozen=True)
class Shared:
    """What all controllers share."""

    api: KubernetesApi
    cache: Cache
    database: Database
    cluster: str
    defaults: RobotDefaults
    absence_seconds: float
    status_interval_seconds: float


def _problem(error: RobotGroupsError) -> Problem:
    """An error of the database that a person has to see to."""
    reason = SETTINGS_REFUSED if isinstance(error, ArgumentError) else type(error).__name__.removesuffix("Error")
    return Problem(reason, str(error))


class GroupController:
    """Looks after one RobotGroup, for as long as `run` runs."""

    def __init__(self, shared: Shared, ref: GroupRef, uid: str) -> None:
        self.ref, self.uid = ref, uid
        self.wakeup = Wakeup()
        self._shared = shared
        self._membership = Membership(shared.database)
        self._applier = Applier(shared.api, shared.cache)
        self._keys = KeyChecker(shared.api)
        self._secret = SecretKeeper(shared.api, self._applier)
        self._failures = FailureDetector(shared.absence_seconds)
        self._departures = Departures()
        self._clock = FailoverClock()
        self._reporter = Reporter(shared.api, shared.database, ref)
        self._switchovers = Switchovers(self._reporter)
        self._identity: Identity | None = None
        self._check = True
        self._applied = Applied()
        self._written = 0.0

    @property
    def group_id(self) -> int | None:
        """The group's number in Postgres; None until it was declared there."""
        return self._membership.group_id

    def check_children(self, delay: float = COALESCE_SECONDS) -> None:
        """Children may not be what they should: compare them in the next look."""
        self._check = True
        self.wakeup.call(delay)

    def resync(self) -> None:
        """Look at everything again, the Secret too; believe nothing that was ensured before."""
        self._membership.doubt()
        self._secret.exists = False
        self.check_children()

    def login_lost(self) -> None:
        """Postgres has no login for the group any more."""
        self._secret.forget_login()
        self.resync()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        self.wakeup.call()
        try:
            while True:
                await self.wakeup.sleep()
                try:
                    with RECONCILES.time():
                        async with asyncio.timeout(LIMIT_SECONDS):
                            await self._reconcile()
                except TimeoutError:
                    FAILURES.labels(error="TimeoutError").inc()
                    log.warning("reconcile took too long and is begun anew", group=str(self.ref), seconds=LIMIT_SECONDS)
                    self.wakeup.call(RETRY_SECONDS)
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        raise
                    # a library's own cancellation that got out of it: nobody asked this task to end
                    FAILURES.labels(error="CancelledError").inc()
                    log.exception("reconcile was broken off", group=str(self.ref))
                    self.wakeup.call(RETRY_SECONDS)
                except (ApiError, RobotGroupsError) as error:
                    FAILURES.labels(error=type(error).__name__).inc()
                    log.warning("reconcile failed", group=str(self.ref), error=str(error))
                    self.wakeup.call(RETRY_SECONDS)
                except Exception as error:
                    FAILURES.labels(error=type(error).__name__).inc()
                    log.exception("reconcile failed unexpectedly", group=str(self.ref))
                    self.wakeup.call(BUG_RETRY_SECONDS)
        finally:
            self._membership.close()
            self._reporter.forget()

    async def _reconcile(self) -> None:
        body = self._shared.cache.get(Kind.ROBOT_GROUP, self.ref.namespace, self.ref.name)
        if body is None or body["metadata"]["uid"] != self.uid:
            return
        try:
            group = Group(await self._identify(), parse_spec(body["spec"]), self._shared.defaults)
        except SpecError as error:
            log.warning("spec cannot be read", group=str(self.ref), error=str(error))
            return
        deleting = "deletionTimestamp" in body["metadata"]
        memory, problem = (None, None) if deleting else await self._ask_memory(group)
        pods = self._pods()
        if memory is not None and self.group_id is not None:
            memory = await self._answer_failures(group, memory, pods)
            body, memory = await self._switch_over(body, group, memory)
        if not deleting:
            await self._put_back_children(body, group, memory)
        await self._tell(body, group, memory, problem or self._shared.database.problem)

    async def _identify(self) -> Identity:
        if self._identity is None:
            namespace = await self._shared.api.get(Kind.NAMESPACE, None, self.ref.namespace)
            if namespace is None:
                raise NotFoundError(404, "NotFound", f"namespace {self.ref.namespace} is gone")
            self._identity = Identity(
                self._shared.cluster, self.ref.namespace, namespace["metadata"]["uid"], self.ref.name, self.uid
            )
        return self._identity

    def _pods(self) -> dict[str, list[RobotPod]]:
        pods: dict[str, list[RobotPod]] = {}
        for body in self._shared.cache.of_group(Kind.POD, self.ref):
            pod = read_pod(body)
            pods.setdefault(pod.robot, []).append(pod)
        return pods

    async def _ask_memory(self, group: Group) -> tuple[GroupStatus | None, Problem | None]:
        """Tells Postgres what is declared, if that has changed, and asks how the group is."""
        self.wakeup.call(milliseconds(group.spec.failover.heartbeat) / 1000)
        try:
            status = await self._membership.ask(group, time.monotonic())
        except MemoryUnavailableError as error:
            self._failures.interrupted()
            return None, Problem(MEMORY_UNAVAILABLE, str(error))
        except UnknownGroupError:
            log.warning("the group's rows are gone", group=str(self.ref))
            self.login_lost()
            raise
        except RobotGroupsError as error:
            return None, _problem(error)
        self._check = self._check or self._membership.news
        if not self._membership.settled:
            self.wakeup.call(RETRY_SECONDS)
        if self._membership.problems:
            self.wakeup.call(REFUSED_RETRY_SECONDS)
        return status, None

    async def _answer_failures(
        self, group: Group, memory: GroupStatus, pods: Mapping[str, list[RobotPod]]
    ) -> GroupStatus:
        """Declares the dead failed, has those hand over who are going, and brings the pods' labels up to date.

        Returns the status after it.
        """
        assert self.group_id is not None
        now = time.monotonic()
        self._clock.look(memory, now)
        suspects = self._failures.look(memory, pods, now)
        patches = self._applier.labels(group.identity.namespace, plan_labels(memory, pods, suspects))
        due = self._failures.due(memory, suspects, now)
        going = self._departures.due(memory, pods, group.spec.failover.mode)
        if not due and not going:
            await patches
            self._clock.reached("relabel", time.monotonic())
            return memory
        store = self._shared.database.store
        retry, _, _ = await asyncio.gather(
            self._failures.declare(store, self.group_id, due),
            self._departures.hand_over(store, self.group_id, going),
            patches,
        )
        if retry is not None:
            self.wakeup.call(retry)
        return await self._follow_roles(group, self.group_id)

    async def _switch_over(self, body: JsonObject, group: Group, memory: GroupStatus) -> tuple[JsonObject, GroupStatus]:
        """Does what the annotation asks for. Returns the resource and the status after it."""
        declared = {robot.name for robot in (*group.spec.active_robots, *group.spec.passive)}
        body, moved = await self._switchovers.look(body, memory, declared, self._shared.database.store)
        self._shared.cache.put(Kind.ROBOT_GROUP, body)
        return body, await self._follow_roles(group, memory.id) if moved else memory

    async def _follow_roles(self, group: Group, group_id: int) -> GroupStatus:
        """Roles have moved: brings the labels up to date. Returns the status."""
        memory = await self._shared.database.store.status(group_id)
        self._clock.look(memory, time.monotonic())
        labels = plan_labels(memory, self._pods(), self._failures.suspects)
        await self._applier.labels(group.identity.namespace, labels)
        self._clock.reached("relabel", time.monotonic())
        return memory

    async def _put_back_children(self, body: JsonObject, group: Group, memory: GroupStatus | None) -> None:
        if not self._check:
            return
        self._check = False
        try:
            self._applied = await self._apply_all(body, group, memory)
        except BaseException:
            self._check = True
            raise
        if self._applied.problems or self._applied.pending:
            self.check_children(RETRY_SECONDS)

    async def _apply_all(self, body: JsonObject, group: Group, memory: GroupStatus | None) -> Applied:
        """The Secret first: a pod cannot start without it."""
        requested, applied = requested_rotation(body), Applied()
        if not self._secret.answers(requested):
            applied = await self._apply_secret(body, group, memory, requested)
        if not self._secret.exists:
            return applied
        group = replace(group, marks=self._secret.marks)
        found = {kind: self._shared.cache.of_group(kind, self.ref) for kind in CHILDREN}
        known = memory is not None and self._membership.settled
        steps = plan_children(group, found, may_stop_robots=known)
        views = robot_views(group.spec, memory, self._pods())
        steps, put_off = admit(steps, views, found[Kind.DEPLOYMENT], roles_known=memory is not None)
        model = local_model_problem(group)
        problems = await self._keys.check(group.spec.memory, group.identity.namespace) + ((model,) if model else ())
        applied = applied.and_also(Applied(problems, tuple(put_off)), await self._applier.children(group, steps))
        if self._secret.rotating and memory is not None:
            applied = applied.and_also(await self._finish_rotation(body, memory))
        return applied

    async def _apply_secret(
        self, body: JsonObject, group: Group, memory: GroupStatus | None, requested: str | None
    ) -> Applied:
        await self._secret.look(group)
        if memory is None:
            waiting = () if self._secret.answers(requested) else ("waiting for Postgres to make the login",)
            return Applied(pending=waiting)
        try:
            database = self._shared.database
            applied, rotated = await self._secret.ensure(group, memory, database.store, database.ca, requested)
        except MemoryUnavailableError as error:
            return Applied(pending=(f"waiting for Postgres to make the login: {error}",))
        except ArgumentError as error:
            return Applied(pending=(f"the login is not rotated yet: {error}",))
        except RobotGroupsError as error:
            return Applied(problems=(_problem(error),))
        if rotated:
            message = f"the robots come over to the login {rotated}, one by one; the previous one works until then"
            await self._reporter.tell(body, f"login-{login_number(rotated)}-begun", "RotatingCredentials", message)
        return applied

    async def _finish_rotation(self, body: JsonObject, memory: GroupStatus) -> Applied:
        """Takes the previous login away once no robot can come back under it."""
        deployments = self._shared.cache.of_group(Kind.DEPLOYMENT, self.ref)
        behind = left_behind(self._secret.marks, deployments, self._pods())
        if not behind:
            try:
                end = await self._secret.finish_rotation(memory.id, self._shared.database.store)
            except RobotGroupsError as error:
                return Applied(pending=(f"the previous login is not dropped yet: {error}",))
            if end.dropped:
                message = f"every robot has come over; the previous login {end.dropped} is gone"
                key = f"login-{login_number(end.dropped)}-dropped"
                await self._reporter.tell(body, key, "RotatedCredentials", message)
            behind = end.waiting
        waiting = (f"the login is being rotated: {', '.join(behind)} still under the previous one",) if behind else ()
        return Applied(pending=waiting)

    async def _tell(self, body: JsonObject, group: Group, memory: GroupStatus | None, problem: Problem | None) -> None:
        """Posts Events and writes the status, at most once in the interval."""
        now = time.monotonic()
        if memory is not None and self.group_id is not None:
            await self._reporter.read_feed(body, self.group_id, memory)
        wait = self._written + self._shared.status_interval_seconds - now
        if wait > 0:
            self.wakeup.call(wait)
            return
        seen = look_at(
            body,
            group,
            memory,
            problem,
            pods=self._pods(),
            applied=self._applied.and_also(Applied(self._membership.problems)),
            suspects=self._failures.suspects,
            deployments=self._shared.cache.of_group(Kind.DEPLOYMENT, self.ref),
            sync=self._reporter.sync(body, self.group_id),
            now=datetime.now(UTC),
        )
        if seen.memory is None and seen.memory_problem is None and not seen.deleting:
            seen = replace(seen, memory_problem=Problem(MEMORY_UNAVAILABLE, "Postgres was not asked"))
        written = await self._reporter.write(body, seen)
        if memory is not None:
            self._clock.reached("status", time.monotonic())
        if written is not None:
            self._written = now
            self._shared.cache.put(Kind.ROBOT_GROUP, written)
