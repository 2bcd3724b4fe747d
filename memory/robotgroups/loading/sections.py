"""A Markdown text as sections, one for each heading, by markdown-it-py (CommonMark and tables)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, paragraph, list, code block ...: the lines from ``start`` up to ``end``, where the next one starts.

    ``level`` and ``title`` (plain text) are a heading's, 1-6; 0 and "" of any other.
    """

    start: int
    end: int
    level: int = 0
    title: str = ""
    fenced: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, its first block, with what follows it up to the next one; what comes before any has ``level`` 0.

    ``path`` is the titles of the headings above and its own.
    """

    level: int
    path: tuple[str, ...]
    blocks: tuple[Block, ...]


def sections(lines: Sequence[str], first: int) -> list[Section]:
    """Sections of the lines from ``first`` on. A ``#`` inside of code, a quote or a list begins none."""
    groups: list[list[Block]] = []
    for block in _blocks(lines, first):
        if block.level or not groups:
            groups.append([])
        groups[-1].append(block)
    found: list[Section] = []
    above: list[Block] = []
    for group in groups:
        heading = group[0]
        if heading.level:
            above = [*(b for b in above if b.level < heading.level), heading]
        found.append(Section(heading.level, tuple(b.title for b in above), tuple(group)))
    return found


def _blocks(lines: Sequence[str], first: int) -> Iterator[Block]:
    from markdown_it import MarkdownIt  # noqa: PLC0415

    parser = MarkdownIt("commonmark").enable("table")
    inline = MarkdownIt("commonmark")
    parser.core.ruler.disable("inline")  # of text only the headings' is wanted
    tokens = parser.parse("\n".join(lines[first:]))
    tops = [(n, first + token.map[0]) for n, token in enumerate(tokens) if token.level == 0 and token.map]
    ends = [*(start for _, start in tops), len(lines)]
    if any(line.strip() for line in lines[first : ends[0]]):
        yield Block(first, ends[0])  # a link's definition is no token; elsewhere it goes with what is before it
    for (number, start), end in zip(tops, ends[1:], strict=True):
        token = tokens[number]
        if token.type == "heading_open":
            yield Block(start, end, int(token.tag[1:]), _plain(inline, tokens[number + 1].content))
        else:
            yield Block(start, end, fenced=token.type == "fence")


def _plain(inline: MarkdownIt, text: str) -> str:
    """The text of a heading without its markup."""
    children = inline.parseInline(text)[0].children or []
    parts = [" " if child.type in {"softbreak", "hardbreak"} else child.content for child in children]
    return " ".join("".join(parts).split())
