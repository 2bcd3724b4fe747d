"""What is sent is what is documented."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

from robotgroups.models import Memory
from robotgroups_robot import schemas

MEMORY = Memory(
    id=7,
    content="Größe: 😀",
    originator="a",
    tokens=5,
    tags=("size", "size:large"),
    metadata={"n": 12345678901234567890, "f": 0.1, "nested": [{"x": None}]},
    created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    remembered_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
    remember_count=1,
    forgotten_at=None,
    in_working_memory=True,
    keeper="a",
    access_count=0,
    last_accessed_at=None,
    score=0.25,
)


def test_a_memory_has_the_documented_members() -> None:
    assert [f.name for f in fields(Memory)] == list(schemas.MemoryBody.model_fields)


def test_memories_are_sent_as_their_bodies_would_be() -> None:
    body = schemas.MemoryBody.model_validate(MEMORY.as_json())
    sent = schemas.MEMORIES.dump_json(schemas.Memories([MEMORY]))
    assert sent == schemas.MemoriesBody(memories=[body]).model_dump_json().encode()
    sent = schemas.WORKING_MEMORY.dump_json(schemas.WorkingMemory(1, 5, 8, [MEMORY]))
    documented = schemas.WorkingMemoryBody(revision=1, tokens=5, max_tokens=8, memories=[body])
    assert sent == documented.model_dump_json().encode()
    assert schemas.WorkingMemoryBody.model_validate_json(sent) == documented
