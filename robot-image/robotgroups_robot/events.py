"""The change feed as server-sent events.

The id of an event is its revision, so that a client goes on where it was cut off (M5).
"""

from collections.abc import AsyncIterator

import anyio
import structlog
from fastapi.sse import ServerSentEvent

from robotgroups.errors import RobotGroupsError
from robotgroups.models import Change
from robotgroups.robot import HostedRobot

RECONNECT_MS = 1000

logger = structlog.get_logger(__name__)


def start_after(after: int | None, last_event_id: int | None, current: int) -> int:
    """The revision to go on after: the header of a client that reconnects, else the query's, else only what is new."""
    if last_event_id is not None:
        return last_event_id
    return current if after is None else after


def as_event(change: Change) -> ServerSentEvent:
    """One change as an event."""
    return ServerSentEvent(id=str(change.revision), event=change.kind.value, data=change.as_json())


async def feed(robot: HostedRobot, after: int, ending: anyio.Event) -> AsyncIterator[ServerSentEvent]:
    """Events after a revision, without end: until the client goes or `ending` is set (the robot stops)."""
    yield ServerSentEvent(comment="the feed of changes", retry=RECONNECT_MS)
    send, receive = anyio.create_memory_object_stream[Change](max_buffer_size=64)

    async def pump() -> None:
        async with send:
            try:
                async for change in robot.events(after):
                    await send.send(change)
            except RobotGroupsError as error:
                # The stream ends cleanly; the client comes back with the last revision that it has seen.
                logger.info("the feed ends", error=str(error))

    async def stop() -> None:
        await ending.wait()
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(pump)
        group.start_soon(stop)
        async with receive:
            async for change in receive:
                yield as_event(change)
        group.cancel_scope.cancel()
