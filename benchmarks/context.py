"""bench-context: the text for an LLM out of a robot's own cache, with a full working set of 32,000 tokens."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime

import uvloop

from benchmarks.catch_up import QUICK_TOKENS, TOKENS, full_group
from benchmarks.harness import machine, options, postgres, report
from benchmarks.harness.figures import Figures, median_of_rounds, percentile
from robotgroups.context import SEPARATOR
from robotgroups.models import Memory
from robotgroups.robot import HostedRobot

KEYS = ("p99_ms",)
ROUNDS = 5
CALLS, QUICK_CALLS = 500, 20
SMALL_BUDGET = 8000


def timed(call: Callable[[], object], calls: int) -> list[float]:
    """Milliseconds of each call. The collector runs before, and as it pleases meanwhile."""
    gc.collect()
    took = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        took.append((time.perf_counter() - started) * 1000)
    return took


def bare(memories: list[Memory]) -> str:
    """The least that it takes: put the memories into an order, join their texts."""
    now = datetime.now(UTC)
    ordered = sorted(memories, key=lambda m: ((now - m.remembered_at).total_seconds(), -m.id))
    return SEPARATOR.join(m.content for m in ordered)


def rounds_of(robot: HostedRobot, chosen: options.Options) -> dict[str, list[Figures]]:
    """The rounds of ours, by strategy, and of the limit, in turns."""
    calls = QUICK_CALLS if chosen.quick else CALLS
    small = SMALL_BUDGET if not chosen.quick else QUICK_TOKENS // 4
    memories = list(robot.cache.memories.values())
    rounds: dict[str, list[Figures]] = {"ours": [], "limit": []}
    timed(robot.context, calls)  # warm up
    for _ in range(chosen.rounds):
        balanced = timed(robot.context, calls)
        rounds["ours"].append(
            {
                "p50_ms": percentile(balanced, 50),
                "p99_ms": percentile(balanced, 99),
                "recent_p99_ms": percentile(timed(lambda: robot.context(strategy="recent"), calls), 99),
                "frequent_p99_ms": percentile(timed(lambda: robot.context(strategy="frequent"), calls), 99),
                "budget_8000_p99_ms": percentile(timed(lambda: robot.context(max_tokens=small), calls), 99),
            }
        )
        least = timed(lambda: bare(memories), calls)
        rounds["limit"].append({"p50_ms": percentile(least, 50), "p99_ms": percentile(least, 99)})
    return rounds


async def run(chosen: options.Options) -> None:
    """Fills a group's working set, and measures on the active robot's cache."""
    tokens = QUICK_TOKENS if chosen.quick else TOKENS
    with postgres.server() as server:
        facts = machine.facts(server.settings())
        report.say(f"fill a working set of {tokens} tokens")
        async with full_group(server, tokens) as group:
            await group.robot.caught_up()
            made = group.robot.context()
            report.say(f"context: {made.tokens} tokens of {len(made.memory_ids)} memories")
            details = rounds_of(group.robot, chosen)
    measured = {name: median_of_rounds(rounds) for name, rounds in details.items()}
    report.publish(report.result("context", KEYS, measured, chosen.peers, facts), chosen, measured, details)


def main() -> None:
    """Reads the command line and runs."""
    chosen = options.parse("context", __doc__ or "", rounds=ROUNDS)
    uvloop.run(run(chosen))


if __name__ == "__main__":
    main()
