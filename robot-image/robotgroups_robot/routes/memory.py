"""Memory: remember, working memory, pins, context, forget and restore."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from robotgroups import limits
from robotgroups.context import ContextStrategy
from robotgroups.errors import ContentTooLargeError, RobotGroupsError
from robotgroups.memories import Remembered
from robotgroups.remembering import NewMemory
from robotgroups.robot import HostedRobot
from robotgroups.scope import visible
from robotgroups_robot import memory_schemas as bodies
from robotgroups_robot import schemas
from robotgroups_robot.auth import access_of, reached, scope_aware
from robotgroups_robot.problems import Problem, ProblemError, ProblemType, of_error
from robotgroups_robot.routes.common import TOKEN, MemoryId, RuntimeDep, answers_with, one_of
from robotgroups_robot.routes.direct import JSON, DirectRoute, answer
from robotgroups_robot.routes.scoping import ScopeText, parse_scope

router = APIRouter(prefix="/v1", tags=["memory"], dependencies=[TOKEN])

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


direct = APIRouter(prefix="/v1", tags=["memory"], dependencies=[TOKEN], route_class=DirectRoute)


@direct.post("/memories", status_code=201, response_model=schemas.RememberedBody, responses=answers_with(400, 409, 413))
@scope_aware
async def remember(
    body: schemas.RememberRequest, request: Request, runtime: RuntimeDep, key: Key = None
) -> schemas.RememberedBody | Response:
    """Remember. When this answers, the memory survives any crash; the same content or key twice is one memory."""
    limits.check_content(body.content)

    async def here(robot: HostedRobot) -> schemas.RememberedBody:
        done = await reached(request, robot).remember(
            body.content,
            tags=body.tags,
            metadata=body.metadata,
            originator=body.originator,
            key=key,
            scope=body.scope,
            expires_at=body.expires_at,
        )
        return acknowledged(done)

    return await runtime.writer.run(request, here)


@direct.post("/memories/batch", response_model=bodies.BatchBody, responses=answers_with(400, 409, 413))
@scope_aware
async def remember_many(
    body: bodies.BatchRequest, request: Request, runtime: RuntimeDep
) -> bodies.BatchBody | Response:
    """Remember many in as few transactions as they fit into.

    A memory that is not valid refuses all of them (422, 413). What can only be told of one when it is written (its key
    was used for something else, its originator is no member) is its own outcome, and hinders no other. After an error
    (409, 503) some may have been remembered: to send all of them again is safe.
    """
    memories = [
        NewMemory(m.content, m.tags, m.metadata, m.originator, m.key, m.scope, m.expires_at) for m in body.memories
    ]
    for place, memory in enumerate(memories):
        try:
            limits.check_content(memory.content)
        except ContentTooLargeError as error:
            raise ProblemError(Problem(ProblemType.CONTENT_TOO_LARGE, f"#/memories/{place}: {error}")) from error

    async def here(robot: HostedRobot) -> bodies.BatchBody:
        outcomes = await reached(request, robot).remember_each(memories)
        return bodies.BatchBody(outcomes=[_outcome(o) for o in outcomes])

    return await runtime.writer.run(request, here)


def acknowledged(done: Remembered) -> schemas.RememberedBody:
    """The body of an acknowledgement."""
    return schemas.RememberedBody(
        id=done.id,
        revision=done.revision,
        epoch=done.epoch,
        created=done.created,
        in_working_memory=done.in_working_memory,
        tokens=done.tokens,
    )


def _outcome(outcome: Remembered | Exception) -> bodies.OutcomeBody:
    if isinstance(outcome, Remembered):
        return bodies.OutcomeBody(status=201, memory=acknowledged(outcome))
    assert isinstance(outcome, RobotGroupsError)
    problem = of_error(outcome)
    return bodies.OutcomeBody(
        status=problem.type.status, problem=schemas.ProblemBody.model_validate(problem.document())
    )


@router.delete("/memories/{id}", response_model=schemas.RevisedBody, responses=answers_with(404, 409))
@scope_aware
async def forget(memory_id: MemoryId, request: Request, runtime: RuntimeDep) -> schemas.RevisedBody | Response:
    """Hide a memory from recall and the working memory until it is restored; it is not destroyed."""

    async def here(robot: HostedRobot) -> schemas.RevisedBody:
        done = await reached(request, robot).forget(memory_id)
        return schemas.RevisedBody(id=done.id, revision=done.revision, epoch=done.epoch)

    return await runtime.writer.run(request, here)


@router.post("/memories/{id}/restore", response_model=schemas.RevisedBody, responses=answers_with(404, 409))
@scope_aware
async def restore(memory_id: MemoryId, request: Request, runtime: RuntimeDep) -> schemas.RevisedBody | Response:
    """Bring a forgotten memory back, into the working memory too."""

    async def here(robot: HostedRobot) -> schemas.RevisedBody:
        done = await reached(request, robot).restore(memory_id)
        return schemas.RevisedBody(id=done.id, revision=done.revision, epoch=done.epoch)

    return await runtime.writer.run(request, here)


@router.get("/working-memory", response_model=schemas.WorkingMemoryBody, responses=answers_with())
@scope_aware
async def working_memory(request: Request, runtime: RuntimeDep) -> Response:
    """The working memory as this robot's cache has it, at one revision; what has expired is left out."""
    robot = runtime.serving_robot()
    await robot.caught_up()  # with what was acknowledged here
    cache = robot.cache
    memories = visible(cache.memories.values(), datetime.now(UTC), access_of(request).scope)
    held = schemas.WorkingMemory(cache.revision, sum(m.tokens for m in memories), cache.max_tokens, memories)
    return Response(schemas.WORKING_MEMORY.dump_json(held), media_type=JSON)


