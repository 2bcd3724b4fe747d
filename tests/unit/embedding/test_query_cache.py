"""The cache of queries against a plain model of it, and against an endpoint."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import pytest
from fake_llm import FakeLlm, Fault
from hypothesis import given, settings
from hypothesis import strategies as st
from robot_process import until

from robotgroups import errors
from robotgroups.embedding import EmbeddingConfig, QueryCache, Result, embedding_config, make_embedder


class Counting:
    """An embedder that notes what it is asked and fails for queries that begin with `bad`."""

    config = EmbeddingConfig()

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        (text,) = texts
        self.asked.append(text)
        if text.startswith("bad"):
            raise errors.EmbeddingUnavailableError("away", errors.ModelFailure.UNREACHABLE)
        return [[float(len(text)), 0.1]]

    async def embed_each(self, texts: Sequence[str]) -> list[Result]:
        return [*await self.embed(texts)]

    async def aclose(self) -> None:
        self.asked.append("closed")


QUERIES = st.lists(st.sampled_from(["a", "b", "cc", "dd", "ee", "bad f", " a "]), max_size=40)


@settings(deadline=None)
@given(QUERIES, st.integers(1, 4))
def test_it_asks_for_what_is_not_among_the_latest(queries: list[str], size: int) -> None:
    async def run() -> tuple[list[str], list[list[float] | None]]:
        embedder = Counting()
        cache = QueryCache(embedder, size)
        got: list[list[float] | None] = []
        for query in queries:
            try:
                got.append(await cache.embed_query(query))
            except errors.EmbeddingUnavailableError:
                got.append(None)
        await cache.aclose()
        return embedder.asked, got

    kept: OrderedDict[str, None] = OrderedDict()
    asked = []
    for query in (q.strip() for q in queries):
        if query in kept:
            kept.move_to_end(query)
            continue
        asked.append(query)
        kept[query] = None
        if len(kept) > size:
            kept.popitem(last=False)
        if query.startswith("bad"):
            del kept[query]
    assert asyncio.run(run()) == (
        asked,
        [None if q.startswith("bad") else [float(len(q.strip())), 0.1] for q in queries],
    )


async def test_one_request_serves_all_that_ask_at_once() -> None:
    with FakeLlm() as fake:
        embedder = make_embedder(embedding_config("openai", model="fake", dimensions=384, base_url=fake.base_url))
        assert embedder is not None
        cache = QueryCache(embedder)
        assert cache.config is embedder.config
        fake.fail(Fault.HANG)
        asking = [asyncio.create_task(cache.embed_query("refund policy")) for _ in range(5)]

        async def arrived() -> bool:
            return bool(fake.asked())

        await until(arrived, "the request arrives")
        asking.pop().cancel()
        fake.recover()
        vectors = await asyncio.gather(*asking)
        assert vectors == [vectors[0]] * 4
        assert await cache.embed_query(" refund policy\n") == vectors[0]
        assert vectors[0] == (await embedder.embed(["refund policy"]))[0]
        assert fake.seen()["texts"] == 2
        await cache.aclose()
        await embedder.aclose()


async def test_a_caller_cannot_change_what_is_kept() -> None:
    cache = QueryCache(Counting())
    (await cache.embed_query("a")).clear()
    assert await cache.embed_query("a") == [1.0, 0.1]


async def test_it_leaves_the_embedder_open() -> None:
    embedder = Counting()
    cache = QueryCache(embedder)
    await cache.aclose()
    with pytest.raises(errors.ClosedError, match="the cache of queries has been closed"):
        await cache.embed_query("a")
    assert embedder.asked == []
