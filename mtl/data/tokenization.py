"""Texts -> `Tokens`: ids, character offsets, pre-tokens and casing. Knows no task and no model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mtl.errors import CheckpointError
from mtl.types import N_SHAPES, Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextTokenizer:
    """A fast tokenizer that cuts at `max_tokens`, never pads and says where it cut.

    The truncation and padding that a `tokenizer.json` may carry are switched off first.
    """

    def __init__(self, backend: Tokenizer, *, max_tokens: int) -> None:
        self.backend = backend
        self.max_tokens = max_tokens
        backend.no_padding()
        backend.enable_truncation(max_length=max_tokens)

    @classmethod
    def from_file(cls, path: Path, *, max_tokens: int) -> TextTokenizer:
        """Reads a `tokenizer.json`.

        Raises:
            CheckpointError: where the file is missing or cannot be read.
        """
        from tokenizers import Tokenizer

        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing; the folder needs the tokenizer that the encoder was trained with"
            )
        try:
            backend = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust side knows no other class
            raise CheckpointError(f"{path} is not a tokenizer file ({error}); copy it again") from error
        return cls(backend, max_tokens=max_tokens)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens that will be read of each text, special tokens included."""
        return [len(e.ids) for e in self.backend.encode_batch_fast([without_surrogates(text) for text in texts])]

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Texts (B) -> their valid tokens (N), special tokens included."""
        encodings = self.backend.encode_batch([without_surrogates(text) for text in texts])
        ids, words, offsets, shapes, lengths, cuts = [], [], [], [], [], []
        for text, encoding in zip(texts, encodings, strict=True):
            spans = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            word = np.asarray([-1 if w is None else w for w in encoding.word_ids], dtype=np.int64)
            special = np.asarray(encoding.special_tokens_mask, dtype=bool)
            _drop_spaces(text, spans)
            word[special | (spans[:, 0] == spans[:, 1])] = -1
            spans[word < 0] = 0
            _take_marks(text, spans)
            ids.append(np.asarray(encoding.ids, dtype=np.int64))
            words.append(word)
            offsets.append(spans)
            shapes.append(_shapes(text, word, spans))
            lengths.append(len(word))
            cuts.append(int(spans[:, 1].max(initial=0)) if encoding.overflowing else None)
        return Tokens(
            ids=torch.from_numpy(np.concatenate(ids)),
            lengths=torch.tensor(lengths),
            offsets=torch.from_numpy(np.concatenate(offsets)),
            words=torch.from_numpy(np.concatenate(words)),
            word_shape=torch.from_numpy(np.concatenate(shapes)),
            truncated_at=tuple(cuts),
            longest=max(lengths, default=0),
        )


def without_surrogates(text: str) -> str:
    """Lone surrogates, which no tokenizer takes, become the replacement character: offsets stay true."""
    return _SURROGATE.sub("\ufffd", text)


def _drop_spaces(text: str, spans: NDArray[np.int64]) -> None:
    """Takes off the spaces that SentencePiece and byte-level tokenizers count to the word after them."""
    for row, (start, end) in enumerate(spans.tolist()):
        if start < end and (text[start].isspace() or text[end - 1].isspace()):
            inner = text[start:end].lstrip()
            first = end - len(inner)
            spans[row] = first, first + len(inner.rstrip())


def _take_marks(text: str, spans: NDArray[np.int64]) -> None:
    """Lets a token end after the combining marks that follow it: a normalizer that strips accents drops them."""
    for row in np.flatnonzero(spans[:, 1] > 0):
        end = int(spans[row, 1])
        while end < len(text) and text[end] > "\u02ff" and unicodedata.category(text[end]) in ("Mn", "Me"):
            end += 1
        spans[row, 1] = end


def _shapes(text: str, word: NDArray[np.int64], spans: NDArray[np.int64]) -> NDArray[np.float32]:
    """(T, F) casing of the pre-token that each token belongs to."""
    shapes = np.zeros((len(word), N_SHAPES), dtype=np.float32)
    if not len(word):
        return shapes
    starts = np.flatnonzero(np.diff(word, prepend=-2) != 0)
    for start, end in zip(starts, [*starts[1:], len(word)], strict=True):
        if word[start] >= 0:
            shapes[start:end] = word_shape(text[spans[start, 0] : spans[end - 1, 1]])
    return shapes


@lru_cache(maxsize=100_000)
def word_shape(word: str) -> tuple[float, ...]:
    """What a lower-casing tokenizer forgets of a word, as F numbers of 0 or 1."""
    return (
        float(word[:1].isupper()),
        float(len(word) > 1 and word.isupper()),
        float(word.islower()),
        float(any(c.isupper() for c in word[1:]) and not word.isupper()),
        float(any(c.isdigit() for c in word)),
        float(word.isdigit()),
        float(not any(c.isalnum() for c in word)),
        float(len(word) == 1),
    )
