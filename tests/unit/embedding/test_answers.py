"""Reading the answers of `/embeddings`, and cutting texts."""

from typing import Any

import pytest
from fake_llm import packed
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups import tokens
from robotgroups.embedding.openai import first_tokens, read_vectors
from robotgroups.refusals import MalformedAnswerError


def answer(*vectors: Any, indexes: list[Any] | None = None) -> dict[str, Any]:
    places = indexes if indexes is not None else list(range(len(vectors)))
    return {"data": [{"index": i, "embedding": v} for i, v in zip(places, vectors, strict=True)]}


def test_lists_and_base64_are_read() -> None:
    assert read_vectors(answer([1, 0.5], packed([0.25, -2.0])), 2) == [[1, 0.5], [0.25, -2.0]]


def test_the_index_orders() -> None:
    assert read_vectors(answer([1.0], [2.0], [3.0], indexes=[2, 0, 1]), 3) == [[2.0], [3.0], [1.0]]


def test_without_indexes_the_order_is_the_answers() -> None:
    assert read_vectors({"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]}, 2) == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "no list of objects `data`"),
        ([], "no list of objects `data`"),
        ({}, "no list of objects `data`"),
        ({"data": {"0": 1}}, "no list of objects `data`"),
        ({"data": [1, 2]}, "no list of objects `data`"),
        (answer([1.0]), "1 vectors for 2 texts"),
        (answer([1.0], [1.0], [1.0]), "3 vectors for 2 texts"),
        (answer([1.0], [1.0], indexes=[0, 0]), "indexes are not 0..1, each once"),
        (answer([1.0], [1.0], indexes=[0, 2]), "indexes are not 0..1, each once"),
        (answer([1.0], [1.0], indexes=[0, "1"]), "indexes are not 0..1, each once"),
        (answer([1.0], [1.0], indexes=[False, True]), "indexes are not 0..1, each once"),
        (answer([1.0], [1.0, 2.0]), "of different lengths, or empty"),
        (answer([], []), "of different lengths, or empty"),
        (answer([1.0], None), "neither base64 nor a list of numbers"),
        (answer([1.0], ["1.0"]), "neither base64 nor a list of numbers"),
        (answer([1.0], [True]), "neither base64 nor a list of numbers"),
        (answer([1.0], "AAAAA"), "no base64 of 32-bit floats"),
        (answer([1.0], "AAA="), "no base64 of 32-bit floats"),
        (answer([1.0], "Grüße"), "no base64 of 32-bit floats"),
    ],
)
def test_what_is_no_answer_is_refused(document: Any, message: str) -> None:
    with pytest.raises(MalformedAnswerError, match=message):
        read_vectors(document, 2)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_base64_gives_what_lists_give(vector: list[float]) -> None:
    assert read_vectors(answer(packed(vector)), 1) == [vector]


@settings(deadline=None)  # the first loads the tokenizer
@given(st.text(max_size=200), st.integers(1, 30))
def test_a_cut_text_is_a_beginning_within_the_limit(text: str, most: int) -> None:
    cut = first_tokens(text, most)
    assert text.startswith(cut)
    assert tokens.count(cut) <= most
    if tokens.count(text) <= most:
        assert cut == text


def test_a_long_text_is_cut_at_the_token() -> None:
    assert first_tokens("one two three four five six seven", 4) == "one two three four"
    assert first_tokens("data " * 20_000, 8191) == ("data " * 8191).rstrip()
    assert first_tokens("データ" * 9000, 8191) == "データ" * 2730 + "デ"  # a token a character
    assert first_tokens("😀" * 10, 3) == "😀"  # two tokens a character: no half of one
