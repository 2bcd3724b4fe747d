"""Documents: headings, code, long sections; every word is kept, no chunk is too long."""

import itertools
import re
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from robotgroups import tokens
from robotgroups.errors import ArgumentError, InvalidFileError, MissingFeatureError
from robotgroups.limits import MAX_CONTENT_BYTES
from robotgroups.loading import Document, document, parse_document


def words(text: str) -> int:
    return len(text.split())


def parse(text: str, max_tokens: int = 1000) -> Document:
    return parse_document(text, max_tokens=max_tokens, count=words)


def texts(parsed: Document) -> list[tuple[tuple[str, ...], str]]:
    return [(chunk.heading_path, chunk.text) for chunk in parsed.chunks]


def test_each_heading_is_a_chunk_that_knows_its_path() -> None:
    parsed = parse(
        "before\n\n# A\n\ntext of a\n\n## B\n\ntext of b\n\n### C\ntext of c\n## D\ntext of d\n# E\n\ntext of e\n"
    )
    assert texts(parsed) == [
        ((), "before"),
        (("A",), "# A\n\ntext of a"),
        (("A", "B"), "## B\n\ntext of b"),
        (("A", "B", "C"), "### C\ntext of c"),
        (("A", "D"), "## D\ntext of d"),
        (("E",), "# E\n\ntext of e"),
    ]
    assert [(c.position, c.line) for c in parsed.chunks] == [(0, 1), (1, 3), (2, 7), (3, 11), (4, 13), (5, 15)]
    assert [c.tokens for c in parsed.chunks] == [1, 5, 5, 5, 5, 5]
    assert (
        parsed.chunks[0].content_hash == "9ba82af2a73e0ac9e4bc5b8c5d3e8a3a" or len(parsed.chunks[0].content_hash) == 64
    )


def test_the_hash_is_that_of_the_memory() -> None:
    """SHA-256 of "abc", FIPS 180-2's example."""
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert parse("abc").chunks[0].content_hash == expected
    assert parse("abc").content_hash == expected


def test_front_matter_gives_tags_metadata_and_title() -> None:
    parsed = parse("---\ntitle: T\ntags: [a:b]\nauthor: me\n---\n# H\n\ntext")
    assert (parsed.tags, parsed.metadata, parsed.title) == (("a:b",), {"title": "T", "author": "me"}, "T")
    assert parsed.front_matter == {"title": "T", "tags": ["a:b"], "author": "me"}
    assert texts(parsed) == [(("H",), "# H\n\ntext")]
    assert parsed.chunks[0].line == 6


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# First\n\n# Second", "First"),
        ("## Second level\n\ntext\n\n# Later", "Later"),
        ("---\ntitle: 7\n---\n# H", "H"),
        ("text", None),
        ("## Only second", None),
    ],
)
def test_the_title_is_else_the_first_heading(text: str, title: str | None) -> None:
    assert parse(text).title == title


@pytest.mark.parametrize(
    "text",
    [
        "```python\n# comment\n## another\n```",
        "~~~\n# comment\n```\n# more\n~~~",
        "````md\n```\n# deep\n```\n````",
        "```\n# never closed",
        "text\n\n    # indented code",
        "> # quoted",
        "- # in a list\n\n  # still there",
        "<div>\n# html\n</div>",
        "#no space",
        "\\# escaped",
        "####### seven",
    ],
)
def test_no_heading_begins_in_these(text: str) -> None:
    assert texts(parse(f"# H\n\n{text}\n")) == [(("H",), f"# H\n\n{text}")]


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("## Sub `code` *em* **strong** [link](http://x) ##", "Sub code em strong link"),
        ("Setext\n======", "Setext"),
        ("Two\nlines\n---", "Two lines"),
        ("# List<T> &amp; \\* ![picture](x.png)", "List<T> & * picture"),
        ("#", ""),
        ("   ### three in  ", "three in"),
    ],
)
def test_the_path_is_plain_text(heading: str, title: str) -> None:
    (chunk,) = parse(f"{heading}\n\ntext").chunks
    assert chunk.heading_path == (title,)
    assert chunk.text == f"{heading}\n\ntext"


