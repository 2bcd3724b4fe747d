"""Who reads: single memories, whole caches, and the feed from its first change to its last."""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import httpx

from robotgroups import AsyncClient
from robotgroups.errors import PrunedError, RobotGroupsError
from robotgroups.http_client import HttpClient
from robotgroups.models import Change, ChangeKind
from tests.chaos.history import CacheRead, Event, Gap, Place, Read, Recorder, digest_of

READ_S = 3.0
PAUSE_S = 0.2
REMEMBERED = {ChangeKind.ADDED, ChangeKind.UPDATED, ChangeKind.RESTORED}

logger = logging.getLogger(__name__)
Address = Callable[[], str | None]


class Readers:
    """Reads at steady rates until `stopped` says so."""

    def __init__(
        self, token: str, recorder: Recorder, known: Sequence[tuple[int, str]], stopped: Callable[[], bool]
    ) -> None:
        self._token = token
        self._recorder = recorder
        self._known = known
        self._stopped = stopped
        self.revision = 0
        """The last revision that the reader of the feed has."""

    async def memories(self, where: str, address: Address, rate: float, seed: int) -> None:
        """Some memory that was acknowledged, again and again."""
        who, choose = f"read-{where}", random.Random(f"{seed} read {where}")
        async with _http(self._token) as http:
            while not self._stopped():
                await asyncio.sleep(1 / rate)
                url = address()
                if url is None or not self._known:
                    continue
                memory, content = choose.choice(self._known)
                start = time.monotonic()
                answer = await _get(http, f"{url}/v1/memories/{memory}")
                found = None if answer is None else _found(answer, content)
                self._recorder.add(Read(who, where, start, time.monotonic(), memory, found))

    async def caches(self, robot: str, address: Address, rate: float) -> None:
        """A robot's working memory, as its cache has it."""
        async with _http(self._token) as http:
            while not self._stopped():
                await asyncio.sleep(1 / rate)
                start, url = time.monotonic(), address()
                answer = await _get(http, f"{url}/v1/working-memory") if url else None
                if answer is None or answer.status_code != HTTPStatus.OK:
                    continue
                held = answer.json()
                digest = digest_of(memory["id"] for memory in held["memories"])
                end, revision = time.monotonic(), held["revision"]
                self._recorder.add(CacheRead(robot, start, end, revision, digest, held["tokens"], held["max_tokens"]))

    async def feed(self, service: str) -> None:
        """Every change from the first on, with a kept position, until cancelled."""
        async with AsyncClient(service, self._token) as client:
            while True:
                try:
                    async for change in client.events(after=self.revision):
                        self._recorder.add(event_of(change, time.monotonic()))
                        self.revision = change.revision
                except PrunedError as error:
                    self._recorder.add(Gap(time.monotonic(), self.revision, error.pruned_to))
                    self.revision = error.pruned_to
                except RobotGroupsError as error:
                    logger.debug("the feed: %s: %s", type(error).__name__, error)
                await asyncio.sleep(PAUSE_S)


def event_of(change: Change, seen: float) -> Event:
    """What the history keeps of a change."""
    payload = change.payload
    if change.kind is not ChangeKind.ROLE:
        held = change.kind in REMEMBERED and bool(payload.get("in_working_memory"))
        return Event(seen, change.revision, change.kind.value, change.epoch, change.memory_id, change.robot, held=held)
    return Event(
        seen,
        change.revision,
        change.kind.value,
        change.epoch,
        roles={name: Place(place["role"], place["tenure"]) for name, place in payload["roles"].items()},
        cause=payload.get("kind") or "",
        source=payload.get("from") or "",
        target=payload.get("to") or "",
        reason=payload.get("reason") or "",
    )


def _http(token: str) -> httpx.AsyncClient:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return HttpClient(headers={"Authorization": f"Bearer {token}"}, timeout=READ_S, verify=nobody, trust_env=False)


async def _get(http: httpx.AsyncClient, url: str) -> httpx.Response | None:
    try:
        return await http.get(url)
    except httpx.TransportError:
        return None


def _found(answer: httpx.Response, content: str) -> bool | None:
    """None when the answer is not about the memory (503, 401)."""
    document: Any = answer.json()
    if answer.status_code == HTTPStatus.OK:
        return bool(document["content"] == content)
    return False if str(document.get("type", "")).endswith(":unknown-memory") else None
