"""The bodies of a memory's later life: update, history, erasure."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from robotgroups import limits
from robotgroups.updating import UNCHANGED, Patch
from robotgroups_robot.schemas import Metadata, Tags, Words

# Of one request. More of them take more requests, or a scope.
MAX_ERASED_IDS = 1000


class UpdateRequest(BaseModel):
    """What a memory is to say. What is left out, or null, stays; tags and metadata are replaced as a whole."""

    model_config = ConfigDict(extra="forbid")

    content: Annotated[
        Words | None,
        Field(description=f"what to remember instead; at most {limits.MAX_CONTENT_BYTES} bytes of UTF-8 (413)"),
    ] = None
    tags: Annotated[Tags | None, Field(description="all of its labels")] = None
    metadata: Annotated[Metadata | None, Field(description="all of its metadata")] = None
    expires_at: Annotated[
        AwareDatetime | None, Field(description="from when on it is not found any more; null: it does not expire")
    ] = None

    def patch(self) -> Patch:
        """The change. Raises ArgumentError and its kinds."""
        expires_at = self.expires_at if "expires_at" in self.model_fields_set else UNCHANGED
        return Patch.checked(self.content, tags=self.tags, metadata=self.metadata, expires_at=expires_at)


class UpdatedBody(BaseModel):
    """The acknowledgement of an update."""

    id: int
    version: Annotated[int, Field(description="how often it was updated, and one")]
    revision: int
    epoch: int
    in_working_memory: Annotated[bool, Field(description="false too when it has grown larger than the token budget")]


class VersionBody(BaseModel):
    """What a memory says, or has said."""

    version: int
    content: str
    tokens: int
    tags: list[str]
    metadata: dict[str, Any]
    since: datetime
    until: Annotated[datetime | None, Field(description="null: until now")]
    replaced_by: Annotated[str | None, Field(description="the robot that updated it")]


class HistoryBody(BaseModel):
    """A memory's versions, newest first."""

    versions: list[VersionBody]


class EraseRequest(BaseModel):
    """Memories by their ids; or else those that have all of a scope and all of the tags."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[
        list[Annotated[int, Field(ge=1, le=2**63 - 1)]] | None, Field(min_length=1, max_length=MAX_ERASED_IDS)
    ] = None
    scope: Annotated[dict[str, str] | None, Field(description='such as `{"user": "u1"}`')] = None
    tags: Annotated[Tags, Field(description="`a` matches `a:b` too")] = []


class ErasedBody(BaseModel):
    """How many were erased."""

    erased: int
    done: Annotated[bool, Field(description="false: there are more, send the request again")]