def test_a_heading_alone_is_a_chunk_unless_others_stand_below() -> None:
    parsed = parse("# A\n\n## B\n\n## C\n\ntext\n\n# D\n")
    assert texts(parsed) == [(("A", "B"), "## B"), (("A", "C"), "## C\n\ntext"), (("D",), "# D")]


@pytest.mark.parametrize("text", ["", "\n \n", "---\na: 1\n---\n", "\ufeff"])
def test_nothing_is_no_chunk(text: str) -> None:
    assert parse(text).chunks == ()


def test_links_definitions_and_comments_stay() -> None:
    text = "[a]: http://a\n\n# H\n\nsee [a] and [b]\n\n[b]: http://b\n\n<!-- note -->"
    assert texts(parse(text)) == [((), "[a]: http://a"), (("H",), text.partition("\n\n")[2])]
    assert texts(parse("\n \n[a]: http://a\n\n# H")) == [((), "[a]: http://a"), (("H",), "# H")]
    assert texts(parse("[a]: http://a")) == [((), "[a]: http://a")]


def test_line_ends_and_marks_make_no_difference() -> None:
    text = "---\na: 1\n---\n# H\n\ntext\n\n```\ncode\n```\n"
    for other in (text.replace("\n", "\r\n"), text.replace("\n", "\r"), "\ufeff" + text):
        assert parse(other).chunks == parse(text).chunks
        assert parse(other).metadata == {"a": 1}


def test_other_line_separators_are_text() -> None:
    parsed = parse("# A\n\nfirst\u2028second\x0bthird\x0cfourth\n\n# B")
    assert [(c.heading_path, c.line) for c in parsed.chunks] == [(("A",), 1), (("B",), 5)]


# -- long sections ---------------------------------------------------------------------------------------------------


def paragraphs(count: int, size: int = 5) -> list[str]:
    return [" ".join(f"p{n}w{w}" for w in range(size)) for n in range(count)]


def test_a_long_section_is_cut_between_paragraphs() -> None:
    parts = paragraphs(40)
    parsed = parse("# H\n\n" + "\n\n".join(parts), max_tokens=20)
    assert len(parsed.chunks) > 10
    assert all(10 <= c.tokens <= 20 for c in parsed.chunks[:-1])
    assert parsed.chunks[0].text.startswith("# H\n\np0w0")
    assert "\n\n".join(c.text for c in parsed.chunks) == "# H\n\n" + "\n\n".join(parts)
    assert all(c.heading_path == ("H",) for c in parsed.chunks)
    lines = ("# H\n\n" + "\n\n".join(parts)).split("\n")
    assert all(lines[c.line - 1] == c.text.split("\n")[0] for c in parsed.chunks)


def test_a_long_paragraph_is_cut_between_sentences_then_words() -> None:
    sentence = "One two three four five six seven eight nine ten."
    parsed = parse(" ".join([sentence] * 5), max_tokens=16)
    assert [c.text for c in parsed.chunks] == [sentence] * 5
    parsed = parse(" ".join(f"w{n}" for n in range(40)), max_tokens=16)
    assert [c.tokens for c in parsed.chunks] == [16, 16, 8]


def test_a_heading_stays_with_what_follows() -> None:
    parsed = parse("## Long one\n\n" + " ".join(f"w{n}" for n in range(40)), max_tokens=16)
    assert parsed.chunks[0].text == "## Long one\n\n" + " ".join(f"w{n}" for n in range(13))
    assert " ".join(c.text for c in parsed.chunks[1:]) == " ".join(f"w{n}" for n in range(13, 40))


