"""The page "Robot Groups Example" walked through on running pods: one method for each of its sections."""

import signal
import time

from clusters.interface import Cluster
from demo.client import GroupClient
from demo.groups import Group, seconds_to_ready
from demo.kube import JsonObject, wait_until
from demo.report import Report, Seen

PRIMARY, STANDBY, SECONDARY = "support-primary", "support-standby", "support-secondary"
MEMORIES = (
    "Customer account #12345 prefers email communication.",
    "Open ticket #789: Billing discrepancy reported by the customer.",
)
ESCALATION = "Issue escalated to billing department."
QUERY = "customer"

# Written during the failover, fast enough to time an outage, few enough for the group's budget of 8000 tokens.
CALLS, CALLS_PER_SECOND, MOST_CALLS = "Customer call {} was noted.", 50, 400
CALLS_BEFORE_THE_DEATH = 50
SYNC_SECONDS = 10
FAILOVER_SECONDS = 60


class Walk:
    """One walk over one group (PRIMARY active, STANDBY passive, nothing remembered yet); its rows go to `report`."""

    def __init__(self, cluster: Cluster, group: Group, client: GroupClient, report: Report) -> None:
        self._cluster = cluster
        self._group = group
        self._client = client
        self._report = report

    def run(self) -> None:
        """Every section, in the page's order."""
        step = self._report.step
        step("add shared memories", "2 memories, acknowledged with ids", self.remember)
        step("check synchronization status", f"{PRIMARY} active, {STANDBY} passive, 2 nodes, in sync", self.status)
        step("kill the active robot (SIGKILL)", f"{STANDBY} promoted; recall right after misses nothing", self.failover)
        step("everything acknowledged is there", "no write refused, lost or stored twice", self.nothing_lost)
        step("the dead robot comes back", f"{PRIMARY} passive, group Ready", self.comes_back)
        step("scale up: add " + SECONDARY, "a second active robot with the same working memory", self.scale_up)
        step("collaborative memory", f"{SECONDARY}'s memory on every robot", self.collaborate)
        step("real-time sync", "memories and notifications received by robots", self.sync_stats)
        step("clear the working memory", "0 nodes; long-term memory keeps them", self.clear)

    def remember(self) -> Seen:
        """Two memories through the Service."""
        done = [self._client.call("remember", content=text, originator=PRIMARY) for text in MEMORIES]
        ids = [memory["id"] for memory in done]
        return Seen(len(set(ids)) == len(MEMORIES) and all(m["created"] for m in done), f"ids {ids[0]} and {ids[1]}")

    def status(self) -> Seen:
        """By the API and by the resource."""
        wanted = {"active": [PRIMARY], "passive": [STANDBY], "working_memory_nodes": len(MEMORIES), "in_sync": True}
        seen = self._settled(wanted)
        resource = self._group.wait(
            "mirrors the memory", lambda s: s.get("workingMemoryNodes") == len(MEMORIES), SYNC_SECONDS
        )
        agrees = resource["active"] == [PRIMARY] and resource["passive"] == [STANDBY]
        return Seen(
            agrees and all(seen[key] == value for key, value in wanted.items()),
            f"active {seen['active']}, passive {seen['passive']}, {seen['working_memory_nodes']} nodes, "
            f"utilization {seen['token_utilization']}, in_sync {seen['in_sync']}; kubectl shows the same",
        )

    def failover(self) -> Seen:
        """SIGKILL on the node, under a load of writes; who was promoted is seen on the standby's own event stream."""
        victim = self._group.pod(PRIMARY)["metadata"]["name"]
        call = self._client.call
        call("load_start", name="calls", text=CALLS, rate=CALLS_PER_SECOND, most=MOST_CALLS)
        call(
            "watch_start",
            active=self._group.url(PRIMARY),
            standbys={STANDBY: self._group.url(STANDBY)},
            load="calls",
            query=QUERY,
        )
        wait_until("the first writes", SYNC_SECONDS, lambda: call("load_count", name="calls") >= CALLS_BEFORE_THE_DEATH)
        self._cluster.send_signal(self._group.namespace, victim, "robot", signal.SIGKILL)
        seen = call("watch_result", seconds=FAILOVER_SECONDS, within_s=FAILOVER_SECONDS + 5)
        self._report.promoted_ms = round(seen["promoted_ms"], 1)
        return Seen(
            seen["promoted"] == STANDBY and not seen["missing"],
            f"{seen['promoted']} promoted {seen['promoted_ms']:.0f} ms after the death; recall({QUERY!r}) "
            f"{seen['recall_ms']:.0f} ms later: {seen['recalled']} memories, {len(seen['missing'])} of the "
            f"{seen['acknowledged'] + len(MEMORIES)} acknowledged ones missing",
        )

    def nothing_lost(self) -> Seen:
        """Stop the load, let the last writes be acknowledged, and compare."""
        time.sleep(0.5)  # some writes more under the new active robot
        load: JsonObject = self._client.call("load_stop", name="calls")
        acknowledged = [*MEMORIES, *load["acknowledged"]]
        recalled: list[str] = self._client.call("recall", query=QUERY)
        lost, twice = set(acknowledged) - set(recalled), len(recalled) - len(set(recalled))
        self._report.service_outage_ms = round(load["longest_gap_ms"], 1)
        self._report.lost = len(lost)
        return Seen(
            not lost and not twice and not load["refused"],
            f"{len(load['acknowledged'])} writes acknowledged in {load['seconds']:.1f} s, "
            f"{len(load['refused'])} refused, {len(lost)} lost, {twice} twice; "
            f"longest time without an acknowledgement {load['longest_gap_ms']:.0f} ms",
        )

    def comes_back(self) -> Seen:
        """The kubelet restarts the container; the robot joins as passive."""
        status = self._group.wait_ready()
        failover = status["lastFailover"]
        return Seen(
            status["active"] == [STANDBY] and status["passive"] == [PRIMARY],
            f"active {status['active']}, passive {status['passive']}; epoch {status['epoch']}, "
            f"detected by {failover['detectedBy']}: {failover['reason']}",
        )

    def scale_up(self) -> Seen:
        """Edit the resource; the new robot starts with the whole working memory."""
        patch = f'[{{"op": "add", "path": "/spec/active/-", "value": {{"name": "{SECONDARY}"}}}}]'
        self._group.kube.kubectl(
            *("-n", self._group.namespace, "patch", "robotgroup", self._group.name, "--type=json", f"--patch={patch}")
        )
        status = self._group.wait_ready()
        newcomer, old = (self._memory_of(robot) for robot in (SECONDARY, STANDBY))
        return Seen(
            set(status["active"]) == {STANDBY, SECONDARY} and newcomer == old and bool(newcomer["memories"]),
            f"active {status['active']}, passive {status['passive']}; {SECONDARY} holds {len(newcomer['memories'])} of "
            f"{len(old['memories'])} memories, Ready "
            f"{seconds_to_ready(self._group.pod(SECONDARY)):.0f} s after its start",
        )

    def collaborate(self) -> Seen:
        """A memory of the new robot reaches all."""
        done = self._client.call("remember", content=ESCALATION, originator=SECONDARY, url=self._group.url(SECONDARY))
        robots = (PRIMARY, STANDBY, SECONDARY)
        started = time.monotonic()
        wait_until(
            "the memory on every robot",
            SYNC_SECONDS,
            lambda: all(str(done["id"]) in self._memory_of(robot)["memories"] for robot in robots),
            every=0.02,
        )
        return Seen(True, f"on {', '.join(robots)} within {(time.monotonic() - started) * 1000:.0f} ms")

    def sync_stats(self) -> Seen:
        """What the robots heard from each other."""
        stats = self._group.wait("in sync", lambda status: status.get("inSync") is True, SYNC_SECONDS)["syncStats"]
        return Seen(
            stats["nodesSynced"] > 0 and stats["notificationsReceived"] > 0,
            f"nodes_synced {stats['nodesSynced']}, evictions_synced {stats['evictionsSynced']}, "
            f"notifications_received {stats['notificationsReceived']}",
        )

    def clear(self) -> Seen:
        """Clear; what was remembered can still be recalled."""
        before = self._client.call("status")["working_memory_nodes"]
        cleared = self._client.call("clear")
        seen = self._settled({"working_memory_nodes": 0, "in_sync": True})
        recalled = self._client.call("recall", query=QUERY)
        kept = set(MEMORIES) <= set(recalled)
        return Seen(
            cleared == before and seen["working_memory_nodes"] == 0 and kept,
            f"{cleared} cleared, {seen['working_memory_nodes']} nodes left; recall still finds {len(recalled)}",
        )

    def _settled(self, wanted: JsonObject) -> JsonObject:
        """The Service's status once it is as wanted: robots apply a change milliseconds after its acknowledgement."""

        def probe() -> JsonObject | None:
            status: JsonObject = self._client.call("status")
            return status if all(status[key] == value for key, value in wanted.items()) else None

        return wait_until(f"a status with {wanted}", SYNC_SECONDS, probe, every=0.05)

    def _memory_of(self, robot: str) -> JsonObject:
        found: JsonObject = self._client.call("working_memory", url=self._group.url(robot))
        return found
