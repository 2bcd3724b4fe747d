"""Reading what LLMs say: lists of strings out of all the ways they are wrapped."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups.extraction.answers import (
    MAX_PROPOSITION_CHARACTERS,
    Ending,
    clean_propositions,
    clean_tags,
    read_list,
    read_message,
)
from robotgroups.refusals import MalformedAnswerError
from robotgroups.tags import check_tags


@pytest.mark.parametrize(
    "content",
    [
        '{"tags": ["a:b", "c"]}',
        '["a:b", "c"]',
        '```json\n{"tags": ["a:b", "c"]}\n```',
        'Here you are:\n```\n{"tags": ["a:b", "c"]}\n```\nAnything else?',
        'Sure! {"tags": ["a:b", "c"]} are the tags.',
        '<think>Perhaps {"tags": ["wrong"]}?</think>{"tags": ["a:b", "c"]}',
        '{"note": "I thought about [1] and {x}"} {"tags": ["a:b", "c"]}',
        'As of [1], {broken: ["no"} but {"tags": ["a:b", "c"], "confidence": 0.9}',
    ],
)
def test_a_list_is_found_however_it_is_wrapped(content: str) -> None:
    assert read_list(content, "tags") == ["a:b", "c"]


def test_an_empty_list_is_an_answer() -> None:
    assert read_list('{"tags": []}', "tags") == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no tags fit",
        "null",
        '"a:b"',
        '{"tags": null}',
        '{"tags": "a:b"}',
        '{"tags": [1, 2]}',
        '{"tags": ["a", {"b": "c"}]}',
        '{"labels": ["a"]}',
        '{"tags": ["a", "b',
        "[" * 5000,
        "{" * 5000,
    ],
)
def test_what_is_no_list_is_malformed(content: str) -> None:
    with pytest.raises(MalformedAnswerError, match=r"^the model gave no JSON with a list of strings `tags`$"):
        read_list(content, "tags")


@given(st.lists(st.text(max_size=20), max_size=8), st.text("abc {}[]\"'\n", max_size=30))
def test_any_list_survives_talk_after_it(strings: list[str], talk: str) -> None:
    assert read_list(json.dumps({"propositions": strings}) + talk, "propositions") == strings


def completion(finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (completion(content="x"), ("x", Ending.DONE)),
        (completion(content=[{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]), ("xy", Ending.DONE)),
        (completion(content=None), ("", Ending.DONE)),
        (completion("length", content="x"), ("x", Ending.CUT)),
        (completion("content_filter", content="x"), ("", Ending.DECLINED)),
        (completion(content=None, refusal="I cannot"), ("", Ending.DECLINED)),
        ({"choices": [{"message": {"content": "x"}}]}, ("x", Ending.DONE)),
    ],
)
def test_a_completion_has_a_text_and_an_ending(answer: Any, read: tuple[str, Ending]) -> None:
    assert read_message(answer) == read


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"choices": []}, {"choices": [None]}, {"choices": [{}]}, {"choices": [{"message": "x"}]}]
)
def test_what_is_no_completion_is_malformed(answer: Any) -> None:
    with pytest.raises(MalformedAnswerError, match="no message"):
        read_message(answer)
    with pytest.raises(MalformedAnswerError, match="its message is no text"):
        read_message(completion(content=5))


@pytest.mark.parametrize(
    ("given_tag", "clean"),
    [
        ("Database:PostgreSQL", "database:postgresql"),
        (" #Machine Learning : Deep_Learning ", "machine-learning:deep-learning"),
        ("programming:C++", "programming:c++"),
        ("programming:c#", "programming:c#"),
        ("runtime:node.js", "runtime:node.js"),
        ("ci/cd", "ci-cd"),
        ("a::b:", "a:b"),
        ("a:b:c:d:e:f:g", "a:b:c:d:e"),
        ("größe:データ", "größe:データ"),
        ("हिन्दी", "हिन्दी"),
        ("it's -- a `tag`!", "it-s-a-tag"),
        ("a\x00b:\ud800", "a-b"),
    ],
)
def test_tags_are_written_one_way(given_tag: str, clean: str) -> None:
    assert clean_tags([given_tag]) == [clean]


@pytest.mark.parametrize("nothing", ["", " ", ":", "---", "!?", "x" * 201, ".", "\x08#", "+#"])
def test_no_tag_is_made_of_nothing(nothing: str) -> None:
    assert clean_tags([nothing]) == []


def test_tags_are_few_and_each_once_and_none_above_another() -> None:
    assert clean_tags(["Database", "database:postgresql", "DATABASE:postgresql", "cache"]) == [
        "database:postgresql",
        "cache",
    ]
    assert clean_tags(["data", "database:sql"]) == ["data", "database:sql"]
    assert clean_tags([f"tag{i}" for i in range(20)]) == [f"tag{i}" for i in range(8)]


@settings(max_examples=1000)
@given(st.lists(st.text(st.one_of(st.characters(), st.sampled_from("aB:#-. +_")), max_size=30), max_size=15))
def test_clean_tags_stay_clean(tags: list[str]) -> None:
    clean = clean_tags(tags)
    assert clean_tags(clean) == clean
    assert check_tags(clean) == tuple(clean)
    assert len(clean) <= 8


def test_propositions_are_single_lines_each_once() -> None:
    assert clean_propositions(
        ["- Ada wrote it.", "1. Ada  wrote\nit.", "ADA WROTE IT.", "", " ", "• Bob\tread it.", "2026 was a year."]
    ) == ["Ada wrote it.", "Bob read it.", "2026 was a year."]


def test_propositions_that_cannot_be_stored_are_left_out() -> None:
    longest = "x" * MAX_PROPOSITION_CHARACTERS
    assert clean_propositions(["a\x00b", "half \ud800", longest, longest + "x"]) == [longest]
    assert len(clean_propositions(f"Fact {i}." for i in range(100))) == 64
