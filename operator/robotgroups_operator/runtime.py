"""The operator as a whole: what it has seen, a controller per group, and the periodic work that belongs to no group."""

import asyncio
import time
from typing import Any

import structlog

from robotgroups.errors import RobotGroupsError
from robotgroups_operator.api import ApiError, KubernetesApi, NotFoundError
from robotgroups_operator.cache import Cache, GroupRef, group_of
from robotgroups_operator.controller import COALESCE_SECONDS, GroupController, Shared
from robotgroups_operator.database import Database
from robotgroups_operator.manifests.identity import RobotDefaults
from robotgroups_operator.metrics import SWEPT, MetricsServer
from robotgroups_operator.names import CHILDREN, LABEL_GROUP, Kind
from robotgroups_operator.settings import OperatorSettings
from robotgroups_operator.sweep import SweepAction, plan_sweep
from robotgroups_operator.upkeep import DatabaseUpkeep
from robotgroups_operator.wakeup import Wakeup

log = structlog.get_logger(__name__)

JsonObject = dict[str, Any]
CLUSTER_NAMESPACE = "kube-system"
RETRY_SECONDS = 1.0


class Operator:
    """Runs in kopf's event loop; kopf's handlers feed it."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._cache = Cache()
        self._synced = False
        self._tried_at = time.monotonic()
        self._controllers: dict[GroupRef, tuple[GroupController, asyncio.Task[None]]] = {}
        self._metrics = MetricsServer(settings.bind_address, settings.metrics_port)
        self._tasks: asyncio.TaskGroup
        self._shared: Shared
        self._sweep: Wakeup

    async def run(self) -> None:
        """Runs until it is cancelled; an error that nobody foresaw ends it, and with it the process."""
        self._sweep = Wakeup()
        api = await KubernetesApi.connect()
        await self._metrics.start()
        try:
            database = Database(
                self._settings.database_dsn_file,
                ca_file=self._settings.database_ca_file,
                on_change=self._memory_changed,
                on_open=self._database_opened,
                on_lost=self._database_lost,
            )
            self._shared = Shared(
                api=api,
                cache=self._cache,
                database=database,
                cluster=await self._cluster_uid(api),
                defaults=RobotDefaults(
                    self._settings.robot_image,
                    str(self._settings.robot_image_pull_policy),
                    str(self._settings.log_level),
                    str(self._settings.log_format),
                    self._settings.robot_local_image,
                ),
                absence_seconds=self._settings.absence_seconds,
                status_interval_seconds=self._settings.status_interval_seconds,
            )
            upkeep = DatabaseUpkeep(database, self._settings.upkeep_seconds)
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(database.run(), name="database")
                self._tasks.create_task(self._resync_forever(), name="resync")
                self._tasks.create_task(self._sweep_forever(), name="sweep")
                self._tasks.create_task(upkeep.run(), name="upkeep")
        finally:
            await self._metrics.stop()
            await api.close()

    def observe(self, kind: Kind, event: str | None, body: JsonObject) -> None:
        """Takes a watch event: what changed is remembered, and the group it belongs to is woken."""
        before = self._cache.get(kind, body["metadata"]["namespace"], body["metadata"]["name"])
        new = self._cache.remove(kind, body) if event == "DELETED" else self._cache.put(kind, body)
        if not new or not self._synced:
            return
        # A label that was edited leads elsewhere: the group that the object was of has to put it back.
        for ref in {group_of(kind, each) for each in (before, body) if each is not None}:
            if ref is None:
                continue
            if kind is Kind.ROBOT_GROUP:
                self._follow(ref)
            self._wake(ref, kind)

    def healthy(self) -> bool:
        """Whether the periodic work goes on; that the API server is away is no reason to be restarted."""
        return time.monotonic() - self._tried_at < 4 * self._settings.resync_seconds + 60

    def _wake(self, ref: GroupRef, kind: Kind) -> None:
        if entry := self._controllers.get(ref):
            if kind is Kind.POD:
                entry[0].wakeup.call()
            else:
                entry[0].check_children(0.0 if kind is Kind.ROBOT_GROUP else COALESCE_SECONDS)

    def _follow(self, ref: GroupRef) -> None:
        """Starts or ends the controller of a group, as the resource is there or not."""
        body = self._cache.get(Kind.ROBOT_GROUP, ref.namespace, ref.name)
        uid = body["metadata"]["uid"] if body else None
        entry = self._controllers.get(ref)
        if entry and entry[0].uid != uid:
            entry[1].cancel()
            del self._controllers[ref]
            log.info("group is gone", group=str(ref))
            self._sweep.call(COALESCE_SECONDS)
            entry = None
        elif entry and entry[1].done():
            log.error("a group's controller had ended and is started again", group=str(ref))
            entry = None
        if uid is not None and entry is None:
            controller = GroupController(self._shared, ref, uid)
            self._controllers[ref] = (controller, self._tasks.create_task(controller.run(), name=f"group {ref}"))

    async def _resync_forever(self) -> None:
        await self._shared.database.attempted.wait()  # or every status would say first that Postgres is away
        while True:
            try:
                await self._resync()
                pause = self._settings.resync_seconds
            except ApiError as error:
                log.warning("resync failed", error=str(error))
                pause = RETRY_SECONDS
            self._tried_at = time.monotonic()
            await asyncio.sleep(pause)

    async def _resync(self) -> None:
        """Lists everything: heals what a watch has lost."""
        for kind in (Kind.ROBOT_GROUP, *CHILDREN, Kind.POD):
            labels = None if kind is Kind.ROBOT_GROUP else LABEL_GROUP
            for namespace in self._settings.namespaces or (None,):
                listing = await self._shared.api.list(kind, namespace, labels=labels)
                self._cache.replace(kind, listing.items, listing.resource_version, namespace=namespace)
        self._synced = True
        for ref in {*self._cache.groups(), *self._controllers}:
            self._follow(ref)
        for controller, _ in self._controllers.values():
            controller.resync()
        self._sweep.call()

    async def _sweep_forever(self) -> None:
        while True:
            await self._sweep.sleep()
            try:
                await self._sweep_once()
            except (ApiError, RobotGroupsError) as error:
                log.warning("sweep put off", error=str(error))

    async def _sweep_once(self) -> None:
        """Sweeps rows of groups that are gone; the order of the two lists matters (see `plan_sweep`)."""
        if self._shared.database.problem is not None:
            return  # it is called again when the link stands
        store = self._shared.database.store
        records = await store.list_groups(self._shared.cluster)
        living: set[str] = set()
        served: set[str] | None = set() if self._settings.namespaces else None
        for name in self._settings.namespaces or (None,):
            listing = await self._shared.api.list(Kind.ROBOT_GROUP, name)
            living.update(body["metadata"]["uid"] for body in listing.items)
            if served is not None and name is not None:
                namespace = await self._shared.api.get(Kind.NAMESPACE, None, name)
                if namespace is not None:
                    served.add(namespace["metadata"]["uid"])
        for sweep in plan_sweep(records, living, served):
            if sweep.action is SweepAction.DELETE:
                await store.delete_group(sweep.record.id)
            else:
                await store.drop_login(sweep.record.id)
            SWEPT.labels(action=str(sweep.action)).inc()
            log.info("swept", group=sweep.record.key.name, id=sweep.record.id, action=sweep.action, reason=sweep.reason)
        without_login = {record.id for record in records if record.login is None}
        for controller, _ in self._controllers.values():
            if controller.group_id in without_login:
                controller.login_lost()

    def _memory_changed(self, group_id: int) -> None:
        for controller, _ in self._controllers.values():
            if controller.group_id == group_id:
                controller.wakeup.call(COALESCE_SECONDS)

    def _database_opened(self) -> None:
        for controller, _ in self._controllers.values():
            controller.check_children(0.0)
        self._sweep.call()

    def _database_lost(self) -> None:
        for controller, _ in self._controllers.values():
            controller.wakeup.call()

    @staticmethod
    async def _cluster_uid(api: KubernetesApi) -> str:
        """What names this cluster in Postgres: the UID of a namespace that lives as long as the cluster."""
        namespace = await api.get(Kind.NAMESPACE, None, CLUSTER_NAMESPACE)
        if namespace is None:
            raise NotFoundError(404, "NotFound", f"there is no namespace {CLUSTER_NAMESPACE}")
        return str(namespace["metadata"]["uid"])