def test_a_long_fence_is_cut_at_lines_and_each_part_is_fenced() -> None:
    code = [f"    step {n} # not a heading" for n in range(20)]
    parsed = parse("# H\n\n```python\n" + "\n".join(code) + "\n```\n\nafter", max_tokens=20)
    inner = []
    for chunk in parsed.chunks[:-1]:
        body = chunk.text.removeprefix("# H\n\n").split("\n")
        assert (body[0], body[-1]) == ("```python", "```")
        assert chunk.tokens <= 20
        inner += body[1:-1]
    assert inner == code
    assert parsed.chunks[-1].text == "after"
    assert [c.line for c in parsed.chunks[:2]] == [1, 4 + parsed.chunks[0].text.count("step")]


def test_a_fence_with_much_to_say_of_itself_is_cut_as_text() -> None:
    info = " ".join(f"i{n}" for n in range(12))
    code = [f"line {n}" for n in range(10)]
    parsed = parse(f"~~~ {info}\n" + "\n".join(code) + "\n~~~", max_tokens=16)
    assert " ".join(c.text for c in parsed.chunks).split() == ["~~~", *info.split(), *" ".join(code).split(), "~~~"]
    assert all(c.tokens <= 16 for c in parsed.chunks)


def test_what_follows_a_long_fence_is_kept() -> None:
    code = "\n".join(f"line {n}" for n in range(20))
    parsed = parse(f"```\n{code}\n```\n[a]: http://a\n\n# H", max_tokens=16)
    assert [c.text for c in parsed.chunks[-2:]] == ["[a]: http://a", "# H"]
    assert [c.line for c in parsed.chunks[-2:]] == [23, 25]


def test_a_long_heading_is_cut_too() -> None:
    heading = "# " + " ".join(f"h{n}" for n in range(14))
    text = " ".join(f"w{n}" for n in range(20))
    assert [c.text for c in parse(f"{heading}\n\n{text}", max_tokens=16).chunks] == [
        heading,
        " ".join(f"w{n}" for n in range(16)),
        " ".join(f"w{n}" for n in range(16, 20)),
    ]


def test_sizes_that_are_no_sum_are_kept_within_the_limit() -> None:
    """Counts that leap when texts are joined, or fall as they grow, as a tokenizer's may by a little."""

    def leaps(text: str) -> int:
        return len(text.split()) + 3 * (len(text.split()) > 9)

    def leaps_after_headings(text: str) -> int:
        return len(text.split()) + 3 * ("#" in text and len(text.split()) > 9)

    def falls(text: str) -> int:
        return len(text.split()) + 8 * (len(text.split()) % 5 == 4)

    for size in (5, 9, 40):
        text = "# H\n\n" + "\n\n".join(" ".join(f"w{n}" for n in range(at, at + size)) for at in range(0, 200, size))
        for count in (leaps, leaps_after_headings, falls):
            for max_tokens in (16, 17, 20, 25, 40):
                parsed = parse_document(text, max_tokens=max_tokens, count=count)
                assert all(c.tokens <= max_tokens for c in parsed.chunks)
                assert " ".join(c.text for c in parsed.chunks).split() == text.split()


@pytest.mark.parametrize("max_tokens", range(16, 24))
def test_emoji_of_many_characters_are_no_exception(max_tokens: int) -> None:
    """The splitter alone made parts of 19 tokens of a limit of 18 here."""
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
    text = "``````py\n" + f"{family} `x`\n{family} -\n{family}{family}\n" * 5 + "``````"
    parsed = parse_document(text, max_tokens=max_tokens, count=tokens.count)
    assert all(c.tokens == tokens.count(c.text) <= max_tokens for c in parsed.chunks)
    assert sum(c.text.count("\U0001f467") for c in parsed.chunks) == 20


def test_a_text_longer_than_the_splitters_window_is_cut_all_the_same() -> None:
    text = " ".join(f"word{n}" for n in range(3000))
    parsed = parse(text, max_tokens=16)
    assert len(text) > 16 * 256 * 4
    assert " ".join(c.text for c in parsed.chunks) == text
    assert {c.tokens for c in parsed.chunks[:-1]} == {16}


