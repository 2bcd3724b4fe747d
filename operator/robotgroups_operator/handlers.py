"""Kopf's side: watches, lifecycle and liveness. Every handler only hands on what it was told."""

import asyncio
import os
from typing import Any

import kopf
import structlog

from robotgroups_operator.names import CHILDREN, LABEL_GROUP, Kind
from robotgroups_operator.runtime import Operator

log = structlog.get_logger(__name__)

WATCHED = (Kind.ROBOT_GROUP, Kind.POD, *CHILDREN)
CONNECT_SECONDS = 5.0


class Lifecycle:
    """Runs the operator as long as kopf runs, and ends kopf when the operator ends by itself."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.stop = asyncio.Event()
        self.failed = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the operator in the background."""
        self._task = asyncio.create_task(self.operator.run(), name="operator")
        self._task.add_done_callback(self._ended)

    async def end(self) -> None:
        """Ends it, and waits for that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed = True
            log.error("the operator ended", exc_info=error)
        self.stop.set()


def make_registry(lifecycle: Lifecycle) -> kopf.OperatorRegistry:
    """All handlers, in a registry of their own."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        in_cluster = kopf.login_with_service_account(**kwargs) if not os.environ.get("KUBECONFIG") else None
        return in_cluster or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        await lifecycle.start()

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:
        await lifecycle.end()

    @kopf.on.probe(registry=registry, id="resync")
    async def healthy(**_: Any) -> bool:
        if not lifecycle.operator.healthy():
            raise kopf.PermanentError("the cluster was not listed for too long")
        return True

    for kind in WATCHED:
        _watch(registry, lifecycle.operator, kind)
    return registry


def _watch(registry: kopf.OperatorRegistry, operator: Operator, kind: Kind) -> None:
    group, _, version = kind.value.api_version.rpartition("/")
    plural = kind.value.plural

    @kopf.on.event(group=group, version=version, plural=plural, registry=registry, id=f"watch-{plural}")
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        operator.observe(kind, event["type"], dict(event["object"]))


def configure(settings: kopf.OperatorSettings) -> None:
    """Kopf as a source of events only: it writes nothing into the cluster."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.networking.connect_timeout = CONNECT_SECONDS
    for kind in WATCHED:
        if kind is not Kind.ROBOT_GROUP:
            group, _, version = kind.value.api_version.rpartition("/")
            settings.watching.label_selectors[group, version, kind.value.plural] = LABEL_GROUP