@router.delete("/working-memory", response_model=schemas.ClearedBody, responses=answers_with(409))
async def clear_working_memory(request: Request, runtime: RuntimeDep) -> schemas.ClearedBody | Response:
    """Empty the working memory but for what is pinned; what was in it stays in long-term memory.

    It concerns all memories: a token that is limited to a scope is refused.
    """

    async def here(robot: HostedRobot) -> schemas.ClearedBody:
        return schemas.ClearedBody(cleared=await robot.clear_working_memory())

    return await runtime.writer.run(request, here, repeatable=False)


@router.post("/working-memory/pins", response_model=bodies.PinsBody, responses=answers_with(404, 409))
@scope_aware
async def pin(body: bodies.PinsRequest, request: Request, runtime: RuntimeDep) -> bodies.PinsBody | Response:
    """Keep memories in the working memory, never evicted nor cleared. 422: they do not fit beside what is pinned."""

    async def here(robot: HostedRobot) -> bodies.PinsBody:
        return bodies.PinsBody(changed=await reached(request, robot).pin(*body.ids))

    return await runtime.writer.run(request, here)


@router.delete("/working-memory/pins", response_model=bodies.PinsBody, responses=answers_with(404, 409))
@scope_aware
async def unpin(body: bodies.PinsRequest, request: Request, runtime: RuntimeDep) -> bodies.PinsBody | Response:
    """Let pinned memories go as others do."""

    async def here(robot: HostedRobot) -> bodies.PinsBody:
        return bodies.PinsBody(changed=await reached(request, robot).unpin(*body.ids))

    return await runtime.writer.run(request, here)


@router.get("/context", response_model=schemas.ContextBody, responses=answers_with())
@scope_aware
async def context(
    request: Request,
    runtime: RuntimeDep,
    *,
    strategy: Annotated[schemas.Text, Query(max_length=64, json_schema_extra=one_of(ContextStrategy))] = "balanced",
    max_tokens: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    query: Annotated[
        schemas.Text | None,
        Query(max_length=limits.MAX_QUERY_CHARACTERS, description="memories that share a word with it come first"),
    ] = None,
    scope: ScopeText = None,
) -> Response:
    """The working memory as text for a prompt, within a token budget (by default the group's).

    In the strategy's order, as far as it fits; with a query its best matches (BM25) first. What has expired is left
    out.
    """
    wanted = parse_scope(scope)
    robot = runtime.serving_robot()
    await robot.caught_up()  # with what was acknowledged here
    made = reached(request, robot).context(strategy=strategy, max_tokens=max_tokens, query=query, scope=wanted)
    body = schemas.ContextBody(
        text=made.text, tokens=made.tokens, revision=made.revision, memory_ids=list(made.memory_ids)
    )
    return answer(body)
