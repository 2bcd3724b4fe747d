"""What the operator counts, for Prometheus."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

WRITES = Counter("robotgroups_operator_writes", "Writes to the API server.", ["kind", "verb"])
RECONCILES = Histogram(
    "robotgroups_operator_reconcile_seconds",
    "Time of one look at a group with all that follows.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
FAILURES = Counter("robotgroups_operator_reconcile_failures", "Looks at a group that ended in an error.", ["error"])
DECLARED = Counter("robotgroups_operator_declared_failed", "Answers of Postgres to a declared failure.", ["outcome"])
HANDED_OVER = Counter(
    "robotgroups_operator_handed_over",
    "Roles handed over because a pod or its node was going: promoted, nobody.",
    ["outcome"],
)
NOTIFICATIONS = Counter("robotgroups_operator_notifications", "NOTIFYs received from Postgres.")
FAILOVER_SECONDS = Histogram(
    "robotgroups_operator_failover_seconds",
    "Failovers and switchovers by phase: promote (from detection, by Postgres' clock); relabel and status (until pods' "
    "labels and the resource tell of it, from when the operator learnt of the promotion).",
    ["kind", "phase"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
DATABASE_UP = Gauge("robotgroups_operator_database_up", "1 while the operator listens to Postgres.")
PHASE = Gauge("robotgroups_group_phase", "1 for the phase that a group is in.", ["namespace", "group", "phase"])
EPOCH = Gauge("robotgroups_group_epoch", "Epoch of a group.", ["namespace", "group"])
FAILOVERS = Gauge("robotgroups_group_failovers", "Failovers of a group since it was created.", ["namespace", "group"])
SWEPT = Counter("robotgroups_operator_swept_groups", "Groups whose resource is gone, by what was done.", ["action"])
UPKEEP_ROUNDS = Counter(
    "robotgroups_operator_upkeep_rounds",
    "Rounds of the database's upkeep: done, failed (a step of it), elsewhere (another process does it), unavailable.",
    ["outcome"],
)
UPKEEP_SECONDS = Histogram(
    "robotgroups_operator_upkeep_seconds",
    "Time of one round of the database's upkeep.",
    buckets=(0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 1800),
)
UPKEEP_DONE = Counter(
    "robotgroups_operator_upkeep_done", "What the upkeep has done, by step: rows removed, indexes made, …", ["step"]
)
UPKEEP_FAILED = Counter("robotgroups_operator_upkeep_failures", "Steps of the upkeep that failed.", ["step"])


class MetricsServer:
    """Serves /metrics."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens; raises OSError when the port is taken."""
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @staticmethod
    async def _metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
