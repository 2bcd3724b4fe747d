"""Memory: remember, recall, working memory, context, forget and restore."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue

from robotgroups import limits
from robotgroups.context import ContextStrategy
from robotgroups.errors import InvalidMetadataError
from robotgroups.recall import RecallStrategy
from robotgroups.robot import HostedRobot
from robotgroups_robot import schemas
from robotgroups_robot.routes.common import TOKEN, RuntimeDep, answers_with
from robotgroups_robot.routes.direct import JSON, DirectRoute, answer


def _one_of(choices: type[StrEnum]) -> dict[str, JsonValue]:
    """For OpenAPI alone: the library refuses any other, by name."""
    return {"enum": [choice.value for choice in choices]}


router = APIRouter(prefix="/v1", tags=["memory"], dependencies=[TOKEN])

MemoryId = Annotated[int, Path(alias="id", ge=1, le=2**63 - 1)]
Words = Annotated[schemas.Words, Query(max_length=limits.MAX_QUERY_CHARACTERS)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=limits.MAX_KEY_CHARACTERS,
        pattern=r"^[\x21-\x7e]+$",
        description="one value for all tries of one remember: the answer is that of the first",
    ),
]


def parse_metadata(text: str | None) -> dict[str, Any]:
    """The JSON object of recall's query. Raises RequestValidationError, which names the parameter."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong_metadata(f"is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise _wrong_metadata("must be a JSON object")
    try:
        return limits.check_metadata(value)
    except InvalidMetadataError as error:
        raise _wrong_metadata(str(error)) from error


def _wrong_metadata(message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", "metadata"), "msg": message, "type": "value_error"}])


direct = APIRouter(prefix="/v1", tags=["memory"], dependencies=[TOKEN], route_class=DirectRoute)


@direct.post("/memories", status_code=201, response_model=schemas.RememberedBody, responses=answers_with(400, 409, 413))
async def remember(
    body: schemas.RememberRequest, request: Request, runtime: RuntimeDep, key: Key = None
) -> schemas.RememberedBody | Response:
    """Remember. When this answers, the memory survives any crash; the same content or key twice is one memory."""
    limits.check_content(body.content)

    async def here(robot: HostedRobot) -> schemas.RememberedBody:
        done = await robot.remember(
            body.content, tags=body.tags, metadata=body.metadata, originator=body.originator, key=key
        )
        return schemas.RememberedBody(
            id=done.id,
            revision=done.revision,
            epoch=done.epoch,
            created=done.created,
            in_working_memory=done.in_working_memory,
            tokens=done.tokens,
        )

    return await runtime.writer.run(request, here)


@router.delete("/memories/{id}", response_model=schemas.RevisedBody, responses=answers_with(404, 409))
async def forget(memory_id: MemoryId, request: Request, runtime: RuntimeDep) -> schemas.RevisedBody | Response:
    """Hide a memory from recall and the working memory until it is restored; it is not destroyed."""

    async def here(robot: HostedRobot) -> schemas.RevisedBody:
        done = await robot.forget(memory_id)
        return schemas.RevisedBody(id=done.id, revision=done.revision, epoch=done.epoch)

    return await runtime.writer.run(request, here)


@router.post("/memories/{id}/restore", response_model=schemas.RevisedBody, responses=answers_with(404, 409))
async def restore(memory_id: MemoryId, request: Request, runtime: RuntimeDep) -> schemas.RevisedBody | Response:
    """Bring a forgotten memory back, into the working memory too."""

    async def here(robot: HostedRobot) -> schemas.RevisedBody:
        done = await robot.restore(memory_id)
        return schemas.RevisedBody(id=done.id, revision=done.revision, epoch=done.epoch)

    return await runtime.writer.run(request, here)


@router.get("/recall", response_model=schemas.MemoriesBody, responses=answers_with(501))
async def recall(
    runtime: RuntimeDep,
    *,
    q: Words,
    limit: Annotated[int, Query(ge=1, le=limits.MAX_RECALL)] = 10,
    strategy: Annotated[schemas.Text, Query(max_length=64, json_schema_extra=_one_of(RecallStrategy))] = "fulltext",
    tag: Annotated[schemas.Tags | None, Query(description="every tag must match; may be repeated")] = None,
    metadata: Annotated[schemas.Text | None, Query(description="a JSON object that the memory's must contain")] = None,
    timeframe: Annotated[schemas.Text | None, Query(max_length=200)] = None,
) -> Response:
    """Search long-term memory, best match first."""
    found = await runtime.serving_robot().recall(
        q, limit=limit, strategy=strategy, tags=tag or [], metadata=parse_metadata(metadata), timeframe=timeframe
    )
    return Response(schemas.MEMORIES.dump_json(schemas.Memories(found)), media_type=JSON)


@router.get("/working-memory", response_model=schemas.WorkingMemoryBody, responses=answers_with())
async def working_memory(runtime: RuntimeDep) -> Response:
    """The working memory as this robot's cache has it, at one revision."""
    robot = runtime.serving_robot()
    await robot.caught_up()  # with what was acknowledged here
    cache = robot.cache
    living = cache.living(datetime.now(UTC))
    held = schemas.WorkingMemory(cache.revision, sum(m.tokens for m in living), cache.max_tokens, living)
    return Response(schemas.WORKING_MEMORY.dump_json(held), media_type=JSON)


@router.delete("/working-memory", response_model=schemas.ClearedBody, responses=answers_with(409))
async def clear_working_memory(request: Request, runtime: RuntimeDep) -> schemas.ClearedBody | Response:
    """Empty the working memory; what was in it stays in long-term memory."""

    async def here(robot: HostedRobot) -> schemas.ClearedBody:
        return schemas.ClearedBody(cleared=await robot.clear_working_memory())

    return await runtime.writer.run(request, here, repeatable=False)


@router.get("/context", response_model=schemas.ContextBody, responses=answers_with())
async def context(
    runtime: RuntimeDep,
    strategy: Annotated[schemas.Text, Query(max_length=64, json_schema_extra=_one_of(ContextStrategy))] = "balanced",
    max_tokens: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    query: Annotated[
        schemas.Text | None,
        Query(max_length=limits.MAX_QUERY_CHARACTERS, description="memories that share a word with it come first"),
    ] = None,
) -> Response:
    """The working memory as text for a prompt, within a token budget (by default the group's).

    In the strategy's order, as far as it fits; with a query its best matches (BM25) first.
    """
    robot = runtime.serving_robot()
    await robot.caught_up()  # with what was acknowledged here
    made = robot.context(strategy=strategy, max_tokens=max_tokens, query=query)
    body = schemas.ContextBody(
        text=made.text, tokens=made.tokens, revision=made.revision, memory_ids=list(made.memory_ids)
    )
    return answer(body)
