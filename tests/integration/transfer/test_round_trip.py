"""Whatever a group has lived through: exported, imported and exported again, it says the same."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import anyio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from robotgroups.check import check
from robotgroups.erasing import Erasure
from robotgroups.errors import ArgumentError, UnknownMemoryError
from robotgroups.filing import FileDraft
from robotgroups.remembering import NewMemory, scope_texts
from robotgroups.store import Store
from robotgroups.updating import Patch

from .conftest import World, content

TEXTS = st.sampled_from(
    ["one", "zwei 2", "троє\nлинии", 'four "4" \\ \x01', "fünf 🙂 five", "six " * 30, "seven\u2028seven", "\ttab", "9"]
)
SCOPES = st.sampled_from([None, {"user": "u1"}, {"conversation": "c,1", "user": 'u "2"\\'}])
TAGS = st.lists(st.sampled_from(["a", "a:b", "über:x", "c d"]), unique=True, max_size=3)
METADATA = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5),
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
    | st.lists(st.integers(0, 9), max_size=3),
    max_size=3,
)
# Which memory, of those that there are.
WHICH = st.integers(0, 30)
PATHS = st.sampled_from(["/a.md", "/ä b.md"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("remember"), TEXTS, SCOPES, TAGS, METADATA),
        st.tuples(st.just("update"), WHICH, TEXTS, TAGS),
        st.tuples(st.sampled_from(["forget", "restore", "access", "erase"]), WHICH),
        st.tuples(st.just("pin"), WHICH, st.booleans()),
        st.tuples(st.just("load"), PATHS, st.lists(TEXTS, min_size=1, max_size=3), SCOPES, TAGS),
        st.tuples(st.just("unload"), PATHS, SCOPES),
        st.tuples(st.just("relate"), WHICH, WHICH, st.sampled_from(["supports", "Ärger", "zu"]), st.floats(0.01, 1)),
        st.tuples(st.just("embed"), WHICH, st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3)),
        st.tuples(st.just("clear")),
    ),
    min_size=1,
    max_size=25,
)
MODEL = {"provider": "openai", "model": "m", "dimensions": 3, "base_url": "http://127.0.0.1:9/v1"}
WHO: dict[str, Any] = {"robot": None, "tenure": None}
numbers = itertools.count()


@dataclass
class Life:
    """A group that lives through steps; each is a method's name with its arguments."""

    world: World
    group_id: int
    ids: list[int] = field(default_factory=list)

    async def remember(self, text: str, scope: Any, tags: list[str], metadata: dict[str, Any]) -> None:
        new = NewMemory(text, tags=tags, metadata=metadata, scope=scope)
        self.ids = list(dict.fromkeys(self.ids + await self.world.remember(self.group_id, new)))

    async def update(self, which: int, text: str, tags: list[str]) -> None:
        patch = Patch.checked(text, tags=tags)
        await self.world.store.update(
            self.group_id, **WHO, memory_id=self._one(which), patch=patch, tokenizer="cl100k_base"
        )

    async def forget(self, which: int) -> None:
        await self.world.store.forget(self.group_id, **WHO, memory_id=self._one(which))

    async def restore(self, which: int) -> None:
        await self.world.store.restore(self.group_id, **WHO, memory_id=self._one(which))

    async def pin(self, which: int, pinned: bool) -> None:
        await self.world.store.pin(self.group_id, **WHO, memory_ids=[self._one(which)], pinned=pinned)

    async def access(self, which: int) -> None:
        await self.world.store.into_working_memory(self.group_id, **WHO, memory_ids=[self._one(which)])

    async def erase(self, which: int) -> None:
        await self.world.store.erase(self.group_id, **WHO, erasure=Erasure.checked(self._one(which)))

    async def clear(self) -> None:
        await self.world.store.clear_working_memory(self.group_id, **WHO)

    async def relate(self, source: int, target: int, kind: str, weight: float) -> None:
        await self.world.store.relate(
            self.group_id, **WHO, source=self._one(source), target=self._one(target), kind=kind, weight=weight
        )

    async def load(self, path: str, texts: list[str], scope: Any, tags: list[str]) -> None:
        text = "".join(f"# Part {n}\n\n{text.strip()}\n\n" for n, text in enumerate(texts))
        draft = FileDraft.checked(path, text, scope=scope, tags=tags, chunk_tokens=16)
        await self.world.store.sync_file(self.group_id, **WHO, file=draft.as_json())

    async def unload(self, path: str, scope: Any) -> None:
        await self.world.store.unload_file(self.group_id, **WHO, path=path, scope=scope_texts(scope))

    async def embed(self, which: int, vector: list[float]) -> None:
        await self.world.sql(
            "WITH done AS (INSERT INTO robotgroups.embeddings (model_id, memory_id, embedding) SELECT "
            "s.target_model, m.id, %s::vector FROM robotgroups.memories m JOIN robotgroups.spaces s ON "
            "s.id = m.space_id WHERE m.id = %s ON CONFLICT DO NOTHING RETURNING memory_id) "
            "DELETE FROM robotgroups.jobs j USING done d WHERE j.memory_id = d.memory_id AND j.kind = 'embed'",
            str(vector), self._one(which),
        )  # fmt: skip

    def _one(self, which: int) -> int:
        """One of the memories; of none, one that there never is."""
        return self.ids[which % len(self.ids)] if self.ids else 0


