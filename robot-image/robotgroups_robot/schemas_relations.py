"""The bodies of the HTTP API about relations, tags and files."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from robotgroups import relations
from robotgroups.filing import CHUNK_TOKENS, MAX_CHUNK_TOKENS, MAX_PATH_CHARACTERS, FileSync, LoadedFile
from robotgroups.loading import MIN_CHUNK_TOKENS
from robotgroups.tags import TagNode
from robotgroups_robot.schemas import MemoryBody, Metadata, Tags, Words

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Kind = Annotated[Words, Field(max_length=relations.MAX_KIND_CHARACTERS)]
FilePath = Annotated[Words, Field(max_length=MAX_PATH_CHARACTERS)]


class RelationRequest(BaseModel):
    """That a memory is related to another."""

    model_config = ConfigDict(extra="forbid")

    source: Id
    target: Id
    kind: Annotated[Kind, Field(description="any name but `tags`, which is kept for relations by common tags")]
    weight: Annotated[
        float, Field(ge=relations.MIN_WEIGHT, le=1, description="how much; said again, the new weight counts")
    ] = 1.0


class RelatedNowBody(BaseModel):
    """The acknowledgement of a relation."""

    created: Annotated[bool, Field(description="false: it stood already; its weight is the new one")]


class UnrelatedBody(BaseModel):
    """The acknowledgement that a relation does not stand any more."""

    removed: Annotated[bool, Field(description="false: it did not stand")]


class RelatedMemoryBody(BaseModel):
    """A memory that another is related to."""

    memory: MemoryBody
    weight: Annotated[float, Field(description="the product of the weights on the way, the best way of all")]
    depth: Annotated[int, Field(description="how many relations the way has")]
    path: Annotated[list[int], Field(description="the ids on the way, the first memory's and this one's too")]
    kinds: Annotated[list[str], Field(description="the kinds of the relations on the way")]


class RelatedBody(BaseModel):
    """What a memory is related to, the strongest first."""

    related: list[RelatedMemoryBody]


@dataclass(frozen=True, slots=True)
class RelatedMemories:
    """A RelatedBody to be sent."""

    related: list[relations.Related]


RELATED = TypeAdapter(RelatedMemories)


class TagCountBody(BaseModel):
    """A tag, and how many memories have it."""

    tag: str
    count: int


class TagsBody(BaseModel):
    """The tags of the group's memories, the most used first."""

    tags: list[TagCountBody]


class TagNodeBody(BaseModel):
    """A level of the tree of tags; the root has no name."""

    name: str
    tag: str
    count: Annotated[int, Field(description="memories that have the tag itself")]
    total: Annotated[int, Field(description="that, and those of all tags below")]
    children: list["TagNodeBody"]

    @classmethod
    def of(cls, node: TagNode) -> Self:
        """The body of a node with all below it."""
        children = [cls.of(child) for child in node.children]
        return cls.model_construct(name=node.name, tag=node.tag, count=node.count, total=node.total, children=children)


class TagMatchBody(BaseModel):
    """A tag like a query, 0.0 to 1.0."""

    tag: str
    score: float


class FoundTagsBody(BaseModel):
    """Tags like a query, the likest first."""

    tags: list[TagMatchBody]


class TagRequest(BaseModel):
    """Tags to give to a memory."""

    model_config = ConfigDict(extra="forbid")

    tags: Annotated[Tags, Field(min_length=1)]


class TaggedBody(BaseModel):
    """The acknowledgement of a change of tags: those that the memory has now, and its version."""

    id: int
    tags: list[str]
    version: int
    revision: int
    epoch: int


class FileRequest(BaseModel):
    """A Markdown file to load."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[FilePath, Field(description="the name by which the file is known")]
    text: Annotated[str, Field(description="what it says, with or without YAML front matter")]
    tags: Annotated[Tags, Field(description="for every chunk, beside those of the front matter")] = []
    metadata: Annotated[Metadata, Field(description="for every chunk, beside the front matter's")] = {}
    scope: Annotated[dict[str, str], Field(description="whom or what its memories belong to")] = {}
    chunk_tokens: Annotated[
        int, Field(ge=MIN_CHUNK_TOKENS, le=MAX_CHUNK_TOKENS, description="a longer section becomes several chunks")
    ] = CHUNK_TOKENS


class FileSyncBody(BaseModel):
    """What loading a file did."""

    path: str
    changed: Annotated[bool, Field(description="false: it was as it was loaded before; nothing was written")]
    chunks: int
    added: Annotated[int, Field(description="chunks that it had not before")]
    updated: Annotated[int, Field(description="chunks that it had, with other tags, metadata or headings now")]
    removed: Annotated[int, Field(description="memories that are gone")]
    revision: int
    epoch: int

    @classmethod
    def of(cls, done: FileSync) -> Self:
        """The body of what was done."""
        return cls(**asdict(done))


class LoadedFileBody(BaseModel):
    """A file that was loaded, with what is left of it."""

    path: str
    scope: dict[str, str]
    digest: str
    chunks: int
    tokens: int
    tags: list[str]
    front_matter: dict[str, Any]
    loaded_at: datetime

    @classmethod
    def of(cls, file: LoadedFile) -> Self:
        """The body of a file of the list."""
        return cls(**{**asdict(file), "tags": list(file.tags)})


class FilesBody(BaseModel):
    """The files that are loaded, by path."""

    files: list[LoadedFileBody]


class UnloadedBody(BaseModel):
    """The acknowledgement that a file is not loaded any more."""

    path: str
    existed: Annotated[bool, Field(description="false: it was not loaded")]
    removed: Annotated[int, Field(description="memories that are gone; what somebody else has said stays")]
    revision: int
    epoch: int
