"""Recall: searching long-term memory."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from robotgroups import limits
from robotgroups.errors import InvalidMetadataError
from robotgroups.recall import Recalled, RecallStrategy
from robotgroups.robot import HostedRobot
from robotgroups_robot import memory_schemas as bodies
from robotgroups_robot import schemas
from robotgroups_robot.auth import reached, scope_aware
from robotgroups_robot.routes.common import (
    TOKEN,
    RuntimeDep,
    answers_with,
    one_of,
    wrong_parameter,
)
from robotgroups_robot.routes.direct import JSON, DirectRoute
from robotgroups_robot.routes.scoping import ScopeText, parse_scope

router = APIRouter(prefix="/v1", tags=["memory"], dependencies=[TOKEN])
direct = APIRouter(prefix="/v1", tags=["memory"], dependencies=[TOKEN], route_class=DirectRoute)

Words = Annotated[schemas.Words, Query(max_length=limits.MAX_QUERY_CHARACTERS)]


def parse_metadata(text: str | None) -> dict[str, Any]:
    """The JSON object of recall's query. Raises RequestValidationError, which names the parameter."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise wrong_parameter("metadata", f"is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise wrong_parameter("metadata", "must be a JSON object")
    try:
        return limits.check_metadata(value)
    except InvalidMetadataError as error:
        raise wrong_parameter("metadata", str(error)) from error


@direct.post("/recall", response_model=schemas.MemoriesBody, responses=answers_with(400, 409, 413, 501))
@scope_aware
async def recall(body: bodies.RecallRequest, request: Request, runtime: RuntimeDep) -> Response:
    """Search long-term memory, best match first; with `into_working_memory` an active robot does it."""

    async def here(robot: HostedRobot) -> Response:
        return _answer(await reached(request, robot).recall(body.query, **body.arguments()))

    if body.into_working_memory:
        return await runtime.writer.run(request, here)
    return await here(runtime.serving_robot())


@router.get("/recall", response_model=schemas.MemoriesBody, responses=answers_with(501))
@scope_aware
async def recall_by_query(
    request: Request,
    runtime: RuntimeDep,
    *,
    q: Words,
    limit: Annotated[int, Query(ge=1, le=limits.MAX_RECALL)] = 10,
    strategy: Annotated[schemas.Text, Query(max_length=64, json_schema_extra=one_of(RecallStrategy))] = "fulltext",
    tag: Annotated[schemas.Tags | None, Query(description="every tag must match; may be repeated")] = None,
    metadata: Annotated[schemas.Text | None, Query(description="a JSON object that the memory's must contain")] = None,
    scope: ScopeText = None,
    timeframe: Annotated[schemas.Text | None, Query(max_length=200)] = None,
    timezone: Annotated[schemas.Text, Query(max_length=schemas.MAX_ZONE, description=schemas.ZONE)] = "UTC",
) -> Response:
    """Search long-term memory, best match first. For what it has no parameter for, there is POST /v1/recall."""
    given, wanted = parse_metadata(metadata), parse_scope(scope)
    robot = reached(request, runtime.serving_robot())
    return _answer(
        await robot.recall(
            q,
            limit=limit,
            strategy=strategy,
            tags=tag or [],
            metadata=given,
            scope=wanted,
            timeframe=timeframe,
            timezone=timezone,
        )
    )


def _answer(found: Recalled) -> Response:
    return Response(schemas.MEMORIES.dump_json(schemas.Memories(found, found.unembedded)), media_type=JSON)
