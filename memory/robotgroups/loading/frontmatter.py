"""The YAML between two lines of ``---`` at the top of a Markdown file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from robotgroups.errors import InvalidFileError, InvalidMetadataError, InvalidTagError
from robotgroups.limits import MAX_METADATA_BYTES, check_metadata
from robotgroups.tags import check_tags

TAGS = "tags"


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """``values`` are JSON (dates as ISO 8601 text); ``lines`` is how many lines of the file it takes."""

    values: Mapping[str, Any]
    tags: tuple[str, ...]
    lines: int

    @property
    def metadata(self) -> dict[str, Any]:
        """Everything but the tags."""
        return {key: value for key, value in self.values.items() if key != TAGS}


NONE = FrontMatter({}, (), 0)


def read_front_matter(lines: list[str]) -> FrontMatter:
    """Read what stands before the Markdown; ``NONE`` when there is none.

    As in pandoc, it begins on the first line, which no blank line follows, and ends with a line ``---`` or ``...``.
    What is no mapping is no front matter: it stays text. ``tags`` is a list, or a text with commas.

    Raises:
        InvalidFileError: it is no YAML, uses anchors, has a key twice, is too large, or cannot be kept as metadata.

    """
    end = _end(lines)
    if end is None:
        return NONE
    text = "\n".join(lines[1:end])
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise InvalidFileError(f"the front matter has more than {MAX_METADATA_BYTES} bytes: end it with a line ---")
    values = _load(text)
    if values is None and all(not line.strip() or line.lstrip().startswith("#") for line in lines[1:end]):
        values = {}
    if not isinstance(values, dict):
        return NONE
    try:
        kept = check_metadata(_as_json(values), "front matter")
        return FrontMatter(kept, _tags(kept.get(TAGS)), end + 1)
    except (InvalidMetadataError, InvalidTagError) as error:
        raise InvalidFileError(str(error)) from error


def _end(lines: list[str]) -> int | None:
    if len(lines) < len(("---", "---")) or lines[0].rstrip() != "---" or not lines[1].strip():
        return None
    return next((n for n, line in enumerate(lines) if n and line.rstrip() in {"---", "..."}), None)


def _load(text: str) -> object:
    import yaml  # noqa: PLC0415

    class Loader(yaml.SafeLoader):
        """Refuses anchors, which can blow up, and keys that would hide others."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, "references to anchors are not taken", mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if isinstance(key, list | dict | set):
                    raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
                if str(key) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
                seen.add(str(key))
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 2}" if mark else ""
        raise InvalidFileError(f"the front matter is no YAML{where}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InvalidFileError(f"the front matter is no YAML: {error}") from error
    except RecursionError:
        raise InvalidFileError("the front matter is nested too deep") from None


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_json(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value


def _tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return check_tags([tag for tag in value.split(",") if tag.strip()])
    if isinstance(value, list) and all(isinstance(tag, str | int | float) for tag in value):
        return check_tags([str(tag) for tag in value])
    raise InvalidTagError("tags of the front matter must be a list, or a text with commas")
