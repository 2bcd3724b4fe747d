"""The group: its status, its change feed, and failover on request."""

import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from robotgroups.robot import HostedRobot
from robotgroups_robot import events, schemas
from robotgroups_robot.problems import Problem, ProblemError, ProblemType
from robotgroups_robot.routes.common import TOKEN, RuntimeDep, answers_with

router = APIRouter(prefix="/v1", tags=["group"], dependencies=[TOKEN])


@router.get("/status", response_model=schemas.StatusBody, responses=answers_with())
async def status(runtime: RuntimeDep) -> schemas.StatusBody:
    """The group as Postgres knows it now, and how the robot that answers stands."""
    robot = runtime.robot
    group = (await robot.status()).as_dict()
    serving = robot.serving(time.monotonic())
    return schemas.StatusBody(
        **group,
        robot=schemas.RobotBody(
            name=robot.name, role=robot.role, tenure=robot.tenure, serving=serving.ok, reason=serving.reason
        ),
        sync_stats=asdict(robot.stats),
    )


async def _feeding(runtime: RuntimeDep) -> HostedRobot:
    """The robot, before the answer begins. A robot that is about to stop raises ProblemError (503): no new streams."""
    if runtime.ending.is_set():
        raise ProblemError(Problem(ProblemType.NOT_SERVING, runtime.readiness().reason))
    return runtime.serving_robot()


async def _start(
    robot: Annotated[HostedRobot, Depends(_feeding)],
    after: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="a revision; by default the present one")
    ] = None,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=2**63 - 1, description="the last revision seen: a client that reconnects sends it")
    ] = None,
) -> int:
    """Where the feed begins. PrunedError, before the answer begins, when what follows is gone."""
    start = events.start_after(after, last_event_id, robot.revision)
    await robot.check_feed(start)
    return start


@router.get("/events", response_class=EventSourceResponse, responses=answers_with(410))
async def change_feed(
    runtime: RuntimeDep,
    robot: Annotated[HostedRobot, Depends(_feeding)],
    start: Annotated[int, Depends(_start)],
) -> AsyncIterator[ServerSentEvent]:
    """Follow the group's changes as server-sent events; an event's id is its revision, without gaps.

    Old changes are pruned once every robot has applied them: who asks for those starts from the working memory, and
    goes on after its revision. A memory that was erased since is told of as `{"id": …, "erased": true}`.
    """
    async for event in events.feed(robot, start, runtime.ending):
        yield event


@router.post("/failover", response_model=schemas.FailoverBody, responses=answers_with(409))
async def failover(runtime: RuntimeDep, body: schemas.FailoverRequest | None = None) -> schemas.FailoverBody:
    """Replace an active robot by a warm passive one, now. The replaced one is failed until it has come back."""
    done = await runtime.failover(body.robot if body else None)
    return schemas.FailoverBody(promoted=done.promoted, failed=done.failed, epoch=done.epoch, revision=done.revision)
