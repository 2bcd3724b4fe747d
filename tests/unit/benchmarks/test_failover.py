"""bench-failover: its figures, and the clients that it measures with, on a server of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.failover.http import Connection
from benchmarks.failover.probes import KeptRequests, PlainRequests, Visitor, Write
from benchmarks.failover.summary import figures, outages
from benchmarks.failover.trial import Trial

pytestmark = pytest.mark.anyio
CREATED = b'HTTP/1.1 201 Created\r\nContent-Length: 14\r\n\r\n{"revision":%d}'
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
Answering = Callable[[int], bytes]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def serving(answers: Answering) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that answers the n-th request with what ``answers`` gives, b"" ends the connection; requests of each."""
    requests: list[int] = []
    handlers: list[asyncio.Task[None] | None] = []
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        handlers.append(asyncio.current_task())
        requests.append(0)
        mine = len(requests) - 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
                await reader.readexactly(int(length.partition(b":")[2]))
                requests[mine] += 1
                count += 1
                answer = answers(count)
                writer.write(answer)
                await writer.drain()
                if not answer or b"Connection: close" in answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
        await asyncio.gather(*(handler for handler in handlers if handler), return_exceptions=True)


def trial(fault: str, promoted: float, served: float, **errors: list[str]) -> Trial:
    return Trial(fault, {"promoted": promoted, "service": served}, errors, "standby", "its doorbell fell silent")


def test_each_phase_of_each_fault_has_its_percentiles() -> None:
    found = figures(
        [
            trial("sigkill", 10, 100, service=[]),
            trial("sigkill", 20, 300, service=["late"]),
            trial("sigstop", 3000, 3100),
        ]
    )
    assert found["sigkill_promoted_p50_ms"] == 15
    assert found["sigkill_service_p50_ms"] == found["outage_p50_ms"] == 200
    assert found["sigstop_promoted_p99_ms"] == 3000
    assert (found["sigkill_trials"], found["sigkill_client_errors"], found["sigstop_client_errors"]) == (2, 1, 0)
    assert "sigkill_failed_requests" not in found


def test_requests_in_one_try_are_counted_over_all_trials() -> None:
    found = figures(
        [
            trial("planned", 1, 1, plain=["503"], kept=[], service=[]),
            trial("planned", 1, 1, plain=[], kept=["reset", "reset"], service=[]),
            trial("pod_delete", 1, 1, plain=[], kept=[], service=[]),
        ]
    )
    assert (found["planned_failed_requests"], found["pod_delete_failed_requests"]) == (3, 0)


def test_a_peer_without_trials_has_no_figure() -> None:
    assert outages([]) == {}
    assert outages([1000, 3000])["outage_p50_ms"] == 2000


def test_the_first_write_after_a_revision_counts_from_when_it_was_answered() -> None:
    probe = PlainRequests("http://nobody", "", 1)
    probe.writes = [Write(1, 9, 5), Write(2, 4, 3), Write(3, 8, 6), Write(4, 5, None, "refused")]
    assert [probe.first_after(revision) for revision in (2, 3, 5, 6)] == [4, 8, 8, None]
    assert probe.errors() == ["refused"]


async def test_a_kept_connection_is_opened_again_when_the_server_had_ended_it_in_peace() -> None:
    async with serving(lambda n: CREATED % n if n != 2 else REFUSED) as (url, requests):
        connection = Connection(url, "secret")
        answers = [await connection.ask("POST", "/v1/memories", {}) for _ in range(3)]
        connection.close()
        assert [answer.status for answer in answers] == [201, 503, 201]
        assert requests == [2, 1]


async def test_a_connection_that_ends_under_a_request_is_an_error() -> None:
    async with serving(lambda _: b"") as (url, _):
        with pytest.raises(EOFError):
            await Connection(url).ask("GET", "/")


async def test_requests_note_what_was_acknowledged_and_what_failed() -> None:
    async with serving(lambda n: CREATED % n if n != 2 else b"") as (url, requests):
        probe = KeptRequests(url, "secret", 0.001)
        running = asyncio.create_task(probe.run())
        async with asyncio.timeout(10):
            await probe.until(3)
        probe.stopping = True
        await running
        assert [write.revision for write in probe.writes[:4]] == [1, None, 3, 4]
        assert len(probe.errors()) == 1
        assert requests[0] == 2


async def test_no_more_than_some_requests_are_unanswered() -> None:
    answered = asyncio.Event()
    waiting = closed = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting, closed
        waiting += 1
        await answered.wait()
        writer.close()
        await asyncio.wait([asyncio.create_task(writer.wait_closed())])
        closed += 1

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server, asyncio.timeout(10):
        probe = PlainRequests(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "", 0.0001)
        running = asyncio.create_task(probe.run())
        while waiting < 16:
            await asyncio.sleep(0.01)
        for _ in range(100):  # ticks enough for many more
            await asyncio.sleep(probe.every_s)
        assert waiting == 16
        probe.stopping = True
        answered.set()
        await running
        assert len(probe.errors()) == len(probe.writes) >= 16
        while closed < waiting:
            await asyncio.sleep(0.01)


async def test_a_visitor_counts_only_what_was_asked_for_later() -> None:
    visitor = Visitor("http://nobody", 1)
    visitor.answered = [(1, 4), (5, 7), (6, 6)]
    assert await visitor.first_sent_after(2) == 7
    later = asyncio.create_task(visitor.first_sent_after(10))
    await asyncio.sleep(0)
    visitor.answered.append((11, 12))
    visitor.news.set()
    assert await later == 12
