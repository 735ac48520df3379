"""Task types: what a row must hold, what a missing target weighs, and where entities lie in the caller's text."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.data.tokenization import TextTokenizer
from mtl.errors import ConfigError, DataError
from mtl.tasks import TASK_TYPES, Classification, NamedEntities, Row, Similarity, from_spec
from mtl.tasks.base import MISSING
from mtl.tasks.bio import bio_tags
from mtl.tasks.classification import among
from mtl.tasks.ner import words_of
from mtl.types import LabelScores, PairScore, Span

TOPIC = Classification(name="topic", labels=("food", "law", "sport"))
PLACES = NamedEntities(name="places", labels=("PER", "LOC"))
PAIRS = Similarity(name="pairs")


def perfect_logits(task: NamedEntities, spans: tuple[Span, ...], tokens) -> torch.Tensor:
    """What a head that knows the answer would say."""
    targets = task.encode_targets([spans], tokens).clamp_min(0)
    return 10 * torch.nn.functional.one_hot(targets, len(bio_tags(task.labels))).float()


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("Ana saw the U.S. in May", "U.S."),
        ("yes 👍🏽 to Rome!", "Rome"),
        ("👩‍👩‍👧 in\tOslo\n", "Oslo"),
        ("Élodie naïve", "Élodie"),
        ("e\u0301lan of Jose\u0301 x", "Jose\u0301"),
        ("in 北京 now", "北京"),
        ("O'Neil-Smith, jr.", "O'Neil-Smith"),
        ("\u200bRome\u200b", "Rome"),
        ("İstanbul is big", "İstanbul"),
    ],
)
def test_an_entity_comes_back_at_its_own_characters(tokenizer: TextTokenizer, text: str, entity: str) -> None:
    start = text.index(entity)
    spans = (Span(start, start + len(entity), "LOC"),)
    tokens = tokenizer([text])
    (found,) = PLACES.decode(perfect_logits(PLACES, spans, tokens), tokens)
    assert [(text[s.start : s.end], s.label) for s in found] == [(entity, "LOC")]
    assert found[0].score > 0.99


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), st.booleans()), max_size=6))
def test_offsets_always_lie_inside_the_text(tokenizer_once, words) -> None:
    text = " ".join(word for word, _ in words)
    tokens = tokenizer_once([text])
    found = words_of(tokens)
    assert (found.start < found.end).all()
    assert (found.end <= len(text)).all()
    assert (np.diff(found.start) >= 0).all()
    logits = torch.randn(len(tokens.ids), 5)
    (spans,) = PLACES.decode(logits, tokens)
    for left, right in pairwise(spans):
        assert left.end <= right.start


@pytest.fixture(scope="module")
def tokenizer_once() -> TextTokenizer:
    import json

    from tokenizers import Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import WordPiece

    backend = Tokenizer(WordPiece({"[UNK]": 0, "a": 1, "##a": 2}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return TextTokenizer(Tokenizer.from_str(json.dumps(json.loads(backend.to_str()))), max_tokens=64)


def test_neighbouring_entities_stay_two(tokenizer: TextTokenizer) -> None:
    text = "Ana Bo Rome"
    spans = (Span(0, 3, "PER"), Span(4, 6, "PER"), Span(7, 11, "LOC"))
    tokens = tokenizer([text])
    (found,) = PLACES.decode(perfect_logits(PLACES, spans, tokens), tokens)
    assert [(s.start, s.end, s.label) for s in found] == [(s.start, s.end, s.label) for s in spans]


def test_a_missing_target_is_missing_and_never_outside(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer(["Ana saw Rome", "no one here", "unknown row"])
    encoded = PLACES.encode_targets([(Span(0, 3, "PER"),), (), None], tokens)
    rows = encoded.split(tokens.lengths.tolist())
    assert 0 in rows[1]
    assert set(rows[2].tolist()) == {MISSING}
    assert TOPIC.encode_targets(["law", None], tokens).tolist() == [1, MISSING]
    assert math.isnan(PAIRS.encode_targets([0.5, None], tokens)[1])


def test_missing_targets_weigh_nothing_and_all_missing_is_zero() -> None:
    logits = torch.randn(3, 3, requires_grad=True)
    known = TOPIC.loss(logits[:2], torch.tensor([0, 2]))
    torch.testing.assert_close(TOPIC.loss(logits, torch.tensor([0, 2, MISSING])), known)
    nothing = TOPIC.loss(logits, torch.full((3,), MISSING))
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad.abs().sum() == 0


def test_only_the_first_token_of_a_word_carries_its_tag(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer(["Rome"])
    assert PLACES.encode_targets([(Span(0, 4, "LOC"),)], tokens).tolist() == [MISSING, 3, *[MISSING] * 3, MISSING]


def test_label_smoothing_by_hand() -> None:
    logits, target = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    log = logits.log_softmax(-1)[0]
    expected = -(0.9 * log[0] + 0.1 * log.mean())
    smooth = Classification(name="t", labels=("a", "b", "c"), label_smoothing=0.1)
    torch.testing.assert_close(smooth.loss(logits, target), expected)


def test_ranking_loss_by_hand() -> None:
    cosine, gold = torch.tensor([0.9, 0.1, 0.5]), torch.tensor([0.0, 1.0, math.nan])
    expected = math.log(1 + math.exp(20 * (0.9 - 0.1)))
    assert float(PAIRS.loss(cosine, gold)) == pytest.approx(expected, rel=1e-5)
    assert float(PAIRS.loss(cosine, torch.full((3,), 0.5))) == 0


@pytest.mark.parametrize(
    ("task", "values", "words"),
    [
        (TOPIC, {"label": "art"}, "row 7, column 'label': 'art'; expected one of food, law, sport"),
        (PAIRS, {"score": "high"}, "row 7, column 'score': 'high'; expected a number from 0 to 5"),
        (PAIRS, {"score": 5.5}, "expected a number from 0 to 5"),
        (PAIRS, {"score": "nan"}, "expected a number from 0 to 5"),
        (PLACES, {"tokens": ["a", "b"], "tags": ["O"]}, "a list of one tag for each of the 2 tokens"),
        (PLACES, {"tokens": ["a"], "tags": ["X-PER"]}, "not 'X-PER'"),
        (PLACES, {"tokens": ["", "a"], "tags": ["B-PER", "O"]}, "characters in every token that is tagged"),
        (PLACES, {"tokens": ["a"], "tags": ["B-ORG"]}, "entity types among PER, LOC, not ORG"),
        (PLACES, {"text": "ab", "spans": [{"start": 0, "end": 3, "label": "PER"}]}, "0 <= start < end <= 2"),
        (PLACES, {"text": "ab", "spans": [{"start": 1, "end": 1, "label": "PER"}]}, "0 <= start < end"),
        (PLACES, {"text": "ab", "spans": [{"begin": 1}]}, "expected a list such as"),
        (PLACES, {"text": "ab", "spans": "[1"}, "expected a list such as"),
        (PLACES, {"text": "abcd", "spans": [{"start": 0.5, "end": 3.9, "label": "PER"}]}, "expected a list such as"),
        (
            PLACES,
            {"text": "ab", "spans": [{"start": 0, "end": float("inf"), "label": "PER"}]},
            "expected a list such as",
        ),
        (PLACES, {"text": "ab", "spans": "[" * 100_000}, "expected a list such as"),
        (
            PLACES,
            {"text": "abcd", "spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 2, "end": 4, "label": "LOC"}]},
            "do not overlap, unlike 0-3 and 2-4",
        ),
    ],
)
def test_a_bad_cell_is_named_with_what_was_expected(task, values, words: str) -> None:
    row = Row(7, values)
    assert task.has_target(row)
    with pytest.raises(DataError) as caught:
        task.parse(row)
    assert words in str(caught.value)
    assert str(caught.value).startswith("row 7, column ")


@pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
def test_a_blank_cell_is_no_target(value: object) -> None:
    assert not TOPIC.has_target(Row(1, {"label": value}))
    assert not PLACES.has_target(Row(1, {"spans": value, "text": "a"}))
    assert PLACES.has_target(Row(1, {"spans": [], "text": "a"}))


def test_tokens_beside_a_text_are_found_in_it() -> None:
    row = {"text": "Hello, Oslo!", "tokens": ["Hello", ",", "Oslo", "!"], "tags": ["O", "O", "B-LOC", "O"]}
    assert PLACES.parse(Row(1, row)) == (Span(7, 11, "LOC"),)
    with pytest.raises(DataError, match="holds the tokens in their order"):
        PLACES.parse(Row(1, {**row, "text": "Hello, Bergen!"}))


def test_numbers_are_labels_too() -> None:
    stars = Classification(name="stars", labels=("1", "2"))
    assert stars.parse(Row(1, {"label": 1})) == stars.parse(Row(1, {"label": 1.0})) == "1"


def test_labels_are_read_off_the_data() -> None:
    rows = [
        Row(1, {"label": "b", "text": "x", "spans": [{"start": 0, "end": 1, "label": "T"}]}),
        Row(2, {"label": "a"}),
    ]
    assert Classification.labels_in(rows) == ("a", "b")
    assert NamedEntities.labels_in(rows) == ("T",)


def test_scores_of_predictions() -> None:
    found = [LabelScores("food", {}), LabelScores("law", {})]
    assert TOPIC.score(found, ["food", "sport"]) == {"accuracy": 0.5, "macro_f1": pytest.approx(1 / 3)}
    spans = [(Span(0, 3, "PER"), Span(4, 5, "LOC")), ()]
    assert PLACES.score(spans, [(Span(0, 3, "PER"),), (Span(0, 1, "LOC"),)]) == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
    }
    assert PAIRS.score([PairScore(0.1), PairScore(0.9)], [0.2, 0.4])["spearman"] == pytest.approx(1)


def test_a_choice_among_some_labels_is_scaled_to_one() -> None:
    found = among(LabelScores("law", {"food": 0.3, "law": 0.6, "sport": 0.1}), ("food", "sport"))
    assert found.label == "food"
    assert found.scores == {"food": pytest.approx(0.75), "sport": pytest.approx(0.25)}


@pytest.mark.parametrize("task", [TOPIC, PLACES, PAIRS])
def test_a_task_is_its_settings(task) -> None:
    assert from_spec(task.to_spec()) == task
    assert TASK_TYPES[task.kind] is type(task)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "poetry", "name": "x"}, f"must be one of {', '.join(TASK_TYPES)}"),
        ({"type": "classification", "name": "x", "labels": ["a"]}, "needs two or more"),
        ({"type": "classification", "name": "x", "labels": ["a", "a"]}, "stands twice"),
        ({"type": "ner", "name": "x"}, "has no labels"),
        ({"type": "similarity", "name": "x", "low": 5, "high": 5}, "must be under high"),
        ({"type": "similarity", "name": "a.b"}, "use letters"),
        ({"type": "similarity", "name": "x", "colour": 1}, "colour"),
        ({"type": "similarity", "name": "type"}, "choose another one"),
        ({"type": "classification", "name": "x", "labels": None}, "labels is None; it must be a list"),
        ({"type": "classification", "name": "x", "labels": "ab"}, "labels is 'ab'; it must be a list"),
        ({"type": ["ner"], "name": "x"}, "must be one of"),
        ({"type": "ner", "name": "x", "labels": ["A"], "layers": "al"}, "layers is 'al'; say last, mix, all"),
        ({"type": "ner", "name": "x", "labels": ["A"], "word_shape": 4}, "word_shape is 4; say 8, or 0"),
    ],
)
def test_a_wrong_setting_is_named(spec: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_spec(spec)
