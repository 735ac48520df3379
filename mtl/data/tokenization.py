"""Texts -> `Tokens`: ids, character offsets, pre-tokens and casing. Knows no task and no model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mtl.errors import CheckpointError
from mtl.types import N_SHAPES, Tokens

if TYPE_CHECKING:
    from tokenizers import Encoding as Reading
    from tokenizers import Tokenizer

BEFORE_MARKS = 0x02FF
"""No character up to this one is a combining mark."""

_SPACES = np.array([chr(code).isspace() for code in range(0x3002)])
"""Which code points are spaces; none beyond is one."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextTokenizer:
    """A fast tokenizer that cuts at `max_tokens`, never pads and says where it cut.

    The truncation and padding that a `tokenizer.json` may carry are switched off first.
    """

    def __init__(self, backend: Tokenizer, *, max_tokens: int) -> None:
        self.backend = backend
        self.max_tokens = max_tokens
        backend.no_padding()
        backend.enable_truncation(max_length=max_tokens, stride=self.overlap(max_tokens))

    @staticmethod
    def overlap(max_tokens: int) -> int:
        """Tokens that two neighbouring pieces of a long text share."""
        return min(64, max(0, max_tokens - 4) // 4)

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
        return [len(reading) for reading in self.read(texts, spans=False)]

    def read(self, texts: Sequence[str], *, spans: bool = True) -> list[Reading]:
        """What the backend makes of each text; without `spans` only ids, which is quicker."""
        clean = [without_surrogates(text) for text in texts]
        if len(clean) == 1 and not spans:
            return [self.backend.encode(clean[0])]  # no threads are asked
        found: list[Reading] = self.backend.encode_batch(clean) if spans else self.backend.encode_batch_fast(clean)
        return found

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Texts (B) -> their valid tokens (N), special tokens included."""
        return self.tokens(texts, self.read(texts))

    def tokens(self, texts: Sequence[str], readings: Sequence[Reading], *, spans: bool = True) -> Tokens:
        """Joins readings of texts (B). Without `spans` offsets, pre-tokens and casing stay empty."""
        lengths = [len(reading) for reading in readings]
        n_tokens = sum(lengths)
        ids = _joined((reading.ids for reading in readings), n_tokens)
        if spans:
            offsets, words = _spans(texts, readings, lengths)
            shapes = _shapes(texts, words, offsets, lengths)
        else:
            offsets = np.zeros((n_tokens, 2), dtype=np.int64)
            words = np.full(n_tokens, -1, dtype=np.int64)
            shapes = np.zeros((n_tokens, N_SHAPES), dtype=np.float32)
        return Tokens(
            ids=torch.from_numpy(ids),
            lengths=torch.tensor(lengths, dtype=torch.long),
            offsets=torch.from_numpy(offsets),
            words=torch.from_numpy(words),
            word_shape=torch.from_numpy(shapes),
            truncated_at=tuple(
                self._end(text) if reading.overflowing else None for text, reading in zip(texts, readings, strict=True)
            ),
            longest=max(lengths, default=0),
        )

    def _end(self, text: str) -> int:
        """The character up to which a text that is too long is read."""
        offsets, _ = _spans([text], readings := self.read([text]), [len(readings[0])])
        return int(offsets[:, 1].max(initial=0))


def _joined(parts: Iterable[Iterable[int]], n: int) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(parts), dtype=np.int64, count=n)


def _spans(
    texts: Sequence[str], readings: Sequence[Reading], lengths: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Characters (N, 2) and pre-token (N,) of each token; 0 to 0 and -1 for those that stand for no character."""
    n_tokens = sum(lengths)
    pairs = chain.from_iterable(reading.offsets for reading in readings)
    offsets = _joined(pairs, 2 * n_tokens).reshape(-1, 2)
    words = _joined(([-1 if w is None else w for w in reading.word_ids] for reading in readings), n_tokens)
    special = _joined((reading.special_tokens_mask for reading in readings), n_tokens).astype(bool)
    text_of_token = np.repeat(np.arange(len(texts)), lengths)
    starts = np.cumsum([0, *map(len, texts)])
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes = np.append(codes, np.uint32(0))  # so that what follows the last character is not a mark
    base, end_of_text = starts[text_of_token], starts[text_of_token + 1]
    _drop_spaces(texts, text_of_token, offsets, codes, base)
    words[special | (offsets[:, 0] == offsets[:, 1])] = -1
    offsets[words < 0] = 0
    _take_marks(texts, text_of_token, offsets, codes, base, end_of_text)
    return offsets, words


def without_surrogates(text: str) -> str:
    """Lone surrogates, which no tokenizer takes, become the replacement character: offsets stay true."""
    return _SURROGATE.sub("\ufffd", text)


def _drop_spaces(
    texts: Sequence[str],
    text_of_token: NDArray[np.int64],
    offsets: NDArray[np.int64],
    codes: NDArray[np.uint32],
    base: NDArray[np.int64],
) -> None:
    """Takes off the spaces that SentencePiece and byte-level tokenizers count to the word after them."""
    starts, ends = offsets.T
    at_the_edge = _is_space(codes[base + starts]) | _is_space(codes[base + np.maximum(ends, 1) - 1])
    for row in np.flatnonzero((starts < ends) & at_the_edge):
        start, end = offsets[row].tolist()
        inner = texts[text_of_token[row]][start:end].lstrip()
        first = end - len(inner)
        offsets[row] = first, first + len(inner.rstrip())


def _take_marks(
    texts: Sequence[str],
    text_of_token: NDArray[np.int64],
    offsets: NDArray[np.int64],
    codes: NDArray[np.uint32],
    base: NDArray[np.int64],
    end_of_text: NDArray[np.int64],
) -> None:
    """Lets a token end after the combining marks that follow it: a normalizer that strips accents drops them."""
    ends = base + offsets[:, 1]
    for row in np.flatnonzero((offsets[:, 1] > 0) & (ends < end_of_text) & (codes[ends] > BEFORE_MARKS)):
        text, end = texts[text_of_token[row]], int(offsets[row, 1])
        while end < len(text) and ord(text[end]) > BEFORE_MARKS and unicodedata.category(text[end]) in ("Mn", "Me"):
            end += 1
        offsets[row, 1] = end


def _is_space(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    return _SPACES[np.minimum(codes, len(_SPACES) - 1)]


def _shapes(
    texts: Sequence[str], words: NDArray[np.int64], offsets: NDArray[np.int64], lengths: Sequence[int]
) -> NDArray[np.float32]:
    """(N, F) casing of the pre-token that each token belongs to."""
    shapes = np.zeros((len(words), N_SHAPES), dtype=np.float32)
    text_of_token = np.repeat(np.arange(len(texts)), lengths)
    new = np.ones(len(words) + 1, dtype=bool)
    new[1:-1] = (np.diff(words) != 0) | (np.diff(text_of_token) != 0)
    first, last = np.flatnonzero(new[:-1] & (words >= 0)), np.flatnonzero(new[1:] & (words >= 0))
    places = zip(text_of_token[first].tolist(), offsets[first, 0].tolist(), offsets[last, 1].tolist(), strict=True)
    found = [word_shape(texts[text][start:end]) for text, start, end in places]
    if found:
        shapes[words >= 0] = np.repeat(np.asarray(found, dtype=np.float32), last - first + 1, axis=0)
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
