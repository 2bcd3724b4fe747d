"""A fake endpoint on the loopback, and embedders and extractors that talk to it and do not wait long between tries."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fake_llm import FakeLlm

from robotgroups.breaker import Breaker
from robotgroups.embedding import embedding_config
from robotgroups.embedding.openai import OpenAIEmbedder
from robotgroups.endpoint import Endpoint
from robotgroups.extraction import extraction_config
from robotgroups.extraction.extractor import ChatExtractor
from robotgroups.refusals import EMBEDDING, EXTRACTION

KEY = "sk-test-0123456789"


@pytest.fixture
def fake() -> Iterator[FakeLlm]:
    with FakeLlm(dimensions=32, key=KEY) as running:
        yield running


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def embedder(fake: FakeLlm, closing: AsyncExitStack) -> Callable[..., OpenAIEmbedder]:
    def make(key: str | None = KEY, breaker: Breaker | None = None, **settings: Any) -> OpenAIEmbedder:
        settings = {"model": "fake", "dimensions": 32, "base_url": fake.base_url, **settings}
        config = embedding_config("openai", **settings)
        endpoint = Endpoint(
            config.base_url,
            key,
            kinds=EMBEDDING,
            model=config.model,
            timeout_s=config.timeout_s,
            breaker=breaker or Breaker(100),
            first_pause_s=0.001,
        )
        made = OpenAIEmbedder(config, endpoint=endpoint)
        closing.push_async_callback(made.aclose)
        return made

    return make


@pytest.fixture
def extractor(fake: FakeLlm, closing: AsyncExitStack) -> Callable[..., ChatExtractor]:
    def make(key: str | None = KEY, **settings: Any) -> ChatExtractor:
        config = extraction_config("openai", **{"model": "fake", "base_url": fake.base_url, "tags": True, **settings})
        endpoint = Endpoint(
            config.base_url, key, kinds=EXTRACTION, model="fake", timeout_s=config.timeout_s, first_pause_s=0.001
        )
        made = ChatExtractor(config, endpoint=endpoint)
        closing.push_async_callback(made.aclose)
        return made

    return make
