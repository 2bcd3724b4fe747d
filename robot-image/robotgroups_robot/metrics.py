"""Prometheus metrics: what passes through the API, and how the robot stands."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from robotgroups.models import Role

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class RobotSample:
    """How a robot stands at one moment. Ages in seconds."""

    role: Role | None
    tenure: int
    epoch: int
    revision: int
    lag: int
    heartbeat_age: float | None
    warm: bool
    serving: bool
    memories: int
    tokens: int
    max_tokens: int
    nodes_synced: int
    evictions_synced: int
    notifications_received: int


class _RobotCollector(Collector):
    def __init__(self, sample: Callable[[], RobotSample | None]) -> None:
        self._sample = sample

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        s = self._sample()
        registered = GaugeMetricFamily("robotgroups_robot_registered", "1 once the robot has its place in the group")
        registered.add_metric([], float(s is not None))
        yield registered
        if s is None:
            return
        role = GaugeMetricFamily("robotgroups_robot_role", "1 for the robot's role", labels=["role"])
        for r in Role:
            role.add_metric([r.value], float(s.role is r))
        yield role
        gauges: list[tuple[str, str, float]] = [
            ("robot_tenure", "Epoch at which it became active; 0 when it is not", s.tenure),
            ("epoch", "Epoch of the group that the robot has applied", s.epoch),
            ("revision", "Revision of the group that the robot's cache has applied", s.revision),
            ("revision_lag", "Revisions of the group that it knows of and has not applied", s.lag),
            ("robot_warm", "1 when the cache has reached the group's revision", s.warm),
            ("robot_serving", "1 when the robot may serve", s.serving),
            ("working_memory_memories", "Memories in the working memory", s.memories),
            ("working_memory_tokens", "Tokens in the working memory", s.tokens),
            ("working_memory_max_tokens", "Token budget of the working memory", s.max_tokens),
        ]
        if s.heartbeat_age is not None:
            gauges.append(("heartbeat_age_seconds", "Since the last acknowledged heartbeat", s.heartbeat_age))
        for name, text, value in gauges:
            gauge = GaugeMetricFamily(f"robotgroups_{name}", text)
            gauge.add_metric([], float(value))
            yield gauge
        for name, text, count in (
            ("nodes_synced", "Memories that the cache took from the feed", s.nodes_synced),
            ("evictions_synced", "Evictions that the cache took from the feed", s.evictions_synced),
            ("notifications_received", "Notifications from Postgres", s.notifications_received),
        ):
            counter = CounterMetricFamily(f"robotgroups_{name}", text)
            counter.add_metric([], float(count))
            yield counter


class Metrics:
    """The metrics of one process. `sample` tells how the robot stands; None before it has registered."""

    def __init__(self, sample: Callable[[], RobotSample | None]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Counter(
            "robotgroups_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "robotgroups_http_request_seconds", "Time to the answer's start", ["method", "route"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.forwarded = Counter(
            "robotgroups_forwarded_requests",
            "Requests passed on to an active robot",
            ["outcome"],
            registry=self.registry,
        )
        self.failover = Histogram(
            "robotgroups_robot_failover_seconds",
            "A failover's phases here: detect, from the dead robot's last heartbeat to its suspicion (it died in "
            "between); promote, from the suspicion to the promotion; first_write, from the new role's being known to "
            "the first memory that was acknowledged",
            ["phase"], buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.registry.register(_RobotCollector(sample))
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def exposition(self) -> bytes:
        """The text that a scraper reads."""
        return generate_latest(self.registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request. `route` is the path's template, so that ids make no series."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:  # few: kept, for to find them by their labels takes longer than to count
            series = self.requests.labels(method, route, str(status)), self.latency.labels(method, route)
            self._series[key] = series
        counter, histogram = series
        counter.inc()
        histogram.observe(seconds)

    def observe_phase(self, phase: str, seconds: float) -> None:
        """Takes in what a phase of a failover took here."""
        self.failover.labels(phase).observe(seconds)

    def count_forwarded(self, outcome: str) -> None:
        """Counts one attempt to pass a request on: answered, refused or unreachable."""
        self.forwarded.labels(outcome).inc()
