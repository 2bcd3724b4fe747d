"""The database's upkeep: the operator does it, and nobody waits for it."""

import asyncio

import psycopg
from operator_bench import Bench, OperatorProcess, eventually, open_migrated
from postgres_server import PostgresServer

SPEC = {"active": [{"name": "first"}], "memory": {"expiry": {"keep": 1}}}
OwnBench = tuple[Bench, OperatorProcess, PostgresServer]


async def test_enforces_what_is_kept_and_counts_it(own_bench: OwnBench) -> None:
    bench, process, postgres = own_bench
    async with await open_migrated(postgres.dsn()) as store:
        await bench.apply("team", SPEC)
        await bench.until_children("team", ["first"])
        number = await store.find_group(await bench.key("team"))
        for content in ("oldest", "old", "newest"):
            await store.remember(number, robot=None, tenure=None, content=content, tokens=1)

    async def kept() -> bool:
        async with await psycopg.AsyncConnection.connect(postgres.dsn()) as connection:
            rows = await (await connection.execute("SELECT content FROM robotgroups.memories")).fetchall()
        return rows == [("newest",)]

    await eventually(kept)

    async def counted() -> bool:
        figures = await asyncio.to_thread(process.figures)
        assert figures.get('robotgroups_operator_upkeep_done_total{step="tend"}', 0) >= 2
        assert figures.get('robotgroups_operator_upkeep_rounds_total{outcome="done"}', 0) >= 1
        return True

    await eventually(counted)


async def test_goes_on_beside_another_ones_and_after_an_absence(own_bench: OwnBench) -> None:
    _, process, postgres = own_bench

    async def outcome(name: str, more_than: float = 0) -> float | None:
        found = (await asyncio.to_thread(process.figures)).get(
            f'robotgroups_operator_upkeep_rounds_total{{outcome="{name}"}}', 0
        )
        return found if found > more_than else None

    await eventually(lambda: outcome("done"))
    async with await psycopg.AsyncConnection.connect(postgres.dsn(), autocommit=True) as other:
        lock = "SELECT pg_try_advisory_lock(52470002)"

        async def locked() -> bool:
            row = await (await other.execute(lock)).fetchone()
            return row == (True,)

        await eventually(locked)
        await eventually(lambda: outcome("elsewhere"))
    await asyncio.to_thread(postgres.stop, "immediate")
    await eventually(lambda: outcome("unavailable"))
    done = await outcome("done") or 0
    await asyncio.to_thread(postgres.start)
    await eventually(lambda: outcome("done", done))


async def test_a_round_that_takes_long_keeps_no_group_waiting(own_bench: OwnBench) -> None:
    bench, process, postgres = own_bench
    async with await open_migrated(postgres.dsn()):
        pass
    connect = psycopg.AsyncConnection.connect
    async with await connect(postgres.dsn()) as holder, await connect(postgres.dsn(), autocommit=True) as looker:
        await holder.execute("LOCK TABLE robotgroups.embeddings IN ACCESS EXCLUSIVE MODE")

        async def stuck() -> bool:
            cursor = await looker.execute(
                "SELECT FROM pg_stat_activity WHERE application_name = 'robotgroups upkeep' "
                "AND wait_event_type = 'Lock'"
            )
            return await cursor.fetchone() is not None

        await eventually(stuck)
        await bench.apply("team", {"active": [{"name": "first"}]})
        await bench.until_children("team", ["first"])
        await bench.apply("team", {"active": [{"name": "first"}, {"name": "second"}]})
        await bench.until_children("team", ["first", "second"])

        async def told() -> bool:
            return bool((await bench.status("team"))["active"] == ["first", "second"])

        await eventually(told)
        assert await stuck()
        assert await asyncio.to_thread(process.stop) == 0
