"""`python -m tests.chaos` (`make chaos`): exits 0 when every promise was kept, 1 when not, 130 after Ctrl-C.

CHAOS_SEED (printed; the same one does the same again), CHAOS_FAULTS (200), CHAOS_MINUTES (60), CHAOS_JSON=file,
CHAOS_DIRECTORY (where the history, the tables and the result go; build/chaos), CHAOS_KINDS (only these, separated by
commas).
"""

import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from on_cluster import HOSTNAME, Stage

from clusters import choose
from demo import release
from demo.kube import JsonObject, Kube
from images import record
from localcluster.console import ClusterError, say
from tests.chaos import summary
from tests.chaos.checker import Result
from tests.chaos.faults import clock, weights
from tests.chaos.faults.postgres import DiskFull
from tests.chaos.plan import Plan, make
from tests.chaos.run import Run, installed, small_volume

MOST_SLOW = 10
TO_END_S = 90  # the last recovery, the tables, the check and the cleaning up are within CHAOS_MINUTES as well
ROOT = Path(__file__).resolve().parents[2]
CLAIM = f"/api/v1/namespaces/{release.NAMESPACE}/persistentvolumeclaims/data-{release.NAME}-postgres-0"


class Interrupted:
    """Whether Ctrl-C or SIGTERM came: the first is obeyed, later ones would hinder the cleaning up."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            raise KeyboardInterrupt


def main() -> int:
    """One run, as the environment says."""
    interrupted = Interrupted()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    try:
        minutes = float(os.environ.get("CHAOS_MINUTES") or 60)
        result, trouble = _run(seed, plan_of(seed), time.monotonic() + 60 * minutes - TO_END_S)
    except (ClusterError, FileNotFoundError, ValueError) as error:
        say(f"chaos: {error}")
        return 1
    except KeyboardInterrupt:
        say("chaos: interrupted before there was anything to check")
        return 130
    if path := os.environ.get("CHAOS_JSON"):
        Path(path).write_text(json.dumps(result.as_json(), indent=2) + "\n")
    if interrupted.came:
        return 130
    return 0 if result.ok and not trouble else 1


def plan_of(seed: int) -> Plan:
    """The plan that the environment asks for; ValueError for a kind that there is not."""
    chosen = weights()
    if only := os.environ.get("CHAOS_KINDS"):
        names = [name.strip() for name in only.split(",")]
        if unknown := sorted(set(names) - chosen.keys()):
            raise ValueError(f"CHAOS_KINDS: no fault is called {', '.join(unknown)}; there are {', '.join(chosen)}")
        chosen = {name: chosen[name] for name in names}
    return make(seed, int(os.environ.get("CHAOS_FAULTS") or 200), chosen, MOST_SLOW)


def _run(seed: int, plan: Plan, until: float) -> tuple[Result, str]:
    cluster = choose()
    if cluster.kind != "local":
        raise ClusterError(f"chaos needs the local cluster, whose processes it can reach, not {cluster.describe()}")
    directory = Path(os.environ.get("CHAOS_DIRECTORY") or ROOT / "build" / "chaos")
    say(f"cluster: {cluster.describe()}")
    say(f"CHAOS_SEED={seed}: {sum(len(step.choices) for step in plan.steps)} faults; everything goes to {directory}")
    kube = Kube(cluster.environment())
    stage, values = staged(kube)
    if plan.has(clock.ClockOff.kind):
        clock.install()
    with installed(stage, values), small_volume(stage, wanted=plan.has(DiskFull.kind)) as volume:
        run = Run(stage, seed, plan, directory, until, volume=volume)
        result, history = run.execute()
    summary.show(result, history, directory)
    return result, run.trouble


def staged(kube: Kube) -> tuple[Stage, JsonObject]:
    """The stage with Postgres and operator on one node, and the chart's values for that."""
    images = record.read()
    names = sorted(node["metadata"]["labels"][HOSTNAME] for node in kube.listing("/api/v1/nodes"))
    claim = kube.get(CLAIM) or {"metadata": {}}
    home = claim["metadata"].get("annotations", {}).get("volume.kubernetes.io/selected-node", names[0])
    values = release.values_of(images)
    values["operator"] = {"nodeSelector": {HOSTNAME: home}}
    values["postgres"]["nodeSelector"] = {HOSTNAME: home}
    away = next(name for name in names if name != home)
    return Stage(choose(), kube, images["robot"].name, home, away), values


if __name__ == "__main__":
    sys.exit(main())
