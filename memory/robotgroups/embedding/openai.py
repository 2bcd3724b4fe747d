"""Embeddings by an OpenAI-compatible endpoint: OpenAI, Ollama, vLLM, llama.cpp, text-embeddings-inference and others.

- ``dimensions`` is not sent at first: Ollama and llama.cpp pass over it, vLLM refuses it for models that cannot be
  shortened. Only when the vectors come longer or shorter than configured it is sent, from then on.
- ``encoding_format`` base64 is asked for, as OpenAI's own clients do (a third of the bytes, and a fraction of the time
  to read); whoever does not know it sends lists of numbers, which are taken as well.
- What is too long is cut here (``max_input_tokens``); what the endpoint still refuses is an error of that text alone:
  a refused batch is halved until the texts that spoil it are found. A batch too large for the endpoint is found out
  the same way, and smaller ones are sent from then on.
"""

from __future__ import annotations

import asyncio
import binascii
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from robotgroups import tokens
from robotgroups.embedding.batches import in_order
from robotgroups.embedding.config import EmbeddingConfig
from robotgroups.embedding.embedder import PROBE, Result, Vector, all_vectors, unusable
from robotgroups.endpoint import Endpoint
from robotgroups.errors import EmbeddingConfigError, EmbeddingInputError, ModelFailure
from robotgroups.refusals import EMBEDDING, MalformedAnswerError, Refusal, Remedy

# OpenAI takes 300,000 tokens in one request; other tokenizers count differently.
MAX_REQUEST_TOKENS = 200_000


