"""Whose memories the chunks of files are, on random sequences: a memory is there as long as anybody says it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robotgroups.store import Store

from .conftest import Bench

TEXTS = [f"## {letter}\n\n{letter}." for letter in "ABCDE"]
PATHS = ["one.md", "two.md"]
Step = tuple[Literal["load"], str, list[int], str] | tuple[Literal["unload"], str] | tuple[Literal["say"], int]

STEPS = st.one_of(
    st.tuples(
        st.just("load"),
        st.sampled_from(PATHS),
        st.lists(st.integers(0, len(TEXTS) - 1), max_size=6),
        st.sampled_from(["red", "blue"]),
    ),
    st.tuples(st.just("unload"), st.sampled_from(PATHS)),
    st.tuples(st.just("say"), st.integers(0, len(TEXTS) - 1)),
)


@dataclass
class Model:
    """How often each text was said, and what each file says, with its tag."""

    said: Counter[str] = field(default_factory=Counter)
    files: dict[str, tuple[dict[str, None], str]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """How often each text that anybody says is said: a file counts as one who has said its chunks."""
        return dict(self.said + Counter(text for texts, _ in self.files.values() for text in texts))

    def tags(self, text: str) -> set[str]:
        """The tags that a text has from files."""
        return {tag for texts, tag in self.files.values() if text in texts}


async def play(dsn: str, steps: list[Step]) -> None:
    """Do the steps in a group of its own, and compare after each."""
    model = Model()
    async with await Store.open(dsn) as store:
        bench = Bench(dsn, store)
        group = await bench.group(f"g{uuid4().hex[:20]}", max_tokens=30)
        try:
            for step in steps:
                if step[0] == "say":
                    await group.remember(TEXTS[step[1]])
                    model.said[TEXTS[step[1]]] += 1
                elif step[0] == "load":
                    texts, tag = dict.fromkeys(TEXTS[n] for n in step[2]), step[3]
                    done = await group.load_text(step[1], "\n\n".join(TEXTS[n] for n in step[2]), tags=[tag])
                    before = model.files.get(step[1], ({}, ""))[0]
                    assert done.chunks == len(texts)
                    assert done.added == len(texts.keys() - before.keys()) * done.changed
                    model.files[step[1]] = texts, tag
                    if not texts:  # a file that says nothing is none
                        del model.files[step[1]]
                else:
                    assert (await group.unload_file(step[1])).existed == (step[1] in model.files)
                    model.files.pop(step[1], None)
                memories = await bench.memories(group)
                assert {c: m.remember_count for c, m in memories.items()} == model.counts()
                assert {c: set(m.tags) for c, m in memories.items()} == {c: model.tags(c) for c in memories}
                assert {f.path: f.chunks for f in await group.files()} == {
                    path: len(texts) for path, (texts, _) in model.files.items()
                }
                await bench.agree(group)
        finally:
            await bench.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=8))
def test_a_memory_is_there_as_long_as_anybody_says_it(shared_dsn: str, steps: list[Step]) -> None:
    anyio.run(play, shared_dsn, steps)
