"""Front matter: what is one, what it holds, and what is told of a wrong one."""

from typing import Any

import pytest

from robotgroups.errors import InvalidFileError
from robotgroups.loading.frontmatter import NONE, read_front_matter


def lines(text: str) -> list[str]:
    return text.split("\n")


@pytest.mark.parametrize(
    ("text", "values", "tags", "taken"),
    [
        ("---\ntitle: A\n---\ntext", {"title": "A"}, (), 3),
        ("---\ntags: [b, 'a : x', b]\n---", {"tags": ["b", "a : x", "b"]}, ("b", "a:x"), 3),
        ("---\ntags: b, a:x ,\n---", {"tags": "b, a:x ,"}, ("b", "a:x"), 3),
        ("---\ntags: [2024, v1.5, 1.5]\n---", {"tags": [2024, "v1.5", 1.5]}, ("2024", "v1.5", "1.5"), 3),
        ("---\ntags:\n---", {"tags": None}, (), 3),
        (
            "--- \nday: 2026-01-02\nat: 2026-01-02T03:04:05Z\n...\n---",
            {"day": "2026-01-02", "at": "2026-01-02T03:04:05+00:00"},
            (),
            4,
        ),
        ("---\na: {b: [1, null, true]}\n7: x\n---", {"a": {"b": [1, None, True]}, "7": "x"}, (), 4),
        ("---\n# nothing but a comment\n---\n", {}, (), 3),
    ],
)
def test_front_matter_is_read(text: str, values: Any, tags: tuple[str, ...], taken: int) -> None:
    front = read_front_matter(lines(text))
    assert front.values == values
    assert (front.tags, front.lines) == (tags, taken)
    assert front.metadata == {k: v for k, v in front.values.items() if k != "tags"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---",
        "text\n---\na: 1\n---",
        "---\n\na: 1\n---",  # a rule, and text
        "---\na: 1\n",  # never ends
        "----\na: 1\n----",
        "---\njust words\n---",
        "---\n- a\n- list\n---",
        "+++\na = 1\n+++",
    ],
)
def test_what_is_no_front_matter_is_text(text: str) -> None:
    assert read_front_matter(lines(text)) == NONE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---\na: 1\nb: [\n---", "the front matter is no YAML, line 3: expected the node content"),
        ("---\na: 1\nb: c: d\n---", "the front matter is no YAML, line 3: mapping values are not allowed here"),
        ("---\na: 1\nb: 2\na: 3\n---", "the front matter is no YAML, line 4: 'a' stands twice"),
        ("---\n1: x\n'1': y\n---", "the front matter is no YAML, line 3: '1' stands twice"),
        ("---\na: &x [1]\nb: *x\n---", "the front matter is no YAML, line 3: references to anchors are not taken"),
        ("---\na: !!python/object:os.system x\n---", "the front matter is no YAML, line 2: could not determine"),
        ("---\n[a]: x\n---", "the front matter is no YAML, line 2: "),
        ("---\nday: 2026-02-30\n---", "the front matter is no YAML: day"),
        ("---\na: .nan\n---", "front matter.a holds a number that is not finite"),
        ("---\na: !!binary aGVsbG8=\n---", "front matter.a is of type bytes, which is no JSON"),
        ("---\na: !!set {x}\n---", "front matter.a is of type set, which is no JSON"),
        ('---\na: "\\0"\n---', "front matter.a holds a NUL character"),
        (f"---\na: {'[' * 40}{']' * 40}\n---", "front matter is nested deeper than 32 levels"),
        (f"---\na: {'[' * 5000}{']' * 5000}\n---", "the front matter is nested too deep"),
        (f"---\na: {'x' * 70_000}\n---", "the front matter has more than 65536 bytes"),
        ("---\ntags: [a::b]\n---", "tag 'a::b' has a blank level"),
        ("---\ntags: {a: b}\n---", "tags of the front matter must be a list, or a text with commas"),
        ("---\ntags: [[a]]\n---", "tags of the front matter must be a list, or a text with commas"),
        ("---\na: \x07\n---", "the front matter is no YAML: "),
    ],
    ids=range(19),
)
def test_wrong_front_matter_is_refused_by_place(text: str, message: str) -> None:
    with pytest.raises(InvalidFileError) as refused:
        read_front_matter(lines(text))
    assert str(refused.value).startswith(message)


def test_references_that_would_blow_up_are_refused_before_they_do() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30)]
    with pytest.raises(InvalidFileError, match="line 3: references to anchors are not taken"):
        read_front_matter(["---", "l0: &l0 [x]", *levels, "---"])
