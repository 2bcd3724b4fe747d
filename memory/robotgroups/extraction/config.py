"""What a group's tags and propositions are extracted by. The API key is no part of it: this is stored and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from enum import StrEnum
from typing import Any

from robotgroups import fields
from robotgroups.endpoint import MAX_TIMEOUT_S, OPENAI_URL, check_base_url
from robotgroups.errors import ArgumentError


class ExtractionProvider(StrEnum):
    """Who extracts."""

    NONE = "none"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class ExtractionConfig:
    """What is extracted and by which model. ``extraction_config`` makes one from plain values.

    ``timeout_s`` is how long one answer of the model may take.

    Raises:
        ArgumentError: it names the field, what is wrong and what to write.

    """

    provider: ExtractionProvider = ExtractionProvider.NONE
    model: str = ""
    base_url: str = ""
    tags: bool = False
    propositions: bool = False
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        fields.choice("extraction.provider", self.provider, ExtractionProvider)
        fields.text("extraction.model", self.model)
        fields.text("extraction.base_url", self.base_url)
        fields.flag("extraction.tags", self.tags)
        fields.flag("extraction.propositions", self.propositions)
        fields.seconds("extraction.timeout_s", self.timeout_s, MAX_TIMEOUT_S)
        if self.provider is ExtractionProvider.NONE:
            if self.tags or self.propositions:
                raise ArgumentError(
                    "extraction.provider is missing: tags and propositions need one, such as openai with a model"
                )
            return
        if not self.model.strip():
            raise ArgumentError(
                "extraction.model is missing: provider openai needs the model's name, such as gpt-4o-mini"
            )
        if not (self.tags or self.propositions):
            raise ArgumentError("extraction.tags and extraction.propositions are both false: set one, or provider none")
        check_base_url(self.base_url, "extraction.base_url")

    def as_json(self) -> dict[str, Any]:
        """The object that ``from_json`` reads. It holds no secret."""
        return {**asdict(self), "provider": self.provider.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExtractionConfig:
        """Read a JSON object; what is left out has its default.

        Raises:
            ArgumentError: a wrong value, or a field that there is not.

        """
        fields.known("extraction", data, [field.name for field in fields_of(cls)])
        return extraction_config(**data)


def extraction_config(
    provider: str = "none",
    *,
    model: str = "",
    base_url: str = "",
    tags: bool = False,
    propositions: bool = False,
    timeout_s: float = 60.0,
) -> ExtractionConfig:
    """A checked configuration. Left out: OpenAI's own URL for provider openai.

    Raises:
        ArgumentError: it names the field, what is wrong and what to write.

    """
    chosen = fields.choice("extraction.provider", provider, ExtractionProvider)
    if chosen is ExtractionProvider.OPENAI:
        base_url = check_base_url(base_url or OPENAI_URL, "extraction.base_url")
    return ExtractionConfig(chosen, model, base_url, tags, propositions, timeout_s)
