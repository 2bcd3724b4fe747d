"""all-MiniLM-L6-v2 on numpy: BERT with 6 layers of 384, the mean of its last states, at unit length.

The model is sentence-transformers' (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2); the architecture is
that of BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805). The weights are mapped, not read: robots on one
node share them. Imported only where they are used: numpy and the tokenizer take 40 MB.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from robotgroups.embedding.config import LOCAL_DIMENSIONS, LOCAL_MODEL
from robotgroups.errors import EmbeddingConfigError, MissingFeatureError, ModelFailure

Array = npt.NDArray[np.float32]

MAX_TOKENS = 256
# A longer text is cut before it is tokenized: 256 tokens end long before, or it is no text.
MAX_CHARACTERS = 64 * MAX_TOKENS
LAYERS, HEADS = 6, 12
HEAD = LOCAL_DIMENSIONS // HEADS
EPSILON = np.float32(1e-12)
MASKED = np.float32(-1e9)
# Rows of the widest layer at once: they and what is computed from them stay in the core's cache (4 times as fast).
GELU_ROWS = 32

# Other weights or another tokenizer would give vectors that cannot be compared with those in the database.
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

# erf(z) = z P(z²) / Q(z²) for |z| <= 4, within 4 units in the last place of a float: Eigen's generic_fast_erf_float.
_P = [
    np.float32(c)
    for c in (
        -2.72614225801306e-10,
        2.77068142495902e-08,
        -2.10102402082508e-06,
        -5.69250639462346e-05,
        -7.34990630326855e-04,
        -2.95459980854025e-03,
        -1.60960333262415e-02,
    )
]
_Q = [
    np.float32(c)
    for c in (
        -1.45660718464996e-05,
        -2.13374055278905e-04,
        -1.68282697438203e-03,
        -7.37332916720468e-03,
        -1.42647390514189e-02,
    )
]


class MiniLM:
    """The model. Calls block for as long as they compute; they may come from several threads."""

    def __init__(self, weights: dict[str, Array], tokenizer: Tokenizer, threads: int) -> None:
        self._weights = weights
        self._tokenizer = tokenizer
        self._threads = threads
        self._blas = ThreadpoolController().select(user_api="blas")

    @classmethod
    def load(cls, directory: Path, threads: int) -> Self:
        """The model whose files lie in a directory.

        Raises:
            MissingFeatureError: there are none.
            EmbeddingConfigError: they are another model's.

        """
        for name, wanted in SHA256.items():
            try:
                with (directory / name).open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise MissingFeatureError(f"the local embedding model cannot be read: {error}") from error
            if found != wanted:
                raise EmbeddingConfigError(
                    f"{directory / name} is not that of {LOCAL_MODEL} (its SHA-256 is {found}): install the model anew",
                    ModelFailure.WRONG_WEIGHTS,
                )
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return cls(mapped(directory / "model.safetensors"), tokenizer, threads)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, 2 to 256."""
        # one by one: encode_batch would start a thread for every core of the node
        return [self._tokenizer.encode(text[:MAX_CHARACTERS]).ids for text in texts]

    def vectors(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """A vector of unit length for each list of tokens."""
        with self._blas.limit(limits=self._threads):
            states, mask = self._states(batch)
        means: Array = np.einsum("nld,nl->nd", states, mask) / mask.sum(1, keepdims=True)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means.tolist()  # type: ignore[no-any-return]

    def _states(self, batch: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        count, longest = len(batch), max(map(len, batch))
        ids = np.zeros((count, longest), np.int64)
        mask = np.zeros((count, longest), np.float32)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        x = self._weights["embeddings.word_embeddings.weight"][ids]
        x += self._weights["embeddings.position_embeddings.weight"][:longest]
        x += self._weights["embeddings.token_type_embeddings.weight"][0]
        x = self._normal("embeddings.LayerNorm", x.reshape(count * longest, -1))
        hidden = ((1 - mask) * MASKED)[:, None, None, :]
        for layer in range(LAYERS):
            x = self._layer(f"encoder.layer.{layer}", x, hidden)
        return x.reshape(count, longest, -1), mask

    def _layer(self, name: str, x: Array, hidden: Array) -> Array:
        y = self._linear(f"{name}.attention.output.dense", self._attention(f"{name}.attention.self", x, hidden))
        y += x
        x = self._normal(f"{name}.attention.output.LayerNorm", y)
        inner = self._linear(f"{name}.intermediate.dense", x)
        for start in range(0, len(inner), GELU_ROWS):
            gelu(inner[start : start + GELU_ROWS])
        y = self._linear(f"{name}.output.dense", inner)
        y += x
        return self._normal(f"{name}.output.LayerNorm", y)

    def _attention(self, name: str, x: Array, hidden: Array) -> Array:
        count, longest = hidden.shape[0], hidden.shape[-1]

        def heads(part: str) -> Array:
            return self._linear(f"{name}.{part}", x).reshape(count, longest, HEADS, HEAD).transpose(0, 2, 1, 3)

        scores: Array = heads("query") @ heads("key").transpose(0, 1, 3, 2)
        scores *= np.float32(HEAD**-0.5)
        scores += hidden
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        return (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(count * longest, -1)

    def _linear(self, name: str, x: Array) -> Array:
        y: Array = x @ self._weights[f"{name}.weight"].T
        y += self._weights[f"{name}.bias"]
        return y

    def _normal(self, name: str, x: Array) -> Array:
        x -= x.mean(-1, keepdims=True)
        variance = np.einsum("...i,...i->...", x, x) / np.float32(x.shape[-1])
        x *= (1 / np.sqrt(variance + EPSILON))[..., None]
        x *= self._weights[f"{name}.weight"]
        x += self._weights[f"{name}.bias"]
        return x


def gelu(x: Array) -> None:
    """x Φ(x) in place (Hendrycks & Gimpel 2016), with Φ(x) = (1 + erf(x / √2)) / 2."""
    z = np.clip(x * np.float32(0.5**0.5), np.float32(-4), np.float32(4))
    square = z * z
    z *= polynomial(_P, square)
    z /= polynomial(_Q, square)
    z += 1
    x *= z
    x *= np.float32(0.5)


def polynomial(coefficients: Sequence[np.float32], x: Array) -> Array:
    """A polynomial's values, the highest power's coefficient first, by Horner's rule."""
    y: Array = x * coefficients[0]
    y += coefficients[1]
    for coefficient in coefficients[2:]:
        y *= x
        y += coefficient
    return y


def mapped(path: Path) -> dict[str, Array]:
    """The float tensors of a safetensors file, as read-only views of the mapped file.

    The format: the length of a JSON header in 8 bytes, little-endian; the header, each tensor's type, shape and place;
    the bytes (https://github.com/huggingface/safetensors#format). Its own library copies them into memory.
    """
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(size))
    whole = np.memmap(path, np.uint8, "r", 8 + size)
    return {
        name: np.asarray(whole[slice(*tensor["data_offsets"])]).view("<f4").reshape(tensor["shape"])
        for name, tensor in header.items()
        if tensor.get("dtype") == "F32"
    }
