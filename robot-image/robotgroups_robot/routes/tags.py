"""The tags of memories."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from robotgroups import limits
from robotgroups.relating import FIND_LIMIT
from robotgroups.robot import HostedRobot
from robotgroups.tagging import MOST_TAGS, TAGS_LIMIT, Tagged
from robotgroups_robot import schemas
from robotgroups_robot import schemas_relations as bodies
from robotgroups_robot.routes.common import TOKEN, MemoryId, RuntimeDep, answers_with
from robotgroups_robot.routes.scoping import ScopeText, parse_scope

router = APIRouter(prefix="/v1", tags=["tags"], dependencies=[TOKEN])

Most = Annotated[int, Query(ge=1, le=MOST_TAGS)]


@router.get("/tags", response_model=bodies.TagsBody, responses=answers_with())
async def tags(runtime: RuntimeDep, limit: Most = TAGS_LIMIT, scope: ScopeText = None) -> bodies.TagsBody:
    """The tags of memories that are not forgotten, the most used first, then by name."""
    found = await runtime.serving_robot().tags(limit=limit, scope=parse_scope(scope))
    return bodies.TagsBody(tags=[bodies.TagCountBody(tag=t.tag, count=t.count) for t in found])


@router.get("/tags/tree", response_model=bodies.TagNodeBody, responses=answers_with())
async def tag_tree(runtime: RuntimeDep, scope: ScopeText = None) -> bodies.TagNodeBody:
    """The tags as a tree: `a:b` stands below `a`."""
    return bodies.TagNodeBody.of(await runtime.serving_robot().tag_tree(scope=parse_scope(scope)))


@router.get("/tags/find", response_model=bodies.FoundTagsBody, responses=answers_with())
async def find_tags(
    runtime: RuntimeDep,
    q: Annotated[schemas.Words, Query(max_length=limits.MAX_QUERY_CHARACTERS)],
    limit: Most = FIND_LIMIT,
    scope: ScopeText = None,
) -> bodies.FoundTagsBody:
    """Tags like a query with typos, the likest first."""
    found = await runtime.serving_robot().find_tags(q, limit=limit, scope=parse_scope(scope))
    return bodies.FoundTagsBody(tags=[bodies.TagMatchBody(tag=m.tag, score=m.score) for m in found])


@router.post("/memories/{id}/tags", response_model=bodies.TaggedBody, responses=answers_with(400, 404, 409))
async def tag(
    memory_id: MemoryId, body: bodies.TagRequest, request: Request, runtime: RuntimeDep
) -> bodies.TaggedBody | Response:
    """Give a memory more tags, as an update of it; those that it has already are no change."""

    async def here(robot: HostedRobot) -> bodies.TaggedBody:
        return _body(await robot.tag(memory_id, *body.tags))

    return await runtime.writer.run(request, here)


@router.delete("/memories/{id}/tags", response_model=bodies.TaggedBody, responses=answers_with(404, 409))
async def untag(
    memory_id: MemoryId,
    tag: Annotated[list[schemas.Text], Query(min_length=1, description="each alone; may be repeated")],
    request: Request,
    runtime: RuntimeDep,
) -> bodies.TaggedBody | Response:
    """Take tags from a memory."""

    async def here(robot: HostedRobot) -> bodies.TaggedBody:
        return _body(await robot.untag(memory_id, *tag))

    return await runtime.writer.run(request, here)


def _body(done: Tagged) -> bodies.TaggedBody:
    return bodies.TaggedBody(
        id=done.id, tags=list(done.tags), version=done.version, revision=done.revision, epoch=done.epoch
    )
