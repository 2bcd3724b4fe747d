"""The group: its status, its change feed, and failover and switchover on request."""

import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from robotgroups.robot import HostedRobot
from robotgroups_robot import events, schemas
from robotgroups_robot.auth import access_of, scope_aware
from robotgroups_robot.problems import Problem, ProblemError, ProblemType
from robotgroups_robot.routes.common import TOKEN, RuntimeDep, answers_with

JOB_ERROR_KEPT = "it is told to the group's own token"

router = APIRouter(prefix="/v1", tags=["group"], dependencies=[TOKEN])


@router.get("/status", response_model=schemas.StatusBody, responses=answers_with())
@scope_aware  # it tells of no memory
async def status(request: Request, runtime: RuntimeDep) -> schemas.StatusBody:
    """The group as Postgres knows it now, and how the robot that answers stands.

    Why background work failed may quote a memory: a token that is limited to a scope is told only that it did.
    """
    robot = runtime.robot
    group = (await robot.status()).as_dict()
    if access_of(request).scope is not None and group["job_error"] is not None:
        group["job_error"] = JOB_ERROR_KEPT
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
    """The revision to go on after. PrunedError (410) when what follows it is gone: that is told before the stream."""
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

    They tell of all memories: a token that is limited to a scope is refused.
    """
    async for event in events.feed(robot, start, runtime.ending):
        yield event


@router.post("/failover", response_model=schemas.FailoverBody, responses=answers_with(409))
async def failover(runtime: RuntimeDep, body: schemas.FailoverRequest | None = None) -> schemas.FailoverBody:
    """Replace an active robot by a warm passive one, now. The replaced one is failed until it has come back.

    It concerns the group: a token that is limited to a scope is refused.
    """
    done = await runtime.failover(body.robot if body else None)
    return schemas.FailoverBody(promoted=done.promoted, failed=done.failed, epoch=done.epoch, revision=done.revision)


@router.post("/switchover", response_model=schemas.SwitchoverBody, responses=answers_with(409))
async def switchover(runtime: RuntimeDep, body: schemas.SwitchoverRequest | None = None) -> schemas.SwitchoverBody:
    """Let a warm passive robot take over from an active one. No request fails: the replaced one passes on what it gets.

    It concerns the group: a token that is limited to a scope is refused.
    """
    done = await runtime.switchover(body.robot if body else None, body.to if body else None)
    return schemas.SwitchoverBody(
        promoted=done.promoted, replaced=done.replaced, epoch=done.epoch, revision=done.revision
    )
