"""The bodies of what is done with memories beside remembering one: batches, recall, pins, updates, erasure."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from robotgroups import limits
from robotgroups.fields import MAX_WEIGHT
from robotgroups.group_commit import MAX_ITEMS
from robotgroups.recall import MAX_K, MAX_WIDEN, RecallStrategy
from robotgroups.relevance import MAX_HALF_LIFE_HOURS
from robotgroups_robot import schemas
from robotgroups_robot.schemas import (
    Metadata,
    ProblemBody,
    RememberedBody,
    RememberRequest,
    RobotName,
    Tags,
    Text,
    Words,
)

MAX_IDS = 1000
MAX_ORIGINATORS = 100
Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT, allow_inf_nan=False)]
Key = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.MAX_KEY_CHARACTERS,
        pattern=r"^[\x21-\x7e]+$",
        description="one value for all tries of one remember: the answer is that of the first",
    ),
]
Ids = Annotated[
    list[Annotated[int, Field(ge=1, le=2**63 - 1)]],
    Field(min_length=1, max_length=MAX_IDS, description="ids of memories"),
]
Query = Annotated[Words, Field(max_length=limits.MAX_QUERY_CHARACTERS)]


class BatchItem(RememberRequest):
    """A memory to keep, one of many."""

    key: Key | None = None


class BatchRequest(BaseModel):
    """Memories to keep, in their order."""

    model_config = ConfigDict(extra="forbid")

    memories: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_ITEMS)]


class OutcomeBody(BaseModel):
    """What became of one memory of a batch: `memory` or `problem`."""

    status: Annotated[int, Field(description="what it would have been answered alone: 201, or its problem's")]
    memory: RememberedBody | None = None
    problem: ProblemBody | None = None


class BatchBody(BaseModel):
    """What became of each memory, in their order."""

    outcomes: list[OutcomeBody]


class FusionWeights(BaseModel):
    """Weights of reciprocal rank fusion: sum of weight / (k + rank)."""

    model_config = ConfigDict(extra="forbid")

    fulltext: Weight = 1.0
    vector: Weight = 1.0
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 60


class RelevanceWeights(BaseModel):
    """How much each part of relevance counts."""

    model_config = ConfigDict(extra="forbid")

    similarity: Weight = 0.5
    tags: Weight = 0.3
    recency: Weight = 0.1
    access: Weight = 0.1
    half_life_hours: Annotated[
        float,
        Field(gt=0, le=MAX_HALF_LIFE_HOURS, allow_inf_nan=False, description="the age at which recency is a half"),
    ] = 168.0


class RecallRequest(BaseModel):
    """What to search for, and among which memories."""

    model_config = ConfigDict(extra="forbid")

    query: Query
    limit: Annotated[int, Field(ge=1, le=limits.MAX_RECALL)] = 10
    strategy: Annotated[Text, Field(max_length=64, json_schema_extra={"enum": [s.value for s in RecallStrategy]})] = (
        "fulltext"
    )
    tags: Annotated[Tags, Field(description="every tag must match; `a` finds `a:b` too")] = []
    metadata: Annotated[Metadata, Field(description="what the memory's must contain")] = {}
    scope: Annotated[schemas.ScopeFields, Field(description="what the memory's scope must contain")] = {}
    originators: Annotated[list[RobotName], Field(max_length=MAX_ORIGINATORS, description="any of them")] = []
    timeframe: Annotated[
        Text | None,
        Field(max_length=200, description='words, an ISO 8601 interval, or "auto": what the query says of it'),
    ] = None
    timezone: Annotated[Text, Field(max_length=schemas.MAX_ZONE, description=schemas.ZONE)] = "UTC"
    include_forgotten: bool = False
    into_working_memory: Annotated[
        bool, Field(description="what is found comes into the working memory and counts as accessed (a write)")
    ] = False
    weights: Annotated[FusionWeights | None, Field(description="of hybrid")] = None
    relevance: Annotated[
        bool | RelevanceWeights,
        Field(description="score by similarity, tags, recency and access: HTM's weights, or these"),
    ] = False
    explain: Annotated[bool, Field(description="tell in `parts` what each memory was ranked by")] = False
    widen: Annotated[
        int, Field(ge=0, le=MAX_WIDEN, description="add what relations lead to from there, within so many steps")
    ] = 0

    def arguments(self) -> dict[str, Any]:
        """What the library's ``recall`` takes beside the query."""
        given: dict[str, Any] = self.model_dump(exclude={"query"})
        return given


class PinsRequest(BaseModel):
    """Memories to pin, or to unpin: all of them or none."""

    model_config = ConfigDict(extra="forbid")

    ids: Ids


class PinsBody(BaseModel):
    """How many were not pinned before, or were."""

    changed: int


class UpdateRequest(BaseModel):
    """What a memory is to say; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    content: Words | None = None
    tags: Annotated[Tags | None, Field(description="replace all of its tags")] = None
    metadata: Annotated[Metadata | None, Field(description="replaces all of its metadata")] = None
    expires_at: Annotated[schemas.Time | None, Field(description="null: it does not expire any more")] = None


class UpdatedBody(BaseModel):
    """The acknowledgement of an update."""

    id: int
    version: Annotated[int, Field(description="counts what the memory has said")]
    revision: int
    epoch: int
    in_working_memory: bool


class VersionBody(BaseModel):
    """What a memory says (`until` null) or has said."""

    version: int
    content: str
    tokens: int
    tags: list[str]
    metadata: dict[str, Any]
    since: datetime
    until: datetime | None
    replaced_by: Annotated[str | None, Field(description="the robot that changed it")]


class HistoryBody(BaseModel):
    """What a memory says and has said, newest first."""

    versions: list[VersionBody]


class PropositionsBody(BaseModel):
    """What was extracted from a memory: statements that stand by themselves."""

    propositions: list[str]


class EraseRequest(BaseModel):
    """Which memories to remove for good: by ids, or those that have all of a scope and all of the tags."""

    model_config = ConfigDict(extra="forbid")

    ids: Ids | None = None
    scope: schemas.ScopeFields = {}
    tags: Tags = []


class ErasedBody(BaseModel):
    """How many there were."""

    erased: int
