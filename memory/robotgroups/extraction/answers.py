"""What an LLM has answered: a list of strings in JSON, however it is wrapped, made fit to be stored. No I/O."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import Any

from robotgroups.extraction.prompts import MAX_PROPOSITIONS, MAX_TAGS
from robotgroups.refusals import MalformedAnswerError
from robotgroups.tags import MAX_LEVELS, MAX_TAG_CHARACTERS, SEPARATOR, matches

MAX_PROPOSITION_CHARACTERS = 2000
# How many places of an answer are tried as the beginning of its JSON.
_MAX_STARTS = 50

_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_HYPHENS = re.compile(r"-+")
_BULLET = re.compile(r"^(?:[-*•]|\d{1,3}[.)])\s+")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class Ending(Enum):
    """How an LLM came to the end of its answer."""

    DONE = auto()
    CUT = auto()
    DECLINED = auto()


def read_message(answer: Any) -> tuple[str, Ending]:
    """The text of a chat completion, and how it ended.

    Raises:
        MalformedAnswerError: it is no chat completion.

    """
    try:
        choice = answer["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (AttributeError, IndexError, KeyError, TypeError):
        raise MalformedAnswerError("it has no message at `choices[0]`") from None
    if isinstance(content, list):  # parts, as some endpoints answer
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if content is not None and not isinstance(content, str):
        raise MalformedAnswerError("its message is no text")
    if refusal or finish == "content_filter":
        return "", Ending.DECLINED
    return content or "", Ending.CUT if finish == "length" else Ending.DONE


def read_list(content: str, field: str) -> list[str]:
    """The strings of ``{field: [...]}`` in an LLM's answer. A bare list, fences, thoughts and talk around it pass.

    Raises:
        MalformedAnswerError: there is no such list.

    """
    for document in _documents(_THINKING.sub("", content)):
        found = document.get(field) if isinstance(document, dict) else document
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return found
    raise MalformedAnswerError(f"the model gave no JSON with a list of strings `{field}`")


def _documents(text: str) -> Iterator[Any]:
    """Every JSON object or list in a text, from the left; none that is inside of another."""
    decoder = json.JSONDecoder()
    at = 0
    for _ in range(_MAX_STARTS):
        start = min((i for i in (text.find("{", at), text.find("[", at)) if i >= 0), default=-1)
        if start < 0:
            return
        try:
            document, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
        else:
            yield document


def clean_tags(tags: Iterable[str]) -> list[str]:
    """At most 8 tags as the library writes them, each once, without those that only stand above another.

    Lower case; letters, digits, ``.``, ``+``, ``#`` and ``-`` in a level, whatever else is a hyphen; at most 5 levels.
    """
    made = dict.fromkeys(tag for tag in map(_tag, tags) if tag and len(tag) <= MAX_TAG_CHARACTERS)
    fittest = [tag for tag in made if not any(other != tag and matches(other, tag) for other in made)]
    return fittest[:MAX_TAGS]


def _tag(tag: str) -> str:
    levels = (_level(level) for level in tag.split(SEPARATOR))
    return SEPARATOR.join([level for level in levels if level][:MAX_LEVELS])


def _level(level: str) -> str:
    text = unicodedata.normalize("NFC", level.lower())
    kept = (c if c.isalnum() or c in ".+#" or unicodedata.category(c).startswith("M") else "-" for c in text)
    return _HYPHENS.sub("-", "".join(kept)).lstrip("-.+#").rstrip("-.")


def clean_propositions(propositions: Iterable[str]) -> list[str]:
    """At most 64 statements of at most 2,000 characters, each once, with single spaces and without bullets."""
    made: dict[str, str] = {}
    for proposition in propositions:
        text = _BULLET.sub("", " ".join(proposition.split()))
        if text and len(text) <= MAX_PROPOSITION_CHARACTERS and not _UNSTORABLE.search(text):
            made.setdefault(text.casefold(), text)
    return list(made.values())[:MAX_PROPOSITIONS]
