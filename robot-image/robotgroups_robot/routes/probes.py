"""Probes and metrics: without a token."""

from typing import Any

from fastapi import APIRouter, Response

from robotgroups_robot import metrics, schemas
from robotgroups_robot.health import Health
from robotgroups_robot.problems import MEDIA_TYPE, Problem, ProblemError, ProblemType
from robotgroups_robot.routes.common import RuntimeDep
from robotgroups_robot.runtime import Runtime

router = APIRouter(tags=["probes"])

_NO: dict[int | str, dict[str, Any]] = {503: {"description": "No; `detail` says why", "content": {MEDIA_TYPE: {}}}}


def _answer(runtime: Runtime, health: Health) -> schemas.HealthBody:
    stand = runtime.standing()
    if not health.ok:
        members = {"robot": runtime.settings.robot, "role": stand.role if stand else None, "phase": runtime.phase}
        raise ProblemError(Problem(ProblemType.NOT_SERVING, health.reason, members))
    return schemas.HealthBody(
        status="ok",
        robot=runtime.settings.robot,
        role=stand.role if stand else None,
        tenure=stand.tenure if stand else None,
        revision=stand.revision if stand else None,
    )


@router.get("/healthz", responses=_NO)
async def alive(runtime: RuntimeDep) -> schemas.HealthBody:
    """Whether the process works: restart it when it does not."""
    return _answer(runtime, runtime.liveness())


@router.get("/startupz", responses=_NO)
async def started(runtime: RuntimeDep) -> schemas.HealthBody:
    """Whether the robot has registered with its group."""
    return _answer(runtime, runtime.startup())


@router.get("/readyz", responses=_NO)
async def ready(runtime: RuntimeDep) -> schemas.HealthBody:
    """Whether requests may come here: warm, its lease renewed, not about to stop."""
    return _answer(runtime, runtime.readiness())


@router.get("/metrics", response_class=Response)
async def exposition(runtime: RuntimeDep) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(runtime.metrics.exposition(), media_type=metrics.CONTENT_TYPE)
