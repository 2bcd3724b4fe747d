"""The bodies of the HTTP API: what OpenAPI shows and pydantic checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from robotgroups import limits, tags
from robotgroups.errors import InvalidTagError
from robotgroups.models import Memory


def _tag(value: str) -> str:
    try:
        return tags.check_tag(value)
    except InvalidTagError as error:
        raise ValueError(error.reason) from None  # the answer names the place, not the value


def _time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError("must be a time in ISO 8601, as text") from None
    return limits.check_time(time, "it")


MAX_ZONE = 64
ZONE = "an IANA name such as `Europe/Berlin`: whose days the timeframe means, and the zone of times without one"
Text = Annotated[str, AfterValidator(partial(limits.check_text, name="it"))]
RobotName = Annotated[Text, Field(min_length=1, max_length=63)]
Words = Annotated[
    str, AfterValidator(partial(limits.check_words, name="it")), Field(json_schema_extra={"pattern": r"\S"})
]
Tag = Annotated[
    str, AfterValidator(_tag), Field(max_length=tags.MAX_TAG_CHARACTERS, json_schema_extra={"pattern": r"\S"})
]
Tags = Annotated[list[Tag], Field(max_length=tags.MAX_TAGS)]
Metadata = Annotated[dict[str, Any], AfterValidator(limits.check_metadata)]
ScopeFields = Annotated[dict[str, str], AfterValidator(limits.check_scope)]
Time = Annotated[datetime, BeforeValidator(_time)]


class RememberRequest(BaseModel):
    """A memory to keep."""

    model_config = ConfigDict(extra="forbid")

    content: Annotated[
        Words,
        Field(description=f"what to remember; at most {limits.MAX_CONTENT_BYTES} bytes of UTF-8 (413)"),
    ]
    tags: Annotated[Tags, Field(description="labels; `a:b` is found by recall with tag `a` too")] = []
    metadata: Annotated[Metadata, Field(description="a JSON object of your own")] = {}
    originator: Annotated[
        RobotName | None, Field(description="the member it comes from; the active robot by default")
    ] = None
    scope: Annotated[
        ScopeFields, Field(description='whom or what it belongs to, such as `{"user": "u1"}`; up to 8 keys')
    ] = {}
    expires_at: Annotated[Time | None, Field(description="from then on it is not found, and soon removed")] = None


class RememberedBody(BaseModel):
    """The acknowledgement: the memory survives any crash from here on."""

    id: int
    revision: int
    epoch: int
    created: Annotated[bool, Field(description="false: the same content, or key, was remembered before")]
    in_working_memory: Annotated[bool, Field(description="false: it alone is larger than the token budget")]
    tokens: int


class RevisedBody(BaseModel):
    """The acknowledgement of a forgotten or restored memory."""

    id: int
    revision: int
    epoch: int


class MemoryBody(BaseModel):
    """One memory."""

    id: int
    content: str
    originator: str
    tokens: int
    tags: list[str]
    metadata: dict[str, Any]
    created_at: datetime
    remembered_at: datetime
    remember_count: int
    forgotten_at: datetime | None
    in_working_memory: bool
    keeper: str | None
    access_count: int
    last_accessed_at: datetime | None
    scope: Annotated[dict[str, str], Field(description="whom or what it belongs to")]
    version: Annotated[int, Field(description="how often it was updated, and one")]
    expires_at: datetime | None
    pinned: Annotated[bool, Field(description="it never leaves the working memory by itself")]
    score: Annotated[float | None, Field(description="how well it matches, in recall's answers")] = None
    parts: Annotated[dict[str, Any] | None, Field(description="what it was ranked by, when that was asked for")] = None


class MemoriesBody(BaseModel):
    """What recall found, best first."""

    memories: list[MemoryBody]
    unembedded: Annotated[
        int | None, Field(description="memories of the group that vector search does not know yet; null: not asked")
    ] = None


class WorkingMemoryBody(BaseModel):
    """The working memory at one revision."""

    revision: int
    tokens: int
    max_tokens: int
    memories: list[MemoryBody]


@dataclass(frozen=True, slots=True)
class Memories:
    """A MemoriesBody to be sent."""

    memories: Sequence[Memory]
    unembedded: int | None = None


@dataclass(frozen=True, slots=True)
class WorkingMemory:
    """A WorkingMemoryBody to be sent. Bodies made of a full working memory's 1,600 memories would take 60 ms."""

    revision: int
    tokens: int
    max_tokens: int
    memories: Sequence[Memory]


MEMORIES = TypeAdapter(Memories)
WORKING_MEMORY = TypeAdapter(WorkingMemory)


class ContextBody(BaseModel):
    """The working memory as text for a prompt."""

    text: str
    tokens: int
    revision: int
    memory_ids: list[int]


class ClearedBody(BaseModel):
    """How many memories left the working memory; they stay in long-term memory."""

    cleared: int


class FailoverRequest(BaseModel):
    """Which active robot to replace; by default one that is not live, else the first."""

    model_config = ConfigDict(extra="forbid")

    robot: RobotName | None = None


class FailoverBody(BaseModel):
    """Who took over."""

    promoted: str
    failed: str
    epoch: int
    revision: int


class SwitchoverRequest(BaseModel):
    """Which active robot hands over, by default the first; and to which passive one, by default the best."""

    model_config = ConfigDict(extra="forbid")

    robot: RobotName | None = None
    to: RobotName | None = None


class SwitchoverBody(BaseModel):
    """Who took over from whom."""

    promoted: str
    replaced: str
    epoch: int
    revision: int


class RobotBody(BaseModel):
    """The robot that answers."""

    name: str
    role: str | None
    tenure: int
    serving: bool
    reason: str


class StatusBody(BaseModel):
    """The group as Postgres knows it, and the robot that answers."""

    name: str
    active: list[str]
    passive: list[str]
    failed: list[str]
    total_members: int
    working_memory_nodes: int
    working_memory_tokens: int
    max_tokens: int
    pinned_tokens: Annotated[int, Field(description="of the working memory's, those that are never evicted")]
    token_utilization: float
    in_sync: bool
    epoch: int
    revision: int
    eviction: Annotated[str, Field(description="which memory leaves a full working memory first")]
    space: Annotated[str | None, Field(description="the space of long-term memory; null: the group's own")]
    language: Annotated[str, Field(description="the text search configuration of full-text recall")]
    unembedded: Annotated[int, Field(description="memories that vector recall does not know yet")]
    backfill: Annotated[int, Field(description="memories that the model that serves next has not embedded yet")]
    failing_jobs: Annotated[int, Field(description="background work that failed and is tried again")]
    job_error: Annotated[str | None, Field(description="why the oldest of it failed; a token with a scope is not told")]
    robot: RobotBody
    sync_stats: dict[str, int]


class HealthBody(BaseModel):
    """The answer of a probe that succeeds."""

    status: str
    robot: str
    role: str | None = None
    tenure: int | None = None
    revision: int | None = None


class ProblemBody(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    active: Annotated[list[str] | None, Field(description="the active robots (409 and 503 of a write)")] = None
    errors: Annotated[list[Mapping[str, str]] | None, Field(description="each wrong value (422)")] = None