class OpenAIEmbedder:
    """Asks ``{base_url}/embeddings``. ``endpoint`` stands in for the one that the configuration names."""

    def __init__(
        self, config: EmbeddingConfig, api_key: str | None = None, *, endpoint: Endpoint | None = None
    ) -> None:
        self._config = config
        self._endpoint = endpoint or Endpoint(
            config.base_url, api_key, kinds=EMBEDDING, model=config.model, timeout_s=config.timeout_s
        )
        self._batch_size = config.batch_size
        self._send_dimensions = False

    @property
    def config(self) -> EmbeddingConfig:
        """What it was made from."""
        return self._config

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See ``Embedder``."""
        return all_vectors(await self.embed_each(texts))

    async def embed_each(self, texts: Sequence[str]) -> list[Result]:
        """See ``Embedder``."""
        results: list[Result | None] = [unusable(text) for text in texts]
        sent = [index for index, result in enumerate(results) if result is None]
        cut = await self._cut([texts[index] for index in sent])
        costs = [len(text.encode()) for text in cut]
        if self._config.max_input_tokens:
            costs = [min(cost, self._config.max_input_tokens) for cost in costs]  # no token is shorter than a byte
        for run in in_order(costs, self._batch_size, MAX_REQUEST_TOKENS):
            for place, result in zip(run, await self._isolated([cut[i] for i in run]), strict=True):
                results[sent[place]] = result
        return [result for result in results if result is not None]

    async def aclose(self) -> None:
        """See ``Embedder``."""
        await self._endpoint.aclose()

    async def _cut(self, texts: list[str]) -> list[str]:
        most = self._config.max_input_tokens
        if not most or all(len(text.encode()) <= most for text in texts):
            return texts
        return await asyncio.to_thread(lambda: [first_tokens(text, most) for text in texts])

    async def _isolated(self, texts: list[str]) -> list[Result]:
        """The results of one batch, by halves when the endpoint refuses it."""
        try:
            return [*await self._request(texts)]
        except EmbeddingInputError as error:
            if len(texts) == 1:
                return [await self._blamed(error)]
        middle = len(texts) // 2
        results = [*await self._isolated(texts[:middle]), *await self._isolated(texts[middle:])]
        if not any(isinstance(result, EmbeddingInputError) for result in results):
            self._batch_size = min(self._batch_size, middle)
        return results

    async def _blamed(self, error: EmbeddingInputError) -> EmbeddingInputError:
        """The error of one text, if it is the text's; when the endpoint refuses any text, it is the configuration's."""
        if error.reason is ModelFailure.REFUSED:
            try:
                await self._request([PROBE])
            except EmbeddingInputError:
                raise EmbeddingConfigError(f"{error}. It refuses every text", error.reason) from error
        return error

    async def _request(self, texts: list[str]) -> list[Vector]:
        dimensions = self._config.dimensions
        told = self._send_dimensions
        vectors = await self._post(texts, told)
        got = len(vectors[0])
        if got != dimensions and not told:
            told = True
            try:
                vectors = await self._post(texts, told)
            except EmbeddingInputError as error:
                raise self._wrong_dimensions(got, "and refuses to shorten them") from error
            got = len(vectors[0])
            self._send_dimensions = got == dimensions
        if got != dimensions:
            raise self._wrong_dimensions(got, "even when asked for as many")
        return [self._unit(vector) for vector in vectors]

    async def _post(self, texts: list[str], send_dimensions: bool) -> list[Vector]:
        body: dict[str, Any] = {"model": self._config.model, "input": texts, "encoding_format": "base64"}
        if send_dimensions:
            body["dimensions"] = self._config.dimensions
        return await self._endpoint.post("/embeddings", body, lambda answer: read_vectors(answer, len(texts)))

    def _wrong_dimensions(self, got: int, how: str) -> Exception:
        message = (
            f"gives vectors of {got} dimensions, not the {self._config.dimensions} that are configured, {how}: "
            f"set embedding.dimensions to {got}, or change embedding.model"
        )
        return self._endpoint.error(Refusal(Remedy.SETTINGS, ModelFailure.WRONG_DIMENSIONS, message))

    def _unit(self, vector: Vector) -> Vector:
        length = math.hypot(*vector)
        if not math.isfinite(length) or length == 0.0:
            message = "gives a vector for this text that is zero or not finite"
            raise self._endpoint.error(Refusal(Remedy.TEXT, ModelFailure.UNUSABLE_VECTOR, message))
        return [value / length for value in vector]


def first_tokens(text: str, most: int) -> str:
    """The beginning of a text: whole characters of at most ``most`` tokens of cl100k_base."""
    if len(text.encode()) <= most:
        return text
    encoding = tokens.encoding(tokens.DEFAULT)
    encoded = encoding.encode(text, disallowed_special=())
    return text if len(encoded) <= most else encoding.decode(encoded[:most], errors="ignore")


def read_vectors(answer: Any, count: int) -> list[Vector]:
    """The vectors of an answer of ``/embeddings`` in the order of their texts, all of one length, as they came.

    Raises:
        MalformedAnswerError: it is not the answer for ``count`` texts.

    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise MalformedAnswerError("it has no list of objects `data`")
    if len(data) != count:
        raise MalformedAnswerError(f"it has {len(data)} vectors for {count} texts")
    indexes = [item.get("index", place) for place, item in enumerate(data)]
    if any(type(index) is not int for index in indexes) or sorted(indexes) != list(range(count)):
        raise MalformedAnswerError(f"its indexes are not 0..{count - 1}, each once")
    vectors: list[Vector] = [[] for _ in data]
    for index, item in zip(indexes, data, strict=True):
        vectors[index] = _vector(item.get("embedding"))
    if len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise MalformedAnswerError("its vectors are of different lengths, or empty")
    return vectors


def _vector(value: Any) -> Vector:
    if isinstance(value, str):
        numbers = array("f")
        try:
            numbers.frombytes(binascii.a2b_base64(value, strict_mode=True))
        except ValueError:
            raise MalformedAnswerError("a vector is no base64 of 32-bit floats") from None
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()
    if isinstance(value, list) and all(type(number) in {float, int} for number in value):
        return value
    raise MalformedAnswerError("a vector is neither base64 nor a list of numbers")
