"""Loading again: an unchanged file changes nothing, a changed one what has changed."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups.loading import Document, StoredChunk, parse_document, plan


def parse(sections: list[str]) -> Document:
    return parse_document("\n\n".join(sections), max_tokens=60, count=lambda text: len(text.split()))


def load(stored: list[StoredChunk], document: Document) -> list[StoredChunk]:
    """Carry a plan out, as the group would: one memory for one content."""
    todo = plan(stored, document)
    free = max((s.memory_id for s in stored), default=0) + 1
    return [
        *todo.keep,
        *(replace(moved.stored, position=moved.chunk.position) for moved in todo.update_position),
        *(StoredChunk(free + n, chunk.content_hash, chunk.position) for n, chunk in enumerate(todo.add)),
    ]


SECTIONS = [f"# Section {n}\n\nWhat section {n} says." for n in range(6)]


def test_a_new_file_is_added_whole() -> None:
    document = parse(SECTIONS)
    todo = plan([], document)
    assert todo.add == document.chunks
    assert (todo.keep, todo.update_position, todo.remove) == ((), (), ())
    assert not todo.unchanged


def test_an_unchanged_file_changes_nothing() -> None:
    stored = load([], parse(SECTIONS))
    todo = plan(stored, parse(SECTIONS))
    assert todo.unchanged
    assert todo.keep == tuple(stored)


def test_a_changed_section_is_one_removed_and_one_added() -> None:
    stored = load([], parse(SECTIONS))
    changed = [*SECTIONS[:2], "# Section 2\n\nSomething else.", *SECTIONS[3:]]
    todo = plan(stored, parse(changed))
    assert [chunk.text for chunk in todo.add] == ["# Section 2\n\nSomething else."]
    assert todo.remove == (stored[2],)
    assert (len(todo.keep), todo.update_position) == (5, ())


def test_what_moves_is_not_written_again() -> None:
    stored = load([], parse(SECTIONS))
    todo = plan(stored, parse(["# New\n\ntext", *SECTIONS[:3], *SECTIONS[4:]]))
    assert [chunk.text for chunk in todo.add] == ["# New\n\ntext"]
    assert [(m.stored.position, m.chunk.position) for m in todo.update_position] == [(0, 1), (1, 2), (2, 3)]
    assert todo.remove == (stored[3],)
    assert todo.keep == tuple(stored[4:])


def test_an_emptied_file_is_removed() -> None:
    stored = load([], parse(SECTIONS))
    todo = plan(stored, parse([]))
    assert (todo.add, todo.keep, todo.update_position, todo.remove) == ((), (), (), tuple(stored))


def test_equal_texts_are_one_memory() -> None:
    document = parse(["# Same\n\ntext", "# Other\n\ntext", "# Same\n\ntext"])
    todo = plan([], document)
    assert [(chunk.position, chunk.text) for chunk in todo.add] == [(0, "# Same\n\ntext"), (1, "# Other\n\ntext")]
    stored = load([], document)
    assert plan(stored, document).unchanged
    twice = [StoredChunk(1, "h", 0), StoredChunk(2, "h", 1)]
    assert plan(twice, parse([])).remove == tuple(twice)


@pytest.mark.parametrize("at", [0, 1, 50, 99])
def test_a_paragraph_more_in_a_long_section_changes_few_chunks(at: int) -> None:
    """The cuts depend on the text around them: they fall into step again soon after a change."""
    paragraphs = [f"Paragraph {n} has number {n * n} and some words more than the others." for n in range(100)]
    before = parse(["# Long", *paragraphs])
    stored = load([], before)
    todo = plan(stored, parse(["# Long", *paragraphs[:at], "A paragraph that was not there.", *paragraphs[at:]]))
    assert len(before.chunks) > 20
    assert 1 <= len(todo.add) <= 4
    assert len(todo.remove) <= 4


section = st.sampled_from([f"# S{n}\n\ntext {n}" for n in range(8)])


@settings(max_examples=150)
@given(st.lists(section, max_size=8), st.lists(section, max_size=8))
def test_after_any_change_what_is_stored_is_the_file(old: list[str], new: list[str]) -> None:
    stored = load([], parse(old))
    document = parse(new)
    todo = plan(stored, document)
    after = load(stored, document)
    assert {s.content_hash for s in after} == {c.content_hash for c in document.chunks}
    assert len({s.memory_id for s in after}) == len(after)
    assert plan(after, document).unchanged
    # each stored chunk has one fate, and nothing is written that was there
    fates = [*todo.keep, *(m.stored for m in todo.update_position), *todo.remove]
    assert sorted(fates, key=lambda s: s.memory_id) == sorted(stored, key=lambda s: s.memory_id)
    assert not {c.content_hash for c in todo.add} & {s.content_hash for s in stored}
    assert {s.content_hash for s in todo.remove} == {s.content_hash for s in stored} - {
        c.content_hash for c in document.chunks
    }
