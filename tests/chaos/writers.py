"""Who writes: through the Service until it is acknowledged, or at one robot's pod, whatever its role."""

import asyncio
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from robotgroups import AsyncClient
from robotgroups.errors import RobotGroupsError
from tests.chaos.history import SERVICE, Acknowledged, Recorder, Write
from tests.chaos.recording import RecordingTransport
from tests.chaos.targets import Targets

SERVICE_DEADLINE_S, DIRECT_DEADLINE_S = 30.0, 2.0
AGAIN = 0.03  # how many of the writes say something again that was acknowledged before
REMEMBERED = 5000  # of what was acknowledged, so many are known, the newest

logger = logging.getLogger(__name__)


class Writers:
    """Writes at steady rates until `stopped` says so; counts what was acknowledged."""

    def __init__(
        self, targets: Targets, token: str, recorder: Recorder, seed: int, stopped: Callable[[], bool]
    ) -> None:
        self._targets = targets
        self._token = token
        self._recorder = recorder
        self._seed = seed
        self._stopped = stopped
        self.acknowledged: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)
        """Id and content."""
        self.count = 0
        self.served_at = 0.0
        """When the Service acknowledged last (monotonic seconds)."""

    async def through_the_service(self, number: int, rate: float) -> None:
        """Each memory is tried until it is acknowledged."""
        who = f"service-{number}"
        async with self._client(who, SERVICE, self._targets.service, SERVICE_DEADLINE_S) as client:
            async for key, content in self._memories(who, rate):
                while not self._stopped():
                    if await self._remember(client, who, key, content):
                        break

    async def directly(self, robot: str, rate: float) -> None:
        """At one robot's pod, wherever it is: what is not acknowledged soon is given up."""
        who = f"direct-{robot}"
        memories = self._memories(who, rate)
        while not self._stopped():
            address = self._targets.pods.get(robot)
            if address is None:
                await asyncio.sleep(1 / rate)
                continue
            async with self._client(who, robot, address, DIRECT_DEADLINE_S) as client:
                async for key, content in memories:
                    await self._remember(client, who, key, content)
                    if self._targets.pods.get(robot) != address:
                        break

    async def _remember(self, client: AsyncClient, who: str, key: str, content: str) -> bool:
        try:
            await client.remember(content, key=key)
        except RobotGroupsError as error:
            # its tries are in the history; a run in which nothing is acknowledged is told by its outages
            logger.debug("%s: %s: %s", who, type(error).__name__, error)
            return False
        return True

    async def _memories(self, who: str, rate: float) -> "AsyncIterator[tuple[str, str]]":
        """Keys and contents, paced; now and then a content that was acknowledged before, under a new key."""
        choose = random.Random(f"{self._seed} {who}")
        due = time.monotonic() + choose.random() / rate
        for number in itertools.count(1):
            await asyncio.sleep(due - time.monotonic())
            if self._stopped():
                return
            # who was held up does not make up for it: that would be a burst just when the group has come back
            due = max(due, time.monotonic() - 1 / rate) + 1 / rate
            again = choose.random() < AGAIN and self.acknowledged
            content = (
                choose.choice(self.acknowledged)[1] if again else f"{who} of run {self._seed} says number {number}"
            )
            yield f"{self._seed}-{who}-{number}", content

    def _client(self, who: str, where: str, url: str, deadline: float) -> AsyncClient:
        return AsyncClient(
            url, self._token, deadline=deadline, transport=RecordingTransport(who, where, self._recorded)
        )

    def _recorded(self, write: Write) -> None:
        self._recorder.add(write)
        if isinstance(write.outcome, Acknowledged):
            self.count += 1
            self.acknowledged.append((write.outcome.id, write.content))
            if write.where == SERVICE:
                self.served_at = write.end
