"""Batches hold every row once, stay in their budget, and gather rows of like length; sources get their shares."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.data import batches, sampling, splits
from mtl.data.batches import Source
from mtl.data.tokenization import TextTokenizer
from mtl.errors import ConfigError, DataError
from mtl.tasks import Classification, Similarity
from mtl.types import Example

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=80)


@given(LENGTHS, st.integers(40, 200), st.integers(1, 16))
def test_every_row_once_within_the_budget(lengths: list[int], budget: int, max_rows: int) -> None:
    for runs in (
        batches.by_length(lengths, max_tokens=budget, max_rows=max_rows),
        batches.shuffled(lengths, np.random.default_rng(0), max_tokens=budget, max_rows=max_rows),
    ):
        assert sorted(index for run in runs for index in run) == list(range(len(lengths)))
        assert all(len(run) <= max_rows for run in runs)
        assert all(max(lengths[i] for i in run) * len(run) <= budget for run in runs)


def test_a_row_over_the_budget_travels_alone() -> None:
    assert batches.by_length([500, 3, 4], max_tokens=100) == [[0], [2, 1]]


def test_rows_of_a_batch_are_alike_in_length_and_batches_come_in_random_order() -> None:
    lengths = np.random.default_rng(1).integers(5, 200, 1000).tolist()
    runs = batches.shuffled(lengths, np.random.default_rng(0), max_tokens=2000, max_rows=32)
    wasted = 1 - sum(lengths) / sum(max(lengths[i] for i in run) * len(run) for run in runs)
    assert wasted < 0.05
    first = [lengths[run[0]] for run in runs]
    assert first not in (sorted(first), sorted(first, reverse=True))


def test_a_batch_of_pairs_has_all_left_texts_first(tokenizer: TextTokenizer) -> None:
    rows = [Example(("a", "b"), {"pairs": 0.2}), Example(("c", "d"), {"pairs": 0.4})]
    batch = batches.collate("s", rows, [Similarity(name="pairs")], tokenizer)
    assert batch.texts == ("a", "c", "b", "d")
    assert batch.targets["pairs"].tolist() == pytest.approx([0.2, 0.4])
    assert len(batch.inputs.lengths) == 4


def test_a_task_that_no_row_speaks_for_is_not_in_the_batch(tokenizer: TextTokenizer) -> None:
    tasks = [Classification(name=name, labels=("a", "b")) for name in ("one", "two")]
    rows = [Example(("x",), {"one": "a"}), Example(("y",), {})]
    batch = batches.collate("s", rows, tasks, tokenizer)
    assert {name: t.tolist() for name, t in batch.targets.items()} == {"one": [0, -100]}


def test_a_feed_shows_every_row_once_a_pass(tokenizer: TextTokenizer) -> None:
    source = Source("s", [Example((f"row {i}",), {"one": "a"}) for i in range(20)])
    feed = batches.Feed(source, tokenizer, seed=0, max_tokens=64, max_rows=4)
    draws = [feed.draw() for _ in range(10)]
    passes = [[row for draw in part for row in draw.rows] for part in (draws[:5], draws[5:])]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(20))
    assert passes[0] != passes[1]
    assert [draw.number for draw in draws] == list(range(10))


@pytest.mark.parametrize("number", [0, 3, 5, 7, 23])
def test_a_feed_goes_on_at_any_draw(tokenizer: TextTokenizer, number: int) -> None:
    source = Source("s", [Example((f"row {i}",), {"one": "a"}) for i in range(20)])
    first, other = (batches.Feed(source, tokenizer, seed=3, max_tokens=64, max_rows=4) for _ in range(2))
    drawn = [first.draw() for _ in range(30)]
    other.number = number
    assert other.draw() == drawn[number]
    assert other.rng(drawn[number]).random() == first.rng(drawn[number]).random()
    assert first.rng(drawn[0]).random() != first.rng(drawn[1]).random()


@pytest.mark.parametrize(("n_rows", "n"), [(1, 1), (1, 4), (7, 2), (9, 4)])
def test_a_divided_batch_has_every_row_once(tokenizer: TextTokenizer, n_rows: int, n: int) -> None:
    tasks = [Classification(name="one", labels=("a", "b"))]
    rows = [Example((f"row {i}",), {"one": "ab"[i % 2]}) for i in range(n_rows)]
    parts = batches.divided(batches.collate("s", rows, tasks, tokenizer), n, tasks, tokenizer)
    assert len(parts) == n
    assert sorted(row.texts for part in parts if part for row in part.examples) == sorted(row.texts for row in rows)


def test_shares_follow_size_weight_and_temperature() -> None:
    counts, weights = {"big": 90, "small": 10}, {"big": 1.0, "small": 3.0}
    assert sampling.shares(counts, weights, temperature=1)["small"] == pytest.approx(30 / 120)
    even = sampling.shares(counts, weights, temperature=1e6)
    assert even["small"] == pytest.approx(0.5, abs=1e-3)
    assert sum(even.values()) == pytest.approx(1)


@given(st.integers(1, 300), st.integers(0, 5))
def test_a_plan_holds_each_share_to_a_step(steps: int, seed: int) -> None:
    share = {"a": 0.61, "b": 0.29, "c": 0.1}
    order = sampling.plan(sampling.counts(share, steps), np.random.default_rng(seed))
    counts = Counter(order)
    assert len(order) == steps
    assert all(abs(counts[name] - value * steps) < 1 for name, value in share.items())


def test_nothing_to_sample_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nothing can be sampled"):
        sampling.shares({"a": 0}, {"a": 1.0}, temperature=1)


def test_both_sides_of_a_split_share_no_text() -> None:
    rows = [Example((f"Row  {i % 30}" if i % 2 else f"row {i % 30}",)) for i in range(90)]
    parts = splits.split(rows, share=0.2, seed=1)
    sides = [{splits.text_key(row) for row in side} for side in (parts.train, parts.validation)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 6
    assert len(parts.train) + len(parts.validation) == 90
    assert splits.split(rows, share=0.2, seed=1) == parts != splits.split(rows, share=0.2, seed=2)


def test_a_pair_is_the_same_in_either_order_and_is_not_its_two_texts_run_together() -> None:
    keys = [splits.text_key(Example(texts)) for texts in (("A cat", "a  dog"), ("a dog", "a CAT"), ("a cat a dog",))]
    assert keys[0] == keys[1] != keys[2]


def test_one_text_cannot_be_split() -> None:
    with pytest.raises(DataError, match="cannot be split"):
        splits.split([Example(("same",)), Example(("Same ",))])