async def live(dsn: str, steps: list[Any]) -> None:
    async with await Store.open(dsn) as store:
        world, number = World(dsn, store), next(numbers)
        first = Life(world, await world.group(f"first-{number}", max_tokens=120, embedding=MODEL))
        for what, *arguments in steps:
            try:
                await getattr(first, what)(*arguments)
            except (ArgumentError, UnknownMemoryError):
                continue
        lines = await world.export(first.group_id, embeddings=True)
        second = await world.group(f"second-{number}", max_tokens=120, embedding=MODEL)
        done = await world.bring_in(second, lines)
        again = await world.export(second, embeddings=True)
        assert content(again) == content(lines)
        assert again[-1].partition(b"content_sha256")[2] == lines[-1].partition(b"content_sha256")[2]
        assert done.created == done.memories
        await still_sound(world, second)
        assert (await world.bring_in(second, lines)).created == 0
        assert content(await world.export(second, embeddings=True)) == content(lines)


async def still_sound(world: World, group_id: int) -> None:
    """The feed leads to the working set (M3, M4), and no invariant is broken."""
    cache, truth = await world.replayed(group_id), await world.store.snapshot(group_id)
    assert list(cache.memories.values()) == list(truth.working_memory)
    assert [str(finding) for finding in await check(world.store)] == []
    left = "SELECT kind FROM robotgroups.jobs WHERE space_id = (SELECT space_id FROM robotgroups.groups WHERE id = %s)"
    waiting = sorted(kind for (kind,) in await world.sql(left, group_id))
    assert waiting == sorted(
        kind
        for (kind,) in await world.sql(
            "SELECT unnest(CASE WHEN e.memory_id IS NULL THEN ARRAY['embed'] ELSE '{}' END "
            "|| CASE WHEN m.tags = '{}' THEN '{}' ELSE ARRAY['relate'] END) FROM robotgroups.groups g "
            "JOIN robotgroups.memories m USING (space_id) LEFT JOIN robotgroups.embeddings e ON e.memory_id = m.id "
            "WHERE g.id = %s",
            group_id,
        )
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
@example(
    steps=[
        ("remember", "one", None, ["a"], {"n": 0.1}),
        ("remember", "one", {"user": "u1"}, [], {}),
        ("remember", "9", None, [], {}),
        ("update", 0, "zwei 2", ["a:b"]),
        ("update", 0, "\ttab", []),
        ("embed", 0, [0.1, -0.25, 1.0]),
        ("relate", 0, 1, "Ärger", 0.3),
        ("relate", 2, 0, "zu", 1.0),
        ("pin", 1, True),
        ("load", "/a.md", ["one", "six " * 30], None, ["a"]),
        ("load", "/ä b.md", ["one"], {"user": "u1"}, []),
        ("access", 2),
        ("forget", 0),
    ]
)
def test_export_import_export(shared_dsn: str, steps: list[Any]) -> None:
    anyio.run(live, shared_dsn, steps)
