"""A memory's later life: get, update, history, erase."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from robotgroups.erasing import Erasure
from robotgroups.lifecycle import MAX_HISTORY
from robotgroups.lifecycle_store import HISTORY
from robotgroups.robot import HostedRobot
from robotgroups_robot import schemas
from robotgroups_robot import schemas_lifecycle as bodies
from robotgroups_robot.routes.common import TOKEN, RuntimeDep, answers_with
from robotgroups_robot.routes.direct import answer
from robotgroups_robot.routes.memory import MemoryId

# How long a request that erases many goes on before it answers that there are more.
ERASE_S = 2.0

router = APIRouter(prefix="/v1", tags=["memory"], dependencies=[TOKEN])


@router.get("/memories/{id}", response_model=schemas.MemoryBody, responses=answers_with(404))
async def get(memory_id: MemoryId, runtime: RuntimeDep) -> Response:
    """One memory, be it forgotten."""
    found = await runtime.serving_robot().get(memory_id)
    return answer(schemas.MemoryBody.model_validate(found.as_json()))


@router.patch("/memories/{id}", response_model=bodies.UpdatedBody, responses=answers_with(400, 404, 409, 413))
async def update(
    memory_id: MemoryId, body: bodies.UpdateRequest, request: Request, runtime: RuntimeDep
) -> bodies.UpdatedBody | Response:
    """Change what a memory says; what it said before stays in its history. Sent twice, it is done once."""
    patch = body.patch()

    async def here(robot: HostedRobot) -> bodies.UpdatedBody:
        done = await robot.apply(memory_id, patch)
        return bodies.UpdatedBody(
            id=done.id,
            version=done.version,
            revision=done.revision,
            epoch=done.epoch,
            in_working_memory=done.in_working_memory,
        )

    return await runtime.writer.run(request, here)


@router.get("/memories/{id}/history", response_model=bodies.HistoryBody, responses=answers_with(404))
async def history(
    memory_id: MemoryId, runtime: RuntimeDep, limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = HISTORY
) -> Response:
    """What a memory says and has said, newest first."""
    versions = await runtime.serving_robot().history(memory_id, limit=limit)
    return answer(
        bodies.HistoryBody(versions=[bodies.VersionBody.model_validate(version.as_json()) for version in versions])
    )


@router.post("/erase", response_model=bodies.ErasedBody, responses=answers_with(400, 409))
async def erase(body: bodies.EraseRequest, request: Request, runtime: RuntimeDep) -> bodies.ErasedBody | Response:
    """Remove memories for good, with everything that was made of them: from every table, the feed and every cache.

    Nothing brings them back. (`DELETE /v1/memories/{id}` only hides one.) Sent again, it erases what is left.
    """
    erasure = Erasure.checked(body.ids, scope=body.scope, tags=body.tags)

    async def here(robot: HostedRobot) -> bodies.ErasedBody:
        end = time.monotonic() + ERASE_S
        done = await robot.erase_batch(erasure)
        count = done.count
        while done.last is not None and time.monotonic() < end:
            done = await robot.erase_batch(erasure, done.last)
            count += done.count
        return bodies.ErasedBody(erased=count, done=done.last is None)

    return await runtime.writer.run(request, here)
