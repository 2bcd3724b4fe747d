"""One group's loop: look, decide, act, tell. Level-triggered: whatever woke it, it looks at everything."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from robotgroups.errors import MemoryUnavailableError, RobotGroupsError, UnknownGroupError
from robotgroups.models import GroupStatus
from robotgroups_operator.api import ApiError, KubernetesApi, NotFoundError
from robotgroups_operator.apply import Applied, Applier
from robotgroups_operator.cache import Cache, GroupRef
from robotgroups_operator.children import plan_children
from robotgroups_operator.database import MEMORY_UNAVAILABLE, Database
from robotgroups_operator.failures import FailureDetector
from robotgroups_operator.labels import plan_labels
from robotgroups_operator.manifests.identity import Group, Identity, RobotDefaults
from robotgroups_operator.membership import Declaration, declaration, declare, delete_predecessor, is_declared
from robotgroups_operator.metrics import FAILURES, RECONCILES
from robotgroups_operator.names import CHILDREN, Kind
from robotgroups_operator.observation import Problem
from robotgroups_operator.pods import RobotPod, read_pod
from robotgroups_operator.reporter import Reporter
from robotgroups_operator.rollout import admit
from robotgroups_operator.secret import SecretKeeper
from robotgroups_operator.spec import SpecError, milliseconds, parse_spec
from robotgroups_operator.view import look_at, robot_views
from robotgroups_operator.wakeup import Wakeup

log = structlog.get_logger(__name__)

JsonObject = dict[str, Any]
RETRY_SECONDS = 1.0
BUG_RETRY_SECONDS = 10.0
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
    return Problem(type(error).__name__.removesuffix("Error"), str(error))


class GroupController:
    """Looks after one RobotGroup, for as long as `run` runs."""

    def __init__(self, shared: Shared, ref: GroupRef, uid: str) -> None:
        self.ref, self.uid = ref, uid
        self.wakeup = Wakeup()
        self.group_id: int | None = None
        self._shared = shared
        self._applier = Applier(shared.api, shared.cache)
        self._secret = SecretKeeper(shared.api, self._applier)
        self._failures = FailureDetector(shared.absence_seconds)
        self._reporter = Reporter(shared.api, shared.database, ref)
        self._identity: Identity | None = None
        self._declared: Declaration | None = None
        self._check = True
        self._applied = Applied()
        self._written = 0.0

    def check_children(self, delay: float = COALESCE_SECONDS) -> None:
        """Children may not be what they should: compare them in the next look."""
        self._check = True
        self.wakeup.call(delay)

    def resync(self) -> None:
        """Look at everything again, the Secret too; believe nothing that was ensured before."""
        self._declared = None
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
                        await self._reconcile()
                except (ApiError, RobotGroupsError) as error:
                    FAILURES.labels(error=type(error).__name__).inc()
                    log.warning("reconcile failed", group=str(self.ref), error=str(error))
                    self.wakeup.call(RETRY_SECONDS)
                except Exception as error:
                    FAILURES.labels(error=type(error).__name__).inc()
                    log.exception("reconcile failed unexpectedly", group=str(self.ref))
                    self.wakeup.call(BUG_RETRY_SECONDS)
        finally:
            if self.group_id is not None:
                self._shared.database.forget(self.group_id)
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
        if not deleting:
            await self._put_back_children(group, memory)
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
        declared = declaration(group)
        try:
            store = self._shared.database.store
            if self.group_id is None:
                await delete_predecessor(store, declared)
            if self.group_id is None or declared != self._declared:
                self._set_group_id(await declare(store, declared))
                self._declared, self._check = declared, True
            assert self.group_id is not None
            status = await store.status(self.group_id)
            if not is_declared(status, declared):
                self._declared = None
                self.wakeup.call(RETRY_SECONDS)
        except MemoryUnavailableError as error:
            self._failures.interrupted()
            return None, Problem(MEMORY_UNAVAILABLE, str(error))
        except UnknownGroupError:
            log.warning("the group's rows are gone", group=str(self.ref))
            self.login_lost()
            raise
        except RobotGroupsError as error:
            return None, _problem(error)
        return status, None

    def _set_group_id(self, group_id: int) -> None:
        if group_id == self.group_id:
            return
        if self.group_id is not None:
            self._shared.database.forget(self.group_id)
        self.group_id = group_id
        self._shared.database.listen(group_id)

    async def _answer_failures(
        self, group: Group, memory: GroupStatus, pods: Mapping[str, list[RobotPod]]
    ) -> GroupStatus:
        """Declares the dead failed and brings the pods' labels up to date; returns the status after it."""
        assert self.group_id is not None
        now = time.monotonic()
        suspects = self._failures.look(memory, pods, now)
        patches = self._applier.labels(group.identity.namespace, plan_labels(memory, pods, suspects))
        due = self._failures.due(memory, suspects, now)
        if not due:
            await patches
            return memory
        declare_all = self._failures.declare(self._shared.database.store, self.group_id, due)
        retry, _ = await asyncio.gather(declare_all, patches)
        if retry is not None:
            self.wakeup.call(retry)
        memory = await self._shared.database.store.status(self.group_id)
        await self._applier.labels(group.identity.namespace, plan_labels(memory, self._pods(), suspects))
        return memory

    async def _put_back_children(self, group: Group, memory: GroupStatus | None) -> None:
        if not self._check:
            return
        self._check = False
        try:
            self._applied = await self._apply_all(group, memory)
        except BaseException:
            self._check = True
            raise
        if self._applied.problems or self._applied.pending:
            self.check_children(RETRY_SECONDS)

    async def _apply_all(self, group: Group, memory: GroupStatus | None) -> Applied:
        """The Secret first: a pod cannot start without it."""
        applied = Applied()
        if not self._secret.exists:
            applied = await self._apply_secret(group, memory)
        if not self._secret.exists:
            return applied
        found = {kind: self._shared.cache.of_group(kind, self.ref) for kind in CHILDREN}
        known = memory is not None and is_declared(memory, declaration(group))
        steps = plan_children(group, found, may_stop_robots=known)
        views = robot_views(group.spec, memory, self._pods())
        steps, put_off = admit(steps, views, found[Kind.DEPLOYMENT], roles_known=memory is not None)
        more = await self._applier.children(group, steps)
        return Applied(applied.problems + more.problems, applied.pending + more.pending + tuple(put_off))

    async def _apply_secret(self, group: Group, memory: GroupStatus | None) -> Applied:
        await self._secret.look(group)
        if memory is None or self.group_id is None:
            return Applied() if self._secret.exists else Applied(pending=("waiting for Postgres to make the login",))
        try:
            database = self._shared.database
            return await self._secret.ensure(group, self.group_id, database.store, database.ca)
        except MemoryUnavailableError as error:
            return Applied(pending=(f"waiting for Postgres to make the login: {error}",))
        except RobotGroupsError as error:
            return Applied(problems=(_problem(error),))

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
            applied=self._applied,
            suspects=self._failures.suspects,
            deployments=self._shared.cache.of_group(Kind.DEPLOYMENT, self.ref),
            sync=self._reporter.sync(body, self.group_id),
            now=datetime.now(UTC),
        )
        if seen.memory is None and seen.memory_problem is None and not seen.deleting:
            seen = replace(seen, memory_problem=Problem(MEMORY_UNAVAILABLE, "Postgres was not asked"))
        written = await self._reporter.write(body, seen)
        if written is not None:
            self._written = now
            self._shared.cache.put(Kind.ROBOT_GROUP, written)
