"""From trials to figures. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.failover.trial import PLAIN, Trial
from benchmarks.harness.figures import percentile

PERCENTS = (50, 99)
KEYS = (
    "sigkill_promoted_p50_ms", "sigkill_promoted_p99_ms", "sigkill_service_p50_ms", "sigkill_service_p99_ms",
    "sigkill_status_p99_ms", "sigstop_promoted_p99_ms", "node_cut_promoted_p99_ms",
    "pod_delete_failed_requests", "planned_failed_requests", "soak_false_failovers", "outage_p50_ms",
)  # fmt: skip


def figures(trials: Sequence[Trial]) -> dict[str, float]:
    """Percentiles of each fault's phases, and how many requests failed."""
    found: dict[str, float] = {}
    for fault in dict.fromkeys(trial.fault for trial in trials):
        of_it = [trial for trial in trials if trial.fault == fault]
        for phase in dict.fromkeys(phase for trial in of_it for phase in trial.ms):
            took = [trial.ms[phase] for trial in of_it if phase in trial.ms]
            found |= {f"{fault}_{phase}_p{p}_ms": percentile(took, p) for p in PERCENTS}
        found[f"{fault}_trials"] = len(of_it)
        found[f"{fault}_client_errors"] = _errors(of_it, "service")
        if any(set(PLAIN) & trial.errors.keys() for trial in of_it):
            found[f"{fault}_failed_requests"] = sum(_errors(of_it, probe) for probe in PLAIN)
    if "sigkill_service_p50_ms" in found:
        found["outage_p50_ms"] = found["sigkill_service_p50_ms"]
    return found


def outages(took_ms: Sequence[float]) -> dict[str, float]:
    """A peer's: from the death of its process until it answers again."""
    return {f"outage_p{p}_ms": percentile(took_ms, p) for p in PERCENTS} | {"trials": len(took_ms)} if took_ms else {}


def _errors(trials: Iterable[Trial], probe: str) -> int:
    return sum(len(trial.errors.get(probe, ())) for trial in trials)
