"""Tags and propositions by an OpenAI-compatible chat endpoint: OpenAI, Ollama, vLLM, llama.cpp and others.

Endpoints and models differ in how they can be held to JSON, and some take no temperature: the strictest way is tried
first, and the first that is not refused is kept. Whatever comes back is read leniently and cleaned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from robotgroups.endpoint import Endpoint
from robotgroups.errors import ExtractionConfigError, ExtractionInputError, ModelFailure
from robotgroups.extraction import prompts
from robotgroups.extraction.answers import Ending, clean_propositions, clean_tags, read_list, read_message
from robotgroups.extraction.config import ExtractionConfig, ExtractionProvider
from robotgroups.refusals import EXTRACTION, Refusal, Remedy

# A text that every model takes: when it is refused as well, it is not the text.
_PROBE = "PostgreSQL is a database."


class Extractor(Protocol):
    """Reads tags and propositions out of texts. Its calls may run at once; ``aclose`` it at the end.

    Both raise ExtractionUnavailableError (the same call may succeed later), ExtractionConfigError (settings or key
    must be put right first) and ExtractionInputError (the model does not take this text).
    """

    @property
    def config(self) -> ExtractionConfig:
        """What it was made from; ``tags`` and ``propositions`` say what is wanted of it."""

    async def tags(self, text: str, known: Sequence[str] = ()) -> list[str]:
        """At most 8 tags ``a:b:c`` in lower case, the fittest first; of ``known`` ones where they fit."""

    async def propositions(self, text: str) -> list[str]:
        """At most 64 statements that are understood without the text, in its order."""

    async def aclose(self) -> None:
        """Give back connections."""


def make_extractor(config: ExtractionConfig, api_key: str | None = None) -> Extractor | None:
    """The extractor of a configuration; None for provider none. The network is not touched yet.

    Raises:
        ArgumentError: the key cannot be sent in a header.

    """
    return ChatExtractor(config, api_key) if config.provider is ExtractionProvider.OPENAI else None


class ChatExtractor:
    """Asks ``{base_url}/chat/completions``. ``endpoint`` stands in for the one that the configuration names."""

    def __init__(
        self, config: ExtractionConfig, api_key: str | None = None, *, endpoint: Endpoint | None = None
    ) -> None:
        self._config = config
        self._endpoint = endpoint or Endpoint(
            config.base_url, api_key, kinds=EXTRACTION, model=config.model, timeout_s=config.timeout_s
        )
        self._way = 0

    @property
    def config(self) -> ExtractionConfig:
        """What it was made from."""
        return self._config

    async def tags(self, text: str, known: Sequence[str] = ()) -> list[str]:
        """See ``Extractor``."""
        return clean_tags(await self._asked("tags", prompts.for_tags(known), text))

    async def propositions(self, text: str) -> list[str]:
        """See ``Extractor``."""
        return clean_propositions(await self._asked("propositions", prompts.for_propositions(), text))

    async def aclose(self) -> None:
        """See ``Extractor``."""
        await self._endpoint.aclose()

    async def _asked(self, field: str, prompt: str, text: str) -> list[str]:
        if not text.strip():
            return []
        try:
            return await self._any_way(field, prompt, text)
        except ExtractionInputError as error:
            if error.reason is not ModelFailure.REFUSED:
                raise
            await self._check_probe(field, prompt, error)
            raise

    async def _check_probe(self, field: str, prompt: str, error: ExtractionInputError) -> None:
        try:
            await self._any_way(field, prompt, _PROBE)
        except ExtractionInputError:
            raise ExtractionConfigError(f"{error}. It refuses every text", error.reason) from error

    async def _any_way(self, field: str, prompt: str, text: str) -> list[str]:
        """Ask in the way that worked last, then in those less strict."""
        ways = _ways(field)
        refused: ExtractionInputError | None = None
        for way in range(self._way, len(ways)):
            body: dict[str, Any] = {
                "model": self._config.model,
                "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": text}],
                **ways[way],
            }
            try:
                found = await self._endpoint.post("/chat/completions", body, self._reader(field))
            except ExtractionInputError as error:
                if error.reason is not ModelFailure.REFUSED:
                    raise
                refused = refused or error
            else:
                self._way = max(self._way, way)
                return found
        assert refused is not None
        raise refused

    def _reader(self, field: str) -> Callable[[Any], list[str]]:
        def read(answer: Any) -> list[str]:
            content, ending = read_message(answer)
            if ending is Ending.CUT:
                raise self._refused(ModelFailure.TOO_LONG, "stopped in the middle of its answer: the text is too long")
            if ending is Ending.DECLINED:
                raise self._refused(ModelFailure.UNUSABLE_TEXT, "declined to answer for this text")
            return read_list(content, field)

        return read

    def _refused(self, reason: ModelFailure, message: str) -> Exception:
        return self._endpoint.error(Refusal(Remedy.TEXT, reason, message))


def _ways(field: str) -> list[dict[str, Any]]:
    """What is sent beside the messages, from the strictest."""
    schema = {
        "type": "object",
        "properties": {field: {"type": "array", "items": {"type": "string"}}},
        "required": [field],
        "additionalProperties": False,
    }
    strict = {"type": "json_schema", "json_schema": {"name": field, "strict": True, "schema": schema}}
    return [
        {"response_format": strict, "temperature": 0},
        {"response_format": strict},
        {"response_format": {"type": "json_object"}},
        {},
    ]
