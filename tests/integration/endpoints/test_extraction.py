"""Extraction by a chat endpoint, over HTTP: what is asked, and what becomes of what comes back."""

from collections.abc import Callable

import pytest
from fake_llm import FakeLlm, Fault

from robotgroups import errors
from robotgroups.errors import ModelFailure
from robotgroups.extraction import extraction_config, make_extractor
from robotgroups.extraction.extractor import ChatExtractor

from .conftest import KEY

MakeExtractor = Callable[..., ChatExtractor]
CHAT = "/v1/chat/completions"
NOTE = "Postgres keeps the memory. Postgres replicates it, says Ada. Robots read the memory."


async def test_tags_and_propositions_come_back(fake: FakeLlm, extractor: MakeExtractor) -> None:
    made = extractor(propositions=True)
    assert await made.tags(NOTE) == ["topic:postgres", "topic:memory", "topic:keeps"]
    assert await made.propositions(NOTE) == [
        "Postgres keeps the memory.",
        "Postgres replicates it, says Ada.",
        "Robots read the memory.",
    ]
    tags, propositions = fake.asked(CHAT)
    assert tags.authorization == f"Bearer {KEY}"
    assert tags.body["model"] == "fake"
    assert tags.body["temperature"] == 0
    assert tags.body["response_format"]["json_schema"]["schema"]["required"] == ["tags"]
    assert propositions.body["response_format"]["json_schema"]["schema"]["required"] == ["propositions"]
    assert [message["role"] for message in tags.body["messages"]] == ["system", "user"]
    assert tags.body["messages"][1]["content"] == NOTE


async def test_the_public_constructor_makes_the_same(fake: FakeLlm) -> None:
    config = extraction_config("openai", model="fake", base_url=fake.base_url, tags=True)
    made = make_extractor(config, KEY)
    assert made is not None
    assert made.config is config
    assert await made.tags("PostgreSQL, always PostgreSQL") == ["topic:postgresql", "topic:always"]
    await made.aclose()


async def test_tags_in_use_are_told_but_not_too_many(fake: FakeLlm, extractor: MakeExtractor) -> None:
    await extractor().tags(NOTE, known=["database:postgresql", "two\nlines", *(f"tag{i}" for i in range(200))])
    prompt = fake.asked(CHAT)[0].body["messages"][0]["content"]
    assert prompt.splitlines()[-100:][:2] == ["database:postgresql", "two lines"]
    assert prompt.endswith("\ntag97")


async def test_what_the_model_says_is_cleaned(fake: FakeLlm, extractor: MakeExtractor) -> None:
    fake.says = [
        'Sure!\n```json\n{"tags": ["Database:PostgreSQL", "database", " #AI / ML ", "", "x:y:z:u:v:w"]}\n```',
        '{"propositions": ["- Ada said so.", "Ada said so.", "  "]}',
        '{"tags": []}',
    ]
    made = extractor()
    assert await made.tags("a") == ["database:postgresql", "ai-ml", "x:y:z:u:v"]
    assert await made.propositions("a") == ["Ada said so."]
    assert await made.tags("a") == []


async def test_a_blank_text_costs_nothing(fake: FakeLlm, extractor: MakeExtractor) -> None:
    assert await extractor().tags(" \n") == []
    assert await extractor().propositions("") == []
    assert fake.requests == []


@pytest.mark.parametrize(
    ("refuses", "ways"),
    [
        (set[str](), [("json_schema", 0)]),
        ({"temperature"}, [("json_schema", 0), ("json_schema", None)]),
        ({"json_schema"}, [("json_schema", 0), ("json_schema", None), ("json_object", None)]),
        (
            {"json_schema", "json_object", "temperature"},
            [("json_schema", 0), ("json_schema", None), ("json_object", None), (None, None)],
        ),
    ],
)
async def test_the_strictest_way_that_is_taken_is_kept(
    fake: FakeLlm, extractor: MakeExtractor, refuses: set[str], ways: list[tuple[str | None, int | None]]
) -> None:
    fake.refuses = refuses
    made = extractor()
    assert await made.tags(NOTE) == ["topic:postgres", "topic:memory", "topic:keeps"]
    assert await made.tags(NOTE) == ["topic:postgres", "topic:memory", "topic:keeps"]
    tried = [((s.body.get("response_format") or {}).get("type"), s.body.get("temperature")) for s in fake.asked(CHAT)]
    assert tried == [*ways, ways[-1]]


async def test_nonsense_is_asked_for_again(fake: FakeLlm, extractor: MakeExtractor) -> None:
    fake.says = ["I cannot decide.", '{"tags": "none"}', '{"tags": ["a"]}']
    assert await extractor().tags("text") == ["a"]
    assert len(fake.asked(CHAT)) == 3


async def test_nothing_but_nonsense_may_be_tried_later(fake: FakeLlm, extractor: MakeExtractor) -> None:
    fake.says = ["I cannot decide."] * 3
    with pytest.raises(errors.ExtractionUnavailableError, match="gave no JSON with a list of strings `tags`") as caught:
        await extractor().tags("text")
    assert caught.value.reason is ModelFailure.MALFORMED_ANSWER


@pytest.mark.parametrize(
    ("finish", "reason", "message"),
    [
        ("length", ModelFailure.TOO_LONG, "stopped in the middle of its answer"),
        ("content_filter", ModelFailure.UNUSABLE_TEXT, "declined to answer for this text"),
    ],
)
async def test_an_answer_that_ends_too_early_is_of_its_text(
    fake: FakeLlm, extractor: MakeExtractor, finish: str, reason: ModelFailure, message: str
) -> None:
    fake.finish_reason = finish
    with pytest.raises(errors.ExtractionInputError, match=message) as caught:
        await extractor().propositions(NOTE)
    assert caught.value.reason is reason
    assert len(fake.asked(CHAT)) == 1


async def test_a_text_that_is_refused_is_told_apart_from_wrong_settings(
    fake: FakeLlm, extractor: MakeExtractor
) -> None:
    fake.poison = "arsenic"
    made = extractor()
    with pytest.raises(errors.ExtractionInputError, match=r"answered 400 \(input is invalid\)$"):
        await made.tags("arsenic and lace")
    assert await made.tags(NOTE) == ["topic:postgres", "topic:memory", "topic:keeps"]
    fake.fail(Fault.REFUSED)
    with pytest.raises(errors.ExtractionConfigError, match="It refuses every text"):
        await made.tags(NOTE)


async def test_a_text_too_long_is_told(fake: FakeLlm, extractor: MakeExtractor) -> None:
    fake.max_words = 5
    with pytest.raises(errors.ExtractionInputError, match="too long for the model") as caught:
        await extractor().tags(NOTE)
    assert caught.value.reason is ModelFailure.TOO_LONG


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        (Fault.UNAUTHORIZED, errors.ExtractionConfigError, ModelFailure.UNAUTHORIZED),
        (Fault.RATE_LIMITED, errors.ExtractionUnavailableError, ModelFailure.RATE_LIMITED),
        (Fault.SERVER_ERROR, errors.ExtractionUnavailableError, ModelFailure.SERVER_ERROR),
        (Fault.GARBAGE, errors.ExtractionUnavailableError, ModelFailure.MALFORMED_ANSWER),
    ],
)
async def test_the_endpoints_failures_are_extractions(
    fake: FakeLlm, extractor: MakeExtractor, fault: Fault, kind: type[errors.ModelError], reason: ModelFailure
) -> None:
    fake.fail(fault)
    with pytest.raises(kind, match=r"^the extraction endpoint ") as caught:
        await extractor().tags(NOTE)
    assert caught.value.reason is reason
