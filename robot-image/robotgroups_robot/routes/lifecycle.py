"""The life of a memory after it was remembered: get, update, history, propositions, erase."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from robotgroups import limits
from robotgroups.lifecycle import MAX_HISTORY
from robotgroups.robot import HostedRobot
from robotgroups.updating import HISTORY, UNCHANGED
from robotgroups_robot import memory_schemas as bodies
from robotgroups_robot import schemas
from robotgroups_robot.auth import reached, scope_aware
from robotgroups_robot.routes.common import TOKEN, MemoryId, RuntimeDep, answers_with
from robotgroups_robot.routes.direct import answer

router = APIRouter(prefix="/v1", tags=["memory"], dependencies=[TOKEN])


@router.get("/memories/{id}", response_model=schemas.MemoryBody, responses=answers_with(404))
@scope_aware
async def get(memory_id: MemoryId, request: Request, runtime: RuntimeDep) -> Response:
    """One memory, be it forgotten; not when it has expired."""
    memory = await reached(request, runtime.serving_robot()).get(memory_id)
    return answer(schemas.MemoryBody.model_validate(memory.as_json()))


@router.patch("/memories/{id}", response_model=bodies.UpdatedBody, responses=answers_with(404, 409, 413))
@scope_aware
async def update(
    memory_id: MemoryId, body: bodies.UpdateRequest, request: Request, runtime: RuntimeDep
) -> bodies.UpdatedBody | Response:
    """Change what a memory says; what it said before stays in its history. Done twice, it is done once."""
    if body.content is not None:
        limits.check_content(body.content)
    expires_at = body.expires_at if "expires_at" in body.model_fields_set else UNCHANGED

    async def here(robot: HostedRobot) -> bodies.UpdatedBody:
        done = await reached(request, robot).update(
            memory_id, body.content, tags=body.tags, metadata=body.metadata, expires_at=expires_at
        )
        return bodies.UpdatedBody(**asdict(done))

    return await runtime.writer.run(request, here)


@router.get("/memories/{id}/history", response_model=bodies.HistoryBody, responses=answers_with(404))
@scope_aware
async def history(
    memory_id: MemoryId,
    request: Request,
    runtime: RuntimeDep,
    limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = HISTORY,
) -> Response:
    """What a memory says and has said, newest first."""
    versions = await reached(request, runtime.serving_robot()).history(memory_id, limit=limit)
    return answer(bodies.HistoryBody.model_validate({"versions": [v.as_json() for v in versions]}))


@router.get("/memories/{id}/propositions", response_model=bodies.PropositionsBody, responses=answers_with(404))
@scope_aware
async def propositions(memory_id: MemoryId, request: Request, runtime: RuntimeDep) -> bodies.PropositionsBody:
    """The statements that a language model made of a memory; none until they are extracted."""
    found = await reached(request, runtime.serving_robot()).propositions(memory_id)
    return bodies.PropositionsBody(propositions=found)


@router.post("/memories/erase", response_model=bodies.ErasedBody, responses=answers_with(409))
@scope_aware
async def erase(body: bodies.EraseRequest, request: Request, runtime: RuntimeDep) -> bodies.ErasedBody | Response:
    """Remove memories for good, with everything that was made of them: nothing brings them back.

    Those with these ids, or else those that have all of the scope and all of the tags. Sent again, it goes on where it
    was interrupted, and tells only how many there still were.
    """

    async def here(robot: HostedRobot) -> bodies.ErasedBody:
        memories = reached(request, robot)
        return bodies.ErasedBody(erased=await memories.erase(body.ids, scope=body.scope, tags=body.tags))

    return await runtime.writer.run(request, here)
