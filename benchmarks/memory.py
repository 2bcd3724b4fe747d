"""bench-memory: what a robot's process takes of the machine's memory with a full working set of 32,000 tokens.

The limit is a Python process that has imported the same libraries and holds the same texts; peers are processes that
have imported them, connected to Postgres, and hold the texts too.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from benchmarks import http_robot
from benchmarks.catch_up import QUICK_TOKENS, SERIES, TOKENS, TOKENS_OF_A_TEXT
from benchmarks.harness import load, machine, options, postgres, report
from benchmarks.harness.figures import Figures, median_of_rounds
from benchmarks.harness.processes import children
from benchmarks.harness.texts import text
from robotgroups.models import GroupSettings

KEYS = ("rss_mb", "pss_mb", "rss_empty_mb")
ROUNDS = 3
CALLERS = 8
LIMIT_S = 120


def resident(pid: int) -> dict[str, float]:
    """A process's resident set, and its share of it (shared pages counted in parts), in millions of bytes."""
    kib = {
        name: int(rest.split()[0])
        for name, _, rest in (
            line.partition(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        )
    }
    return {"rss_mb": kib["Rss"] * 1024 / 1e6, "pss_mb": kib["Pss"] * 1024 / 1e6}


async def ours(server: postgres.Server, tokens: int) -> Figures:
    """A robot's process before it has any memory, and with a full working set."""
    async with http_robot.open_writer(
        server.database("robot"), callers=CALLERS, settings=GroupSettings(max_tokens=tokens)
    ) as writer:

        async def call(number: int) -> None:
            await writer.remember(0, text(number, SERIES))

        empty = resident(writer.pid)["rss_mb"]
        memories = tokens // TOKENS_OF_A_TEXT
        await load.closed(call, iter(range(memories)), callers=CALLERS, seconds=LIMIT_S, count=memories)
        return resident(writer.pid) | {"rss_empty_mb": empty}


async def other(name: str, dsn: str, tokens: int) -> Figures:
    """A process that holds texts in another way (``python -m benchmarks.memory --hold …``)."""
    arguments = ["--hold", name, dsn, str(tokens // TOKENS_OF_A_TEXT)]
    async with children("benchmarks.memory", [arguments]) as (child,):
        return dict(resident(child.process.pid))


@asynccontextmanager
async def held_by(name: str, dsn: str) -> AsyncIterator[object]:
    """Imports, and connects, what the name stands for."""
    if name == "limit":
        import fastapi  # noqa: PLC0415
        import psycopg  # noqa: PLC0415
        import psycopg_pool  # noqa: PLC0415
        import tiktoken  # noqa: PLC0415
        import uvicorn  # noqa: PLC0415

        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            yield connection, fastapi, psycopg_pool, tiktoken, uvicorn
    elif name in {"langgraph", "langgraph_index"}:
        from benchmarks.harness.vectors import embed  # noqa: PLC0415
        from benchmarks.peers import langgraph_store  # noqa: PLC0415

        opener = langgraph_store.open_index_writer(embed) if "index" in name else langgraph_store.open_writer
        async with opener(dsn, groups=1, callers=1) as writer:
            yield writer
    else:
        from benchmarks.harness.vectors import embed  # noqa: PLC0415
        from benchmarks.peers import mem0_store  # noqa: PLC0415

        async with mem0_store.open_writer(embed)(dsn, groups=1, callers=1) as writer:
            yield writer


async def hold(name: str, dsn: str, memories: int) -> None:
    """Holds so many texts until standard input ends."""
    async with held_by(name, dsn):
        texts = [text(number, SERIES).content for number in range(memories)]
        print("ready", flush=True)
        sys.stdin.read()
        assert len(texts) == memories


async def run(chosen: options.Options) -> None:
    """Starts each process anew in each round."""
    tokens = QUICK_TOKENS if chosen.quick else TOKENS
    details: dict[str, list[Figures]] = {}
    with postgres.server() as server:
        facts = machine.facts(server.settings())
        for number in range(chosen.rounds):
            report.say(f"round {number + 1} of {chosen.rounds}")
            details.setdefault("ours", []).append(await ours(server, tokens))
            # HTM is Ruby's: its statements can be replayed, its process can not
            for name in ("limit", *(peer for peer in chosen.peers if peer != "htm")):
                details.setdefault(name, []).append(await other(name, server.database(name), tokens))
    measured = {name: median_of_rounds(rounds) for name, rounds in details.items()}
    report.publish(report.result("memory", KEYS, measured, chosen.peers, facts), chosen, measured, details)


def main() -> None:
    """Reads the command line and runs."""
    if sys.argv[1:2] == ["--hold"]:
        uvloop.run(hold(sys.argv[2], sys.argv[3], int(sys.argv[4])))
        return
    uvloop.run(run(options.parse("memory", __doc__ or "", rounds=ROUNDS)))


if __name__ == "__main__":
    main()
