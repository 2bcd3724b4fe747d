"""Relations between memories."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from robotgroups import limits
from robotgroups.relations import MAX_DEPTH, RELATED_LIMIT
from robotgroups.robot import HostedRobot
from robotgroups_robot import schemas_relations as bodies
from robotgroups_robot.routes.common import TOKEN, MemoryId, RuntimeDep, answers_with
from robotgroups_robot.routes.direct import JSON
from robotgroups_robot.routes.scoping import ScopeText, parse_scope

router = APIRouter(prefix="/v1", tags=["relations"], dependencies=[TOKEN])

Id = Annotated[int, Query(ge=1, le=2**63 - 1)]


@router.post("/relations", response_model=bodies.RelatedNowBody, responses=answers_with(400, 404, 409))
async def relate(
    body: bodies.RelationRequest, request: Request, runtime: RuntimeDep
) -> bodies.RelatedNowBody | Response:
    """Say that a memory is related to another, and how much. Said again, the new weight counts."""

    async def here(robot: HostedRobot) -> bodies.RelatedNowBody:
        return bodies.RelatedNowBody(created=await robot.relate(body.source, body.target, body.kind, body.weight))

    return await runtime.writer.run(request, here)


@router.delete("/relations", response_model=bodies.UnrelatedBody, responses=answers_with(409))
async def unrelate(
    source: Id, target: Id, kind: Annotated[bodies.Kind, Query()], request: Request, runtime: RuntimeDep
) -> bodies.UnrelatedBody | Response:
    """Take a relation back."""

    async def here(robot: HostedRobot) -> bodies.UnrelatedBody:
        return bodies.UnrelatedBody(removed=await robot.unrelate(source, target, kind))

    return await runtime.writer.run(request, here)


@router.get("/memories/{id}/related", response_model=bodies.RelatedBody, responses=answers_with(404))
async def related(
    memory_id: MemoryId,
    runtime: RuntimeDep,
    *,
    depth: Annotated[int, Query(ge=1, le=MAX_DEPTH, description="over how many relations to go")] = 1,
    min_weight: Annotated[float, Query(ge=0, le=1, description="the least product of weights on the way")] = 0.0,
    kind: Annotated[list[bodies.Kind] | None, Query(description="only by these; may be repeated")] = None,
    scope: ScopeText = None,
    limit: Annotated[int, Query(ge=1, le=limits.MAX_RECALL)] = RELATED_LIMIT,
) -> Response:
    """What a memory is related to, the strongest first; relations lead both ways."""
    found = await runtime.serving_robot().related(
        memory_id, depth=depth, min_weight=min_weight, kinds=kind, scope=parse_scope(scope), limit=limit
    )
    return Response(bodies.RELATED.dump_json(bodies.RelatedMemories(found)), media_type=JSON)
