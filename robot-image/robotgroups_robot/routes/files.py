"""Files as long-term memories."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from robotgroups.robot import HostedRobot
from robotgroups_robot import schemas_relations as bodies
from robotgroups_robot.auth import reached, scope_aware
from robotgroups_robot.routes.common import TOKEN, RuntimeDep, answers_with
from robotgroups_robot.routes.scoping import ScopeText, parse_scope

router = APIRouter(prefix="/v1", tags=["files"], dependencies=[TOKEN])


@router.put("/files", response_model=bodies.FileSyncBody, responses=answers_with(400, 409, 413, 501))
@scope_aware
async def load_file(body: bodies.FileRequest, request: Request, runtime: RuntimeDep) -> bodies.FileSyncBody | Response:
    """Make the memories of a Markdown file those that it says now: each heading with what follows it is one.

    Loaded again, only what has changed is written. What it does not say any more is removed for good, unless another
    file or somebody else has said it too.
    """

    async def here(robot: HostedRobot) -> bodies.FileSyncBody:
        done = await reached(request, robot).load_text(
            body.path,
            body.text,
            tags=body.tags,
            metadata=body.metadata,
            scope=body.scope,
            chunk_tokens=body.chunk_tokens,
        )
        return bodies.FileSyncBody.of(done)

    return await runtime.writer.run(request, here)


@router.get("/files", response_model=bodies.FilesBody, responses=answers_with())
@scope_aware
async def files(request: Request, runtime: RuntimeDep, scope: ScopeText = None) -> bodies.FilesBody:
    """The files that are loaded, by path."""
    found = await reached(request, runtime.serving_robot()).files(scope=parse_scope(scope))
    return bodies.FilesBody(files=[bodies.LoadedFileBody.of(f) for f in found])


@router.delete("/files", response_model=bodies.UnloadedBody, responses=answers_with(409))
@scope_aware
async def unload_file(
    path: Annotated[bodies.FilePath, Query(description="as the list of files tells it")],
    request: Request,
    runtime: RuntimeDep,
    scope: ScopeText = None,
) -> bodies.UnloadedBody | Response:
    """Remove a file's memories for good, but for those that another file or somebody else has said, or updated."""
    texts = parse_scope(scope)

    async def here(robot: HostedRobot) -> bodies.UnloadedBody:
        return bodies.UnloadedBody(**asdict(await reached(request, robot).unload_text(path, scope=texts)))

    return await runtime.writer.run(request, here)
