"""A group that embeds, whose vectors are given by hand: what recall is tried on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from robotgroups.recall import Filters, Fusion, RecallStrategy
from robotgroups.remembering import NewMemory, item_of

from .populating import Sql

if TYPE_CHECKING:
    from .conftest import Group

EMBEDDING = {"provider": "openai", "model": "test", "dimensions": 3, "base_url": "http://127.0.0.1:1"}


class Library:
    """A group of a that embeds; vectors are given by hand."""

    def __init__(self, group: Group, model: int, sql: Sql) -> None:
        self.group = group
        self.model = model
        self.writer = group.store.session(group.id)
        self._sql = sql

    async def remember(self, content: str, vector: Sequence[float] | None = None, **more: Any) -> int:
        item = item_of(NewMemory(content, **more), "cl100k_base")
        (done,) = (await self.writer.remember("a", 1, [item])).outcomes
        assert not isinstance(done, Exception)
        if vector is not None:
            await self._sql(
                "INSERT INTO robotgroups.embeddings (model_id, memory_id, embedding) "
                "VALUES (%s, %s, %s::public.vector)",
                self.model, done.id, str(list(vector)),
            )  # fmt: skip
        return done.id

    async def recall(
        self,
        query: str,
        strategy: str,
        vector: Sequence[float] | None = None,
        *,
        limit: int = 10,
        fusion: Fusion = Fusion(),  # noqa: B008  frozen
        **filters: Any,
    ) -> list[tuple[int, dict[str, Any]]]:
        found = await self.group.store.recall(
            self.group.id,
            query,
            strategy=RecallStrategy(strategy),
            limit=limit,
            filters=Filters(**filters),
            model=None if vector is None else self.model,
            vector=vector,
            fusion=fusion,
        )
        return [(m.id, {"score": m.score, **(m.parts or {})}) for m in found]

    async def ids(self, query: str, strategy: str, vector: Sequence[float] | None = None, **more: Any) -> list[int]:
        return [memory_id for memory_id, _ in await self.recall(query, strategy, vector, **more)]

    async def fill(self, contents: str, count: int, *, set_to: str = "tokens = 1", vector: str | None = None) -> None:
        """As many memories at once, and their lexemes: content and vector as SQL of the number i."""
        group = self.group
        ((ids,),) = await group.sql(
            "WITH new AS (INSERT INTO robotgroups.memories (space_id, group_id, content, content_hash, originator, "
            "tokens) SELECT g.space_id, g.id, c.content, robotgroups.memory_hash(c.content, '{}'), 'a', 1 "
            f"FROM robotgroups.groups g, LATERAL (SELECT {contents} FROM generate_series(1, {count}) i) c(content) "
            "WHERE g.id = %s RETURNING id) SELECT array_agg(id ORDER BY id) FROM new",
            group.id,
        )
        await group.sql(f"UPDATE robotgroups.memories SET {set_to} WHERE id = ANY (%s)", ids)
        if vector is not None:
            await group.sql(
                "INSERT INTO robotgroups.embeddings (model_id, memory_id, embedding) "
                f"SELECT %s, m.id, ({vector})::public.vector FROM unnest(%s::bigint[]) WITH ORDINALITY m(id, i)",
                self.model, ids,
            )  # fmt: skip
        while await group.store.lex(group.id, 5000):
            pass

    async def index(self) -> None:
        """An HNSW index for the model, as upkeep builds it."""
        await self.group.sql(
            "CREATE INDEX hnsw ON robotgroups.embeddings "
            f"USING hnsw ((embedding::public.vector(3)) public.vector_cosine_ops) WHERE model_id = {self.model}"
        )
        await self.group.sql("UPDATE robotgroups.embedding_models SET indexed = true WHERE id = %s", self.model)
        await self.group.sql("ANALYZE robotgroups.embeddings, robotgroups.memories, robotgroups.lexemes")
