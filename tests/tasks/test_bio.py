"""Tags and spans: every scheme is read alike, the round trip is exact, and no decoded sequence is invalid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.tasks import bio
from mtl.types import Span

RUNS = [bio.TaggedRun(0, 2, "X"), bio.TaggedRun(3, 4, "Y"), bio.TaggedRun(4, 6, "Y")]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB2", ["B-X", "I-X", "O", "B-Y", "B-Y", "I-Y"]),
        ("IOB1", ["I-X", "I-X", "O", "I-Y", "B-Y", "I-Y"]),
        ("BIOES", ["B-X", "E-X", "O", "S-Y", "B-Y", "E-Y"]),
        ("BILOU", ["B-X", "L-X", "O", "U-Y", "B-Y", "L-Y"]),
    ],
)
def test_every_scheme_is_read_alike(scheme: str, tags: list[str]) -> None:
    assert bio.tagged_runs(tags) == RUNS, scheme


def test_a_change_of_label_begins_a_new_entity() -> None:
    assert bio.tagged_runs(["B-X", "I-Y", "I-X"]) == [
        bio.TaggedRun(0, 1, "X"),
        bio.TaggedRun(1, 2, "Y"),
        bio.TaggedRun(2, 3, "X"),
    ]


def test_tags_become_characters_of_the_joined_tokens() -> None:
    tokens = ["The", "U.S.", "and", "Côte", "d'Ivoire", "👍🏽"]
    spans = bio.spans_of_tokens(tokens, ["O", "B-LOC", "O", "B-LOC", "I-LOC", "O"])
    text = " ".join(tokens)
    assert [text[s.start : s.end] for s in spans] == ["U.S.", "Côte d'Ivoire"]


@pytest.mark.parametrize("tag", ["", "B", "X-PER", "b-PER", "B-", "PER", "I PER"])
def test_what_is_no_tag_is_told_apart(tag: str) -> None:
    assert not bio.is_tag(tag)
    assert bio.is_tag("B-PER")
    assert bio.is_tag("O")


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=1, max_size=12))
def test_spans_and_tags_make_a_round_trip(tags: list[str]) -> None:
    tokens = [f"w{i}" for i in range(len(tags))]
    spans = bio.spans_of_tokens(tokens, tags)
    ends = np.cumsum([len(t) + 1 for t in tokens]) - 1
    starts = ends - [len(t) for t in tokens]
    names = bio.bio_tags(("X", "Y"))
    projected = [names[i] for i in bio.project(spans, starts, ends, ("X", "Y"))]
    assert bio.spans_of_tokens(tokens, projected) == spans
    for before, tag in itertools.pairwise(["O", *projected]):
        assert tag[0] != "I" or before[1:] == tag[1:]


def test_a_thousand_labels_take_little_room() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 30, 2001)).astype(np.float32)
    found = bio.viterbi(scores)
    for row in found:
        for before, tag in itertools.pairwise((0, *row)):
            assert tag % 2 or tag == 0 or before in (tag - 1, tag)


def test_a_word_belongs_to_the_span_that_it_overlaps() -> None:
    starts, ends = np.array([0, 4, 9]), np.array([3, 8, 12])
    assert bio.project([Span(2, 6, "X")], starts, ends, ("X",)) == [1, 2, 0]


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_viterbi_is_the_best_valid_sequence(seed: int, n_words: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(1, n_words, 5)).astype(np.float32)

    def valid(path: tuple[int, ...]) -> bool:
        return all(tag % 2 or tag == 0 or before in (tag - 1, tag) for before, tag in itertools.pairwise((0, *path)))

    def total(path: tuple[int, ...]) -> float:
        return float(sum(scores[0, word, tag] for word, tag in enumerate(path)))

    best = max(filter(valid, itertools.product(range(5), repeat=n_words)), key=total)
    found = tuple(int(tag) for tag in bio.viterbi(scores)[0])
    assert valid(found)
    assert total(found) == pytest.approx(total(best), abs=1e-4)
