"""Tokens: nothing is padded, what is cut is said, casing is kept, and strange text is read in no time."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.tokenization import TextTokenizer, word_shape
from mtl.types import N_SHAPES

MAX_TOKENS = 32


def test_settings_of_the_file_are_switched_off(tokenizer: TextTokenizer) -> None:
    tokenizer.backend.enable_padding(length=40)
    tokenizer.backend.enable_truncation(5)
    again = TextTokenizer(tokenizer.backend, max_tokens=MAX_TOKENS)
    assert again(["a b", "a b c d e f g h"]).lengths.tolist() == [4, 10]


def test_where_a_text_was_cut_is_said(tokenizer: TextTokenizer) -> None:
    words = "a " * 50
    tokens = tokenizer(["a b c", words, "a " * 30, "a " * 31])
    assert tokens.lengths.tolist() == [5, 32, 32, 32]
    assert tokens.truncated_at == (None, 59, None, 59)
    assert words[:59] == "a " * 29 + "a"  # 30 words were read


def test_tokens_of_a_batch_are_those_of_each_text(tokenizer: TextTokenizer) -> None:
    texts = ["The cat", "", "U.S. x", "sitting"]
    together = tokenizer(texts)
    place = 0
    for text in texts:
        alone = tokenizer([text])
        n = int(alone.lengths[0])
        assert together.ids[place : place + n].tolist() == alone.ids.tolist()
        assert together.offsets[place : place + n].tolist() == alone.offsets.tolist()
        assert together.word_shape[place : place + n].tolist() == alone.word_shape.tolist()
        place += n
    assert tokenizer.lengths(texts) == together.lengths.tolist()


def test_words_are_the_tokenizers_pre_tokens(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer(["U.S. cat"])
    assert tokens.words.tolist() == [-1, 0, 1, 2, 3, 4, -1]
    assert tokens.offsets.tolist()[1:-1] == [[0, 1], [1, 2], [2, 3], [3, 4], [5, 8]]


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("Rome", (1, 0, 0, 0, 0, 0, 0, 0)),
        ("NATO", (1, 1, 0, 0, 0, 0, 0, 0)),
        ("cat", (0, 0, 1, 0, 0, 0, 0, 0)),
        ("iPhone", (0, 0, 0, 1, 0, 0, 0, 0)),
        ("A4", (1, 1, 0, 0, 1, 0, 0, 0)),
        ("42", (0, 0, 0, 0, 1, 1, 0, 0)),
        (".", (0, 0, 0, 0, 0, 0, 1, 1)),
        ("Élan", (1, 0, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_casing_that_the_vocabulary_forgets(word: str, shape: tuple[int, ...]) -> None:
    assert word_shape(word) == shape
    assert len(shape) == N_SHAPES


def test_casing_comes_from_the_callers_text(tokenizer: TextTokenizer) -> None:
    lower, upper = tokenizer(["rome"]), tokenizer(["Rome"])
    assert lower.ids.tolist() == upper.ids.tolist()
    assert lower.word_shape.tolist() != upper.word_shape.tolist()


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    tokens = _tokenizer()([text])
    assert 2 <= int(tokens.lengths[0]) <= MAX_TOKENS
    assert ((tokens.offsets >= 0) & (tokens.offsets <= len(text))).all()
    assert (tokens.offsets[:, 0] <= tokens.offsets[:, 1]).all()


@pytest.mark.parametrize("text", ["\ud83d", "\x00\x01\x1b", "👍🏽" * 9, " \n\t", "\u200b\u202e", ""])
def test_strange_text_is_read(tokenizer: TextTokenizer, text: str) -> None:
    assert 2 <= len(tokenizer([text]).ids) <= MAX_TOKENS


def test_a_megabyte_is_read_in_seconds(tokenizer: TextTokenizer) -> None:
    start = time.monotonic()
    tokens = tokenizer(["word " * 200_000, "x" * 1_000_000])
    assert time.monotonic() - start < 20  # hangs, not milliseconds
    assert tokens.truncated_at[0] is not None
    assert tokens.lengths.tolist()[0] == MAX_TOKENS


_ONE: list[TextTokenizer] = []


def _tokenizer() -> TextTokenizer:
    """One for all examples of a property."""
    if not _ONE:
        from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
        from tokenizers.models import WordPiece

        vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##a": 4, "e": 5}
        backend = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
        backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
        _ONE.append(TextTokenizer(backend, max_tokens=MAX_TOKENS))
    return _ONE[0]


def test_reading_without_spans_gives_the_same_ids_lengths_and_cuts(tokenizer: TextTokenizer) -> None:
    texts = ["The cat sat.", "", "a " * 60, "👍🏽 é"]
    whole = tokenizer(texts)
    quick = tokenizer.tokens(texts, tokenizer.read(texts, spans=False), spans=False)
    assert torch.equal(quick.ids, whole.ids)
    assert torch.equal(quick.lengths, whole.lengths)
    assert quick.truncated_at == whole.truncated_at == (None, None, 59, None)
    assert not quick.offsets.any()
    assert (quick.words == -1).all()
    assert quick.word_shape.shape == whole.word_shape.shape
