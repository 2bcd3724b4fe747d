"""What a Markdown file says: front matter, title and chunks, one for each heading. No I/O."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robotgroups.errors import ArgumentError, InvalidFileError, InvalidTextError, MissingFeatureError
from robotgroups.limits import check_text
from robotgroups.loading.frontmatter import read_front_matter
from robotgroups.loading.pieces import Chunk, Cutter, Piece
from robotgroups.loading.sections import Section, sections

# Less cannot hold every single character of every script, nor a code fence.
MIN_CHUNK_TOKENS = 16
_PACKAGES = ("markdown_it", "semantic_text_splitter", "yaml")


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content. ``front_matter`` is JSON; its ``tags``, and the rest as ``metadata``, are those of every chunk.

    ``title`` is the front matter's, else the first heading's of the first level, else None. ``content_hash`` is the
    SHA-256 of the whole text in UTF-8, hexadecimal.
    """

    front_matter: Mapping[str, Any]
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    title: str | None
    chunks: tuple[Chunk, ...]
    content_hash: str


def parse_document(text: str, *, max_tokens: int, count: Callable[[str], int]) -> Document:
    """Read a Markdown text (CommonMark and tables, with or without YAML front matter).

    Each heading with what follows it up to the next one is a chunk; a longer one becomes several, each of at most
    ``max_tokens``, of which ``count`` tells how many a text has (see ``Cutter``). A heading with nothing before a
    deeper one is no chunk: those below it name it in their path. The same text gives the same chunks.

    Raises:
        InvalidFileError: it holds what cannot be stored, or its front matter cannot be read.
        ArgumentError: ``max_tokens`` is below 16.
        MissingFeatureError: the extra ``files`` is not installed.

    """
    if max_tokens < MIN_CHUNK_TOKENS:
        raise ArgumentError(f"max_tokens must be at least {MIN_CHUNK_TOKENS}, not {max_tokens}")
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise MissingFeatureError(f"loading files needs {', '.join(missing)}: pip install 'robotgroups[files]'")
    lines = _lines(text)
    front = read_front_matter(lines)
    found = sections(lines, front.lines)
    cutter = Cutter(lines, max_tokens, count)
    chunks = tuple(
        Chunk(piece.text, section.path, position, piece.line + 1, count(piece.text), content_hash(piece.text))
        for position, (section, piece) in enumerate(_pieces(cutter, found))
    )
    title = front.values.get("title")
    if not isinstance(title, str):
        title = next((s.path[-1] for s in found if s.level == 1), None)
    return Document(front.values, front.tags, front.metadata, title, chunks, content_hash(text))


def content_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, hexadecimal: by it the group tells that two memories are one (M2)."""
    return hashlib.sha256(text.encode()).hexdigest()


def _lines(text: str) -> list[str]:
    try:
        check_text(text, "the file")
    except InvalidTextError as error:
        raise InvalidFileError(str(error)) from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _pieces(cutter: Cutter, found: list[Section]) -> Iterator[tuple[Section, Piece]]:
    for number, section in enumerate(found):
        below = number + 1 < len(found) and found[number + 1].level > section.level
        if section.level and len(section.blocks) == 1 and below:
            continue
        for piece in cutter.pieces(section):
            yield section, piece
