"""Embedding by an OpenAI-compatible endpoint, over HTTP: what is sent, what is taken back, every way it can fail."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable

import pytest
from fake_llm import Dimensions, FakeLlm, Fault, embedding
from robot_process import free_port, until

from robotgroups import errors
from robotgroups.breaker import Breaker
from robotgroups.embedding import embedding_config, make_embedder
from robotgroups.embedding.openai import OpenAIEmbedder
from robotgroups.errors import ModelFailure

from .conftest import KEY

MakeEmbedder = Callable[..., OpenAIEmbedder]
TEXTS = ["one text", "another text", "a third one"]


def close(a: list[float], b: list[float]) -> bool:
    return math.dist(a, b) < 1e-6


async def test_texts_become_vectors_in_their_order(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    vectors = await embedder().embed(TEXTS)
    assert [close(v, embedding(t, 32)) for v, t in zip(vectors, TEXTS, strict=True)] == [True] * 3
    (seen,) = fake.asked()
    assert seen.authorization == f"Bearer {KEY}"
    assert seen.body == {"model": "fake", "input": TEXTS, "encoding_format": "base64"}


async def test_the_public_constructor_makes_the_same(fake: FakeLlm) -> None:
    config = embedding_config("openai", model="fake", dimensions=32, base_url=fake.base_url)
    made = make_embedder(config, f"  {KEY}\n")
    assert made is not None
    assert made.config is config
    assert close((await made.embed(["a text"]))[0], embedding("a text", 32))
    await made.aclose()
    await made.aclose()


async def test_no_key_is_no_header(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.key = None
    assert len(await embedder(key=None).embed(["a"])) == 1
    assert fake.asked()[0].authorization is None


async def test_batches_are_no_larger_than_configured(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    texts = [f"text {i}" for i in range(10)]
    vectors = await embedder(batch_size=4).embed(texts)
    assert [seen.texts for seen in fake.asked()] == [texts[:4], texts[4:8], texts[8:]]
    assert all(close(v, embedding(t, 32)) for v, t in zip(vectors, texts, strict=True))
    assert await embedder().embed([]) == []
    assert len(fake.asked()) == 3


async def test_a_request_carries_no_more_tokens_than_openai_takes(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    long = "word " * 8000  # 8,191 of its tokens are counted at most
    await embedder().embed([long] * 30)
    assert [len(seen.texts) for seen in fake.asked()] == [24, 6]


@pytest.mark.parametrize("fault", [None, Fault.SHUFFLED])
@pytest.mark.parametrize("knows_base64", [True, False])
async def test_whatever_way_they_come_they_are_the_same(
    fake: FakeLlm, embedder: MakeEmbedder, fault: Fault | None, knows_base64: bool
) -> None:
    fake.knows_base64 = knows_base64
    if fault:
        fake.fail(fault)
    vectors = await embedder().embed(TEXTS)
    assert [close(v, embedding(t, 32)) for v, t in zip(vectors, TEXTS, strict=True)] == [True] * 3


# -- dimensions ------------------------------------------------------------------------------------------------------


async def test_dimensions_are_sent_only_once_the_vectors_come_longer(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    made = embedder(dimensions=8)
    first = await made.embed(["one"])
    second = await made.embed(["two"])
    assert [seen.body.get("dimensions") for seen in fake.asked()] == [None, 8, 8]
    assert [len(first[0]), len(second[0])] == [8, 8]
    assert math.hypot(*first[0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("takes", "told"),
    [(Dimensions.REFUSE, "and refuses to shorten them"), (Dimensions.IGNORE, "even when asked for as many")],
)
async def test_a_model_of_other_dimensions_is_told_apart(
    fake: FakeLlm, embedder: MakeEmbedder, takes: Dimensions, told: str
) -> None:
    fake.takes_dimensions = takes
    with pytest.raises(errors.EmbeddingConfigError, match=r"set embedding\.dimensions to 32") as caught:
        await embedder(dimensions=8).embed(["one", "two"])
    assert caught.value.reason is ModelFailure.WRONG_DIMENSIONS
    assert f"gives vectors of 32 dimensions, not the 8 that are configured, {told}" in str(caught.value)
    assert len(fake.asked()) == 2


async def test_more_dimensions_than_the_model_has_are_told(embedder: MakeEmbedder) -> None:
    with pytest.raises(errors.EmbeddingConfigError, match=r"set embedding\.dimensions to 32"):
        await embedder(dimensions=64).embed(["one"])


# -- what passes is tried again --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault.RATE_LIMITED,
        Fault.SERVER_ERROR,
        Fault.DROP,
        Fault.GARBAGE,
        Fault.NO_VECTORS,
        Fault.WRONG_COUNT,
    ],
)
async def test_what_passes_is_tried_again(fake: FakeLlm, embedder: MakeEmbedder, fault: Fault) -> None:
    fake.fail(fault, times=2)
    assert [len(v) for v in await embedder().embed(TEXTS)] == [32] * 3
    assert [seen.texts for seen in fake.asked()] == [TEXTS] * 3


@pytest.mark.parametrize(
    ("fault", "reason", "message"),
    [
        (Fault.RATE_LIMITED, ModelFailure.RATE_LIMITED, "answered 429 (Rate limit reached)"),
        (Fault.SERVER_ERROR, ModelFailure.SERVER_ERROR, "answered 500 (The server had an error)"),
        (Fault.DROP, ModelFailure.UNREACHABLE, "cannot be reached: "),
        (Fault.GARBAGE, ModelFailure.MALFORMED_ANSWER, "it is no JSON; is it an OpenAI-compatible endpoint?"),
        (Fault.NO_VECTORS, ModelFailure.MALFORMED_ANSWER, "it has no list of objects `data`"),
        (Fault.WRONG_COUNT, ModelFailure.MALFORMED_ANSWER, "it has 2 vectors for 3 texts"),
    ],
)
async def test_what_does_not_pass_in_time_may_be_tried_later(
    fake: FakeLlm, embedder: MakeEmbedder, fault: Fault, reason: ModelFailure, message: str
) -> None:
    fake.fail(fault)
    with pytest.raises(errors.EmbeddingUnavailableError) as caught:
        await embedder().embed(TEXTS)
    assert caught.value.reason is reason
    assert str(caught.value).startswith(f"the embedding endpoint {fake.base_url} (model fake) ")
    assert message in str(caught.value)
    assert len(fake.asked()) == 3


async def test_no_quota_is_not_asked_for_again_at_once(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.fail(Fault.QUOTA)
    with pytest.raises(errors.EmbeddingUnavailableError, match="its account has no quota left") as caught:
        await embedder().embed(TEXTS)
    assert caught.value.reason is ModelFailure.QUOTA_EXHAUSTED
    assert len(fake.asked()) == 1


async def test_an_answer_without_end_is_not_read(
    fake: FakeLlm, embedder: MakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robotgroups.endpoint.MAX_ANSWER_BYTES", 1000)
    assert len(await embedder().embed(["a"])) == 1
    with pytest.raises(errors.EmbeddingUnavailableError, match="it is larger than 1000 bytes"):
        await embedder().embed([f"text {i}" for i in range(20)])
    assert fake.seen()["embeddings"] == 4


async def test_nobody_there_is_unreachable(embedder: MakeEmbedder) -> None:
    with pytest.raises(errors.EmbeddingUnavailableError, match="cannot be reached") as caught:
        await embedder(base_url=f"http://127.0.0.1:{free_port()}/v1").embed(["a"])
    assert caught.value.reason is ModelFailure.UNREACHABLE


async def test_an_endpoint_that_hangs_is_given_up(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.fail(Fault.HANG)
    with pytest.raises(errors.EmbeddingUnavailableError, match=r"did not answer within 0\.2 s") as caught:
        await embedder(timeout_s=0.2).embed(["a"])
    assert caught.value.reason is ModelFailure.TIMEOUT
    assert len(fake.asked()) == 3


async def test_retry_after_is_waited_for(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.fail(Fault.RATE_LIMITED, times=1, Retry_After="0.3")
    started = time.monotonic()
    assert len(await embedder().embed(["a"])) == 1
    assert time.monotonic() - started >= 0.3


async def test_a_long_retry_after_is_left_to_the_caller(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.fail(Fault.RATE_LIMITED, Retry_After="90")
    with pytest.raises(errors.EmbeddingUnavailableError) as caught:
        await embedder().embed(["a"])
    assert caught.value.retry_after == 90.0
    assert len(fake.asked()) == 1


async def test_a_call_can_be_cancelled(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.fail(Fault.HANG)
    made = embedder()
    call = asyncio.create_task(made.embed(["a"]))

    async def arrived() -> bool:
        return bool(fake.asked())

    await until(arrived, "the request arrives")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    fake.recover()
    assert len(await made.embed(["a"])) == 1


# -- the circuit breaker ---------------------------------------------------------------------------------------------


async def test_an_endpoint_that_keeps_failing_is_left_alone(
    fake: FakeLlm, embedder: MakeEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    made = embedder(breaker=Breaker(threshold=4, pause_s=60.0))
    fake.fail(Fault.SERVER_ERROR)
    reasons = []
    with caplog.at_level(logging.WARNING, "robotgroups"):
        for _ in range(4):
            with pytest.raises(errors.EmbeddingUnavailableError) as caught:
                await made.embed(["a"])
            reasons.append(caught.value.reason)
    assert reasons == [ModelFailure.SERVER_ERROR] + [ModelFailure.CIRCUIT_OPEN] * 3
    assert len(fake.asked()) == 4
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 60.0
    assert [r.message for r in caplog.records] == [
        f"the embedding endpoint {fake.base_url} is left alone for a while: server_error"
    ]


async def test_after_the_pause_it_is_tried_and_used_again(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    made = embedder(breaker=Breaker(threshold=3, pause_s=0.2))
    fake.fail(Fault.SERVER_ERROR)
    with pytest.raises(errors.EmbeddingUnavailableError):
        await made.embed(["a"])
    fake.recover()

    async def embedded() -> bool:
        with contextlib.suppress(errors.EmbeddingUnavailableError):
            return bool(await made.embed(["a"]))
        return False

    await until(embedded, "the circuit closes")
    assert len(await made.embed(["b"])) == 1


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.UNAUTHORIZED, Fault.REFUSED, Fault.GARBAGE])
async def test_whoever_answers_is_there(fake: FakeLlm, embedder: MakeEmbedder, fault: Fault) -> None:
    made = embedder(breaker=Breaker(threshold=1, pause_s=60.0))
    fake.fail(fault)
    with pytest.raises(errors.EmbeddingError):
        await made.embed(["a"])
    fake.recover()
    assert len(await made.embed(["a"])) == 1


# -- what does not pass ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason", "advice"),
    [
        (Fault.UNAUTHORIZED, ModelFailure.UNAUTHORIZED, "check the API key"),
        (Fault.NOT_FOUND, ModelFailure.NOT_FOUND, "check the base URL and the model's name"),
    ],
)
async def test_wrong_settings_are_told_at_once(
    fake: FakeLlm, embedder: MakeEmbedder, fault: Fault, reason: ModelFailure, advice: str
) -> None:
    fake.fail(fault)
    with pytest.raises(errors.EmbeddingConfigError, match=advice) as caught:
        await embedder().embed_each(TEXTS)
    assert caught.value.reason is reason
    assert len(fake.asked()) == 1


async def test_a_wrong_path_is_told(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    with pytest.raises(errors.EmbeddingConfigError, match=r"answered 404 \(no such path"):
        await embedder(base_url=fake.base_url + "/v2").embed(["a"])


async def test_an_endpoint_that_refuses_every_text_is_set_up_wrong(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.fail(Fault.REFUSED)
    with pytest.raises(errors.EmbeddingConfigError, match=r"Invalid value for 'input'\)\. It refuses every text"):
        await embedder().embed_each(["a"])
    assert [seen.texts for seen in fake.asked()] == [["a"], ["probe"]]


async def test_the_key_is_in_no_error(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.key = "another"
    with pytest.raises(errors.EmbeddingConfigError, match=r"Incorrect API key provided: Bearer \*\*\*") as caught:
        await embedder().embed(["a"])
    assert KEY not in repr(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize("key", ["två nycklar ö", "line\nbreak", "tab\tkey"])
async def test_a_key_that_no_header_can_carry_is_refused_unseen(fake: FakeLlm, key: str) -> None:
    config = embedding_config("openai", model="fake", dimensions=32, base_url=fake.base_url)
    with pytest.raises(errors.ArgumentError, match="the API key holds characters that no header can carry") as caught:
        make_embedder(config, key)
    assert key not in str(caught.value)


# -- texts that spoil a batch ----------------------------------------------------------------------------------------


async def test_a_text_that_is_refused_spares_the_others(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.poison = "arsenic"
    texts = [f"text {i}" for i in range(16)]
    texts[5], texts[11] = "arsenic one", "arsenic two"
    made = embedder()
    results = await made.embed_each(texts)
    bad = {i: r for i, r in enumerate(results) if isinstance(r, errors.EmbeddingInputError)}
    assert sorted(bad) == [5, 11]
    assert {r.reason for r in bad.values()} == {ModelFailure.REFUSED}
    assert all(close(r, embedding(t, 32)) for r, t in zip(results, texts, strict=True) if isinstance(r, list))
    with pytest.raises(errors.EmbeddingInputError, match=r"answered 400 \(input is invalid\)"):
        await made.embed(texts)


async def test_blank_texts_are_not_sent(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    results = await embedder().embed_each(["", "one", " \t", "half \udfff", "two"])
    assert [type(r).__name__ for r in results] == ["EmbeddingInputError", "list"] + ["EmbeddingInputError"] * 2 + [
        "list"
    ]
    assert [seen.texts for seen in fake.asked()] == [["one", "two"]]


async def test_a_vector_that_is_not_finite_is_an_error_of_its_text(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.fail(Fault.NOT_FINITE)
    with pytest.raises(errors.EmbeddingInputError, match="a vector for this text that is zero or not finite") as caught:
        await embedder().embed(["a"])
    assert caught.value.reason is ModelFailure.UNUSABLE_VECTOR


async def test_smaller_batches_are_sent_to_whom_takes_no_larger_ones(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.max_batch = 3
    made = embedder()
    texts = [f"text {i}" for i in range(8)]
    assert all(close(v, embedding(t, 32)) for v, t in zip(await made.embed(texts), texts, strict=True))
    before = len(fake.asked())
    await made.embed(texts)
    assert [len(seen.texts) for seen in fake.asked()[before:]] == [2, 2, 2, 2]


async def test_a_long_text_is_cut(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    text = "word " * 300
    await embedder(max_input_tokens=10).embed([text, "short"])
    assert fake.asked()[0].texts == [("word " * 10).strip(), "short"]


async def test_what_is_too_long_for_the_endpoint_is_told(fake: FakeLlm, embedder: MakeEmbedder) -> None:
    fake.max_words = 20
    text = "word " * 300
    good, long = await embedder(max_input_tokens=0).embed_each(["short", text])
    assert isinstance(good, list)
    assert isinstance(long, errors.EmbeddingInputError)
    assert long.reason is ModelFailure.TOO_LONG
    assert str(long).endswith("(maximum context length is 20 tokens): the text is too long for the model")
    assert fake.asked()[0].texts[1] == text
