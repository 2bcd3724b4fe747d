"""A section as chunks of at most so many tokens, cut where a change elsewhere moves few of the cuts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robotgroups.limits import MAX_CONTENT_BYTES
from robotgroups.loading.sections import Block, Section

if TYPE_CHECKING:
    from semantic_text_splitter import TextSplitter

SEPARATOR = "\n\n"
# More than a token has in any language: so many times the limit is too long, and counting it all would take long.
_CHARACTERS_OF_A_TOKEN, _WINDOW = 16, 256
_FENCE = re.compile(r"(?P<indent> {0,3})(?P<marks>`{3,}|~{3,})(?P<info>.*)")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One memory to be: a section, or a part of a long one.

    ``heading_path`` is the titles above it and its own, ``position`` its place in the document from 0, ``line`` where
    it begins in the file from 1, ``content_hash`` the SHA-256 of its text in UTF-8, hexadecimal, as memories have it.
    """

    text: str
    heading_path: tuple[str, ...]
    position: int
    line: int
    tokens: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a section, and the line that it begins on, from 0."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts sections into pieces of at most ``max_tokens``, and of no more bytes than a memory may have.

    What fits stays whole. A longer section is cut between blocks: of the places where a piece is at least half full,
    the one whose next block has the smallest hash. So a cut depends on the text around it alone, and a change early in
    a section moves only the next cuts. A block that is longer still is split at lines, sentences, words and at last
    characters (by semantic-text-splitter); the parts of a code fence are each fenced.
    """

    lines: Sequence[str]
    max_tokens: int
    count: Callable[[str], int]

    def pieces(self, section: Section) -> Iterator[Piece]:
        """Yield the pieces of a section, in order; a heading stays with what follows it."""
        whole = self._text(section.blocks)
        if self._size(whole.text) <= self.max_tokens:
            if whole.text:  # a form feed is a block in Markdown, and nothing to be kept
                yield whole
            return
        units = _units(section)
        at = 0
        while at < len(units):
            # no piece has more than so many: what is far behind need not be counted each time
            taken = self._fitting(units[at : at + self.max_tokens])
            if taken:
                if (piece := self._text(_flat(units[at : at + taken]))).text:
                    yield piece
            else:
                yield from self._split(units[at])
            at += taken or 1

    def _size(self, text: str) -> int:
        """Tokens; more where the bytes are nearer to their limit. Of what is far too long, those of its beginning."""
        enough = self.max_tokens * _CHARACTERS_OF_A_TOKEN
        if len(text) > enough and (begun := self.count(text[:enough])) > self.max_tokens:
            return begun
        share = -(-len(text.encode()) * self.max_tokens // MAX_CONTENT_BYTES)
        return max(self.count(text), share)

    def _fitting(self, units: Sequence[tuple[Block, ...]]) -> int:
        """How many of the units, from the first, make the next piece; 0 when the first alone is too long."""
        total = cut = 0
        halves: list[int] = []
        for number, unit in enumerate(units, 1):
            total += self._size(self._raw(unit))
            if total > self.max_tokens:
                break
            cut = number
            if total * 2 >= self.max_tokens:
                halves.append(number)
        if cut < len(units) and halves:
            cut = min(halves, key=lambda n: _digest(self._raw(units[n])))
        while cut and self._size(self._text(_flat(units[:cut])).text) > self.max_tokens:
            cut -= 1  # joined text can count a token more than its parts
        return cut

    def _split(self, unit: Sequence[Block]) -> Iterator[Piece]:
        """Split a block that is too long, with the heading before it, if there is one."""
        *heading, block = unit
        head = self._text(heading) if heading else Piece("", block.start)
        room = self.max_tokens - self._size(head.text + SEPARATOR) if head.text else self.max_tokens
        if room * 2 < self.max_tokens:
            yield from self._cut(head.text, head.line, self.max_tokens)
            head, room = Piece("", block.start), self.max_tokens
        parts = self._fenced(block, room) if block.fenced else self._cut(self._raw([block]), block.start, room)
        for part in parts:
            joined = head.text + SEPARATOR + part.text if head.text else part.text
            if head.text and self._size(joined) > self.max_tokens:
                yield head
                joined, head = part.text, Piece("", part.line)
            yield Piece(joined, head.line if head.text else part.line)
            head = Piece("", part.line)

    def _cut(self, text: str, line: int, room: int, fence: tuple[str, str] = ("", "")) -> Iterator[Piece]:
        """Cut a text at lines, sentences, words and at last characters; code keeps its indentation and gets a fence."""
        from semantic_text_splitter import TextSplitter  # noqa: PLC0415

        before, behind = fence

        def fenced(part: str) -> str:
            return before + part.strip("\n") + behind if before else part

        seen = 0
        splitter = TextSplitter.from_callback(lambda part: self._size(fenced(part)), room, trim=not before)
        for offset, part in _windows(splitter, text, _WINDOW * self.max_tokens):
            line += text.count("\n", seen, offset)
            seen = offset
            begin = line
            # the splitter takes sizes for sums, and emoji of several characters for one: rarely, a part is too long
            for bit in _halved(part, lambda bit: self._size(fenced(bit)) <= room):
                if bit.strip():
                    yield Piece(fenced(bit), begin)
                begin += bit.count("\n")

    def _fenced(self, block: Block, room: int) -> Iterator[Piece]:
        """Split code at its lines, each part in a fence of its own."""
        opening, *body = self.lines[block.start : block.end]
        fence = _FENCE.match(opening)
        assert fence is not None
        marks = fence["marks"]
        end = next((n for n, line in enumerate(body) if _closes(line, marks)), len(body))
        code, after = "\n".join(body[:end]), "\n".join(body[end + 1 :])
        before, behind = f"{marks}{fence['info']}\n", f"\n{marks}"
        if self._size(before + behind) * 2 > room:
            yield from self._cut(self._raw([block]), block.start, room)
            return
        yield from self._cut(code, block.start + 1, room, (before, behind))
        if after.strip():
            yield from self._cut(after, block.start + 2 + end, room)

    def _raw(self, blocks: Sequence[Block]) -> str:
        return "\n".join(self.lines[blocks[0].start : blocks[-1].end]) + "\n"

    def _text(self, blocks: Sequence[Block]) -> Piece:
        """The text of blocks without the blank lines around it."""
        start, end = blocks[0].start, blocks[-1].end
        while start < end and not self.lines[start].strip():
            start += 1
        return Piece("\n".join(self.lines[start:end]).rstrip(), start)


def _units(section: Section) -> list[tuple[Block, ...]]:
    """What stays together if it can: a heading and the block after it."""
    blocks = section.blocks
    glued = 2 if section.level and len(blocks) > 1 else 1
    return [blocks[:glued], *((block,) for block in blocks[glued:])]


def _flat(units: Sequence[tuple[Block, ...]]) -> list[Block]:
    return [block for unit in units for block in unit]


def _windows(splitter: TextSplitter, text: str, length: int) -> Iterator[tuple[int, str]]:
    """What the splitter makes of a text, with offsets; of a long one bit by bit, for its time grows with the square."""
    at = 0
    while at < len(text):
        window = text[at : at + length]
        parts = splitter.chunk_indices(window)
        step = len(window)
        if at + length < len(text) and len(parts) > 1:
            step = parts.pop()[0]  # the last one goes on behind the window
        yield from ((at + offset, part) for offset, part in parts)
        at += step


def _halved(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """A text, or its halves, or theirs, until each fits or is a single character."""
    if len(text) <= 1 or fits(text):
        yield text
    else:
        middle = _middle(text)
        yield from _halved(text[:middle], fits)
        yield from _halved(text[middle:], fits)


def _middle(text: str) -> int:
    """Where to halve a text: behind the white space that is nearest before its middle, else behind the next one."""
    middle = len(text) // 2
    spaces = [found.end() for found in re.finditer(r"\s+", text) if found.end() < len(text)]
    before = [end for end in spaces if end <= middle]
    return before[-1] if before else spaces[0] if spaces else middle


def _closes(line: str, marks: str) -> bool:
    fence = _FENCE.match(line)
    return bool(fence and fence["marks"].startswith(marks) and not fence["info"].strip())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
