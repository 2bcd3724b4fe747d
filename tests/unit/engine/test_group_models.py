"""Which models a group has in a process: made when they are used, anew when settings or keys change."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fake_llm import FakeLlm, Fault, embedding

from robotgroups import group_models
from robotgroups.api_keys import ApiKeys
from robotgroups.embedding import embedding_config
from robotgroups.errors import (
    ArgumentError,
    EmbeddingConfigError,
    EmbeddingUnavailableError,
    MissingFeatureError,
    ModelFailure,
)
from robotgroups.extraction import extraction_config
from robotgroups.group_models import GroupModels, RetiredModelError
from robotgroups.jobs import ModelInUse, Work

NOTHING = Work(None, None, {"provider": "none"}, frozenset())
KEY = "sk-right"


@pytest.fixture
def fake() -> Iterator[FakeLlm]:
    with FakeLlm(dimensions=8, key=KEY) as running:
        yield running


@dataclass
class Settings:
    """What Postgres and the environment say."""

    fake: FakeLlm
    work: Work = NOTHING
    embedding_key: Any = KEY
    extraction_key: Any = KEY
    looked: int = 0

    def __post_init__(self) -> None:
        keys = ApiKeys(lambda: self._told(self.embedding_key), lambda: self._told(self.extraction_key))
        self.models = GroupModels(self._look, keys)

    def model(self, number: int, **changes: Any) -> ModelInUse:
        config = embedding_config("openai", model=f"m{number}", dimensions=8, base_url=self.fake.base_url)
        return ModelInUse(number, {**config.as_json(), **changes})

    def use(self, serving: ModelInUse, target: ModelInUse | None = None) -> None:
        self.work = replace(NOTHING, serving=serving, target=target or serving)

    async def _look(self) -> Work:
        self.looked += 1
        return self.work

    def _told(self, key: Any) -> str | None:
        if isinstance(key, Exception):
            raise key
        return key  # type: ignore[no-any-return]


@pytest.fixture
async def settings(fake: FakeLlm) -> AsyncIterator[Settings]:
    made = Settings(fake)
    yield made
    await made.models.aclose()


async def test_a_query_has_a_vector_under_the_model_that_serves(settings: Settings, fake: FakeLlm) -> None:
    settings.use(settings.model(3), settings.model(4))
    for _ in range(2):
        model, vector = await settings.models.embed_query("water")
        assert model == 3
        assert vector == pytest.approx(embedding("water", 8), abs=1e-6)
    assert [request.body["model"] for request in fake.asked()] == ["m3"]  # the second one was kept
    assert settings.looked == 1


async def test_without_a_provider_nothing_has_a_vector(settings: Settings) -> None:
    with pytest.raises(MissingFeatureError, match="the group has no embedding provider: use the strategy 'fulltext'"):
        await settings.models.embed_query("water")


async def test_what_was_read_long_ago_is_read_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.use(settings.model(3))
    await settings.models.embed_query("water")
    settings.use(settings.model(4))
    assert (await settings.models.embed_query("water"))[0] == 3
    monkeypatch.setattr(group_models, "FRESH_S", -1.0)
    assert (await settings.models.embed_query("water"))[0] == 4


async def test_a_model_is_made_anew_when_its_settings_or_the_key_change_and_only_then(settings: Settings) -> None:
    models, model = settings.models, settings.model(3)
    settings.use(model)
    await models.look()

    async def made() -> object:
        async with models.embedder(3) as embedder:
            return embedder

    first = await made()
    assert await models.look() == (settings.work, False)
    assert await made() is first
    settings.use(settings.model(3, batch_size=7))
    assert (await models.look())[1]
    second = await made()
    assert second is not first
    settings.embedding_key = "sk-other"
    assert (await models.look())[1]
    third = await made()
    assert third is not second
    assert not (await models.look())[1]


async def test_whoever_is_at_work_finishes_with_the_former_model(settings: Settings) -> None:
    settings.use(settings.model(3))
    await settings.models.look()
    async with settings.models.embedder(3) as embedder:
        settings.use(settings.model(4))
        await settings.models.look()
        assert await embedder.embed(["water"]) == [pytest.approx(embedding("water", 8), abs=1e-6)]
        with pytest.raises(RetiredModelError, match="does not use model 3"):
            async with settings.models.embedder(3):
                pass


async def test_a_former_model_at_another_place_keeps_its_key(settings: Settings, fake: FakeLlm) -> None:
    former = settings.model(3)
    settings.use(former)
    await settings.models.embed_query("water")
    with FakeLlm(dimensions=8, key="sk-elsewhere") as other:
        target = settings.model(4, base_url=other.base_url)
        settings.use(former, target)
        settings.embedding_key = "sk-elsewhere"
        await settings.models.look()
        assert (await settings.models.embed_query("another query"))[0] == 3
        async with settings.models.embedder(4) as embedder:
            await embedder.embed(["water"])
    # at the same place it is the same account: the new key is for both
    settings.use(former, settings.model(5))
    settings.embedding_key = "sk-third"
    await settings.models.look()
    with pytest.raises(EmbeddingConfigError, match="answered 401"):
        await settings.models.embed_query("a third query")


async def test_without_the_key_of_a_former_model_elsewhere_the_next_one_is_asked(
    settings: Settings, fake: FakeLlm
) -> None:
    with FakeLlm(dimensions=8, key="sk-elsewhere") as other:
        former, target = settings.model(3), settings.model(4, base_url=other.base_url)
        settings.use(former, target)
        settings.embedding_key = "sk-elsewhere"
        for query in ("water", "iron"):
            model, vector = await settings.models.embed_query(query)
            assert model == 4
            assert vector == pytest.approx(embedding(query, 8), abs=1e-6)
        # it was asked once, without any key
        assert [seen.authorization for seen in fake.requests] == [None]
        with pytest.raises(RetiredModelError, match="does not use model 3"):
            async with settings.models.embedder(3):
                pass
        # what the next one answers is what is told
        other.key = "sk-another"
        with pytest.raises(EmbeddingConfigError, match=f"{other.base_url} .* answered 401 .*: check the API key$"):
            await settings.models.embed_query("wood")
        # the settings are put back, and the key is
        settings.use(former)
        settings.embedding_key = KEY
        await settings.models.look()
        assert (await settings.models.embed_query("wood"))[0] == 3
    assert {seen.authorization for seen in other.requests} == {"Bearer sk-elsewhere"}
    assert {seen.authorization for seen in fake.requests} == {None, f"Bearer {KEY}"}


async def test_a_former_model_that_asks_for_no_key_serves_on(settings: Settings, fake: FakeLlm) -> None:
    fake.key = None
    with FakeLlm(dimensions=8, key="sk-elsewhere") as other:
        settings.use(settings.model(3), settings.model(4, base_url=other.base_url))
        settings.embedding_key = "sk-elsewhere"
        assert (await settings.models.embed_query("water"))[0] == 3
    assert [seen.authorization for seen in fake.requests] == [None]


async def test_the_same_key_is_not_sent_to_another_endpoint_that_the_settings_name_later(settings: Settings) -> None:
    settings.use(settings.model(3))
    await settings.models.look()
    with FakeLlm(dimensions=8, key="sk-elsewhere") as other:
        settings.use(settings.model(4, base_url=other.base_url))
        await settings.models.look()
        with pytest.raises(EmbeddingConfigError, match="has a key for another endpoint, and sends it nowhere else"):
            await settings.models.embed_query("water")
        assert {seen.authorization for seen in other.requests} == {None}
        settings.embedding_key = "sk-elsewhere"
        assert (await settings.models.look())[1]
        assert (await settings.models.embed_query("water"))[0] == 4


async def test_a_key_that_cannot_be_read_is_told_to_who_needs_it(settings: Settings) -> None:
    settings.embedding_key = ArgumentError("no such file")
    settings.use(settings.model(3))
    assert (await settings.models.look())[0] == settings.work
    with pytest.raises(ArgumentError, match="no such file"):
        await settings.models.embed_query("water")
    assert not (await settings.models.look())[1]
    settings.embedding_key = KEY
    assert (await settings.models.look())[1]
    assert (await settings.models.embed_query("water"))[0] == 3


async def test_settings_of_a_later_release_are_told_and_hold_nothing_else_up(settings: Settings) -> None:
    settings.work = replace(
        NOTHING,
        serving=settings.model(3, later=True),
        target=settings.model(3, later=True),
        extraction=extraction_config("openai", model="c", base_url=settings.fake.base_url, tags=True).as_json(),
    )
    await settings.models.look()
    with pytest.raises(ArgumentError, match=r"unknown field embedding\.later"):
        await settings.models.embed_query("water")
    async with settings.models.extractor() as extractor:
        assert await extractor.tags("PostgreSQL stores") == ["topic:postgresql", "topic:stores"]


async def test_an_extractor_is_made_anew_when_its_settings_change(settings: Settings) -> None:
    with pytest.raises(MissingFeatureError, match="no extraction provider"):
        async with settings.models.extractor():
            pass
    made = []
    for timeout_s in (5.0, 5.0, 6.0):
        config = extraction_config("openai", model="c", base_url=settings.fake.base_url, tags=True, timeout_s=timeout_s)
        settings.work = replace(NOTHING, extraction=config.as_json())
        await settings.models.look()
        async with settings.models.extractor() as extractor:
            made.append(extractor)
    assert made[0] is made[1]
    assert made[1] is not made[2]


async def test_nothing_is_used_after_the_end(settings: Settings) -> None:
    settings.use(settings.model(3))
    await settings.models.look()
    async with settings.models.embedder(3) as embedder:
        await settings.models.aclose()
        await embedder.embed(["water"])  # it finishes
    with pytest.raises(RuntimeError, match="the client has been closed"):
        await embedder.embed(["iron"])


async def test_a_query_waits_no_longer_than_the_models_time_limit_for_all_tries(settings: Settings) -> None:
    settings.use(settings.model(1, timeout_s=0.3))
    settings.fake.fail(Fault.HANG)
    with pytest.raises(EmbeddingUnavailableError, match=r"the query was not embedded within 0\.3 s") as refused:
        await settings.models.embed_query("snow")
    assert refused.value.reason is ModelFailure.TIMEOUT
    assert len(settings.fake.requests) == 1
    settings.fake.recover()
    assert (await settings.models.embed_query("snow"))[0] == 1