def test_bytes_are_limited_too() -> None:
    parsed = parse_document("# H\n\n" + "ü" * 300_000 + "\n\n" + "y" * 300_000, max_tokens=50, count=lambda _: 1)
    assert len(parsed.chunks) >= 4
    assert all(len(c.text.encode()) <= MAX_CONTENT_BYTES for c in parsed.chunks)
    assert sum(c.text.count("ü") for c in parsed.chunks) == 300_000


word = st.sampled_from(["w", "é漢", "😀", "`w`", "*w*", "1.", "-", "#", ">", "|", "w.", "<w>", "=="])
line = st.lists(word, min_size=1, max_size=8).map(" ".join)
code = st.lists(line, min_size=1, max_size=12).map(lambda made: "```\n" + "\n".join(made).replace("`", "'") + "\n```")
heading = st.tuples(st.integers(1, 4), st.sampled_from(["w", "w w"])).map(lambda made: f"{'#' * made[0]} {made[1]}")
items = st.lists(line, min_size=1, max_size=5).map(lambda made: "\n".join(f"- {item}" for item in made))
blocks = st.lists(line, min_size=1, max_size=6).map("\n".join) | code | heading | items
markdown = st.lists(blocks, max_size=10).map("\n\n".join)


def numbered(text: str) -> str:
    """The text with each of its words made another."""
    numbers = itertools.count()
    return re.sub("w", lambda _: f"w{next(numbers)}", text)


@settings(max_examples=200, deadline=None)
@given(markdown.map(numbered), st.integers(16, 60))
@example(numbered("w\n\n# w w\n\n```\nw w w w w 'w' w w\n```"), 16)  # once cut within w9
def test_no_chunk_is_too_long_and_no_word_is_lost(text: str, max_tokens: int) -> None:
    parsed = parse_document(text, max_tokens=max_tokens, count=tokens.count)
    assert parsed == parse_document(text, max_tokens=max_tokens, count=tokens.count)
    for chunk in parsed.chunks:
        assert chunk.tokens == tokens.count(chunk.text) <= max_tokens
        assert chunk.text.strip()
        begins = chunk.text.split("\n")[0]
        assert begins.strip() in text.split("\n")[chunk.line - 1] or begins == "```"
    assert [c.position for c in parsed.chunks] == list(range(len(parsed.chunks)))
    assert [c.line for c in parsed.chunks] == sorted(c.line for c in parsed.chunks)
    words_there = re.findall(r"w\d+", text)
    kept = re.findall(r"w\d+", "\n".join(c.text for c in parsed.chunks))
    in_paths = {w for c in parsed.chunks for title in c.heading_path for w in re.findall(r"w\d+", title)}
    assert [w for w in words_there if w in set(kept)] == kept, "each once, in order"
    assert set(words_there) == set(kept) | in_paths


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=400), st.integers(16, 40))
@example("\x0c", 16)
@example("\x0c\n\n" + "word " * 30, 16)
def test_any_text_is_taken(text: str, max_tokens: int) -> None:
    parsed = parse_document("\n" + text, max_tokens=max_tokens, count=tokens.count)  # so that it is no front matter
    assert all(c.tokens <= max_tokens for c in parsed.chunks)
    assert bool(parsed.chunks) == bool(text.strip())


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\x00b", "the file holds a NUL character at character 1"),
        ("ab\ud800", "the file holds a lone surrogate at character 2"),
        ("---\na: [\n---", "the front matter is no YAML, line 2"),
    ],
)
def test_what_cannot_be_loaded_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidFileError, match=f"^{message}"):
        parse(text)


def test_too_small_chunks_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^max_tokens must be at least 16, not 15$"):
        parse("x", max_tokens=15)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_PACKAGES", ("markdown_it", "no_such_package"))
    with pytest.raises(MissingFeatureError, match=r"no_such_package: pip install 'robotgroups\[files\]'"):
        parse("x")


def test_nothing_of_it_is_imported_before_it_is_used() -> None:
    code = "import sys, robotgroups.loading; sys.exit(any(m in sys.modules for m in ('markdown_it', 'yaml')))"
    subprocess.run([sys.executable, "-c", code], check=True)
