"""Where texts come from, and what is drawn where there are too many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.errors import DataError
from mtl.service.corpora import Corpora, stratified
from mtl.settings import Settings


@pytest.fixture
def corpora() -> Corpora:
    return Corpora(Settings(max_points=40))


def test_of_a_long_table_a_sample_is_drawn_that_keeps_the_proportions_of_a_label(
    corpora: Corpora, tmp_path: Path
) -> None:
    path = tmp_path / "long.csv"
    rows = [f"row number {i},{'rare' if i % 10 == 0 else 'often'}" for i in range(200)]
    path.write_text("remark,kind\n" + "\n".join(rows), encoding="utf-8")
    corpus = corpora.from_file(path)
    assert (corpus.drawn_from, corpus.drawn_by, len(corpus.texts)) == (200, "kind", 40)
    assert Counter(corpus.columns["kind"]) == {"often": 36, "rare": 4}
    numbers = [int(text.split()[-1]) for text in corpus.texts]
    assert numbers == sorted(numbers)
    assert corpora.from_file(path).texts == corpus.texts


def test_without_a_label_every_row_is_as_likely(corpora: Corpora, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text\n" + "\n".join(f"row {i}" for i in range(41)), encoding="utf-8")
    corpus = corpora.from_file(path)
    assert (corpus.drawn_from, corpus.drawn_by, len(set(corpus.texts))) == (41, None, 40)


def test_a_table_that_fits_is_taken_whole(corpora: Corpora, tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("text\n" + "row\n" * 40, encoding="utf-8")
    corpus = corpora.from_file(path)
    assert (corpus.drawn_from, len(corpus.texts)) == (None, 40)
    with pytest.raises(DataError, match="has no column 'nope'"):
        corpora.from_file(path, "nope")


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.data())
def test_each_stratum_has_its_share_to_one(strata: list[str], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(strata)))
    places = stratified(strata, n)
    assert len(places) == len(set(places)) == n
    drawn = Counter(strata[place] for place in places)
    for stratum, count in Counter(strata).items():
        assert abs(drawn[stratum] - count * n / len(strata)) < 1


def test_the_sample_pairs_have_scores(corpora: Corpora) -> None:
    pairs = corpora.sample_pairs
    assert len(pairs.left) == len(pairs.right) == len(pairs.scores) >= 10
    assert all(0 <= score <= 5 for score in pairs.scores)


def test_far_too_long_a_table_is_refused_before_it_fills_the_memory(corpora: Corpora, tmp_path: Path) -> None:
    path = tmp_path / "endless.csv"
    path.write_text("text\n" + "a\n" * 401, encoding="utf-8")
    with pytest.raises(DataError, match="has more than 400 rows, which is all that is read here"):
        corpora.from_file(path)


def test_columns_that_a_map_adds_do_not_hide_those_of_a_table(corpora: Corpora, tmp_path: Path) -> None:
    path = tmp_path / "exported.csv"
    path.write_text("text,x,predicted topic,kind\na,1,food,k\n", encoding="utf-8")
    assert set(corpora.from_file(path).columns) == {"x (yours)", "predicted topic (yours)", "kind"}


def test_one_very_long_value_does_not_make_the_strata_long() -> None:
    assert len(stratified(["a"] * 50_000 + ["b" * 1_000_000], 10)) == 10
