"""What an endpoint's answers mean."""

import json
from datetime import UTC, datetime

import pytest

from robotgroups import errors
from robotgroups.errors import ModelFailure
from robotgroups.refusals import EMBEDDING, EXTRACTION, LONGEST_DETAIL, Remedy, refusal_of, retry_after

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def body(message: str = "", **rest: str) -> bytes:
    return json.dumps({"error": {"message": message, **rest}}).encode()


@pytest.mark.parametrize(
    ("status", "answer", "remedy", "reason"),
    [
        (301, b"", Remedy.SETTINGS, ModelFailure.NOT_FOUND),
        (400, body("invalid input"), Remedy.TEXT, ModelFailure.REFUSED),
        (400, body("no", code="context_length_exceeded"), Remedy.TEXT, ModelFailure.TOO_LONG),
        (400, body("This model's maximum context length is 8192 tokens"), Remedy.TEXT, ModelFailure.TOO_LONG),
        (400, body("the input length exceeds the context length"), Remedy.TEXT, ModelFailure.TOO_LONG),
        (401, body("bad key"), Remedy.SETTINGS, ModelFailure.UNAUTHORIZED),
        (402, body("pay"), Remedy.WAIT, ModelFailure.QUOTA_EXHAUSTED),
        (403, body("no"), Remedy.SETTINGS, ModelFailure.UNAUTHORIZED),
        (404, body("no such model"), Remedy.SETTINGS, ModelFailure.NOT_FOUND),
        (405, b"", Remedy.SETTINGS, ModelFailure.NOT_FOUND),
        (408, b"", Remedy.WAIT, ModelFailure.TIMEOUT),
        (409, b"", Remedy.WAIT, ModelFailure.RATE_LIMITED),
        (413, b"", Remedy.TEXT, ModelFailure.TOO_LONG),
        (422, b'{"detail": [{"msg": "field required"}]}', Remedy.TEXT, ModelFailure.REFUSED),
        (422, b'{"error": "`inputs` must have less than 512 tokens"}', Remedy.TEXT, ModelFailure.TOO_LONG),
        (429, body("slow down"), Remedy.WAIT, ModelFailure.RATE_LIMITED),
        (429, body("no", code="insufficient_quota"), Remedy.WAIT, ModelFailure.QUOTA_EXHAUSTED),
        (500, b"<html>oops</html>", Remedy.WAIT, ModelFailure.SERVER_ERROR),
        (500, body("the input length exceeds the context length"), Remedy.TEXT, ModelFailure.TOO_LONG),
        (500, body("input (600 tokens) is too large to process"), Remedy.TEXT, ModelFailure.TOO_LONG),
        (500, body("no", code="context_length_exceeded"), Remedy.TEXT, ModelFailure.TOO_LONG),
        (500, body("input processing took too long"), Remedy.WAIT, ModelFailure.SERVER_ERROR),
        (503, body("the queue exceeds the limit"), Remedy.WAIT, ModelFailure.SERVER_ERROR),
        (504, body("upstream took too long"), Remedy.WAIT, ModelFailure.SERVER_ERROR),
        (401, body("no", code="context_length_exceeded"), Remedy.SETTINGS, ModelFailure.UNAUTHORIZED),
        (503, b"", Remedy.WAIT, ModelFailure.SERVER_ERROR),
    ],
)
def test_a_status_has_a_reason_and_a_remedy(status: int, answer: bytes, remedy: Remedy, reason: ModelFailure) -> None:
    refusal = refusal_of(status, answer, None)
    assert refusal is not None
    assert (refusal.remedy, refusal.reason) == (remedy, reason)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_success_is_no_refusal(status: int) -> None:
    assert refusal_of(status, b"", None) is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (body("OpenAI's shape", type="x"), "answered 500 (OpenAI's shape)"),
        (b'{"error": "Ollama\'s shape"}', "answered 500 (Ollama's shape)"),
        (b'{"object": "error", "message": "vLLM\'s shape"}', "answered 500 (vLLM's shape)"),
        (b'{"detail": "FastAPI\'s shape"}', "answered 500 (FastAPI's shape)"),
        (b'{"detail": [1]}', "answered 500 ([1])"),
        (b"[1, 2]", "answered 500 ([1, 2])"),
        (b'"text"', "answered 500 (text)"),
        (b"plain\n\n  text", "answered 500 (plain text)"),
        (b"\xff\xfe", "answered 500 (��)"),
        (b'{"error": "a \\ud83d b\\u0000c \\ud83d\\ude00"}', "answered 500 (a � b�c 😀)"),
        (b"nul\0", "answered 500 (nul�)"),
        (b"", "answered 500"),
        (b"x" * 1000, "answered 500 (" + "x" * LONGEST_DETAIL + "…)"),
        (b"[" * 100_000, "answered 500 (" + "[" * LONGEST_DETAIL + "…)"),
    ],
)
def test_the_message_tells_what_the_endpoint_said(answer: bytes, message: str) -> None:
    refusal = refusal_of(500, answer, None)
    assert refusal is not None
    assert refusal.message == message


def test_only_what_passes_says_when_to_come_back() -> None:
    waits = {status: refusal_of(status, b"", 7.0) for status in (429, 503, 401, 400)}
    assert {s: r.retry_after for s, r in waits.items() if r} == {429: 7.0, 503: 7.0, 401: None, 400: None}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "Fri, 01 May 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 01 May 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 01 May 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_a_remedy_has_an_error_of_each_kind() -> None:
    assert [EMBEDDING.of(remedy) for remedy in Remedy] == [
        errors.EmbeddingUnavailableError,
        errors.EmbeddingConfigError,
        errors.EmbeddingInputError,
    ]
    assert [EXTRACTION.of(remedy) for remedy in Remedy] == [
        errors.ExtractionUnavailableError,
        errors.ExtractionConfigError,
        errors.ExtractionInputError,
    ]
