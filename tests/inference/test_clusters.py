"""Groups as they lie, and words that set them apart."""

from __future__ import annotations

import numpy as np

from mtl.inference.clusters import OUTSIDE, clusters, named, typical_words


def test_clouds_are_found_largest_first_and_what_lies_far_off_is_in_none() -> None:
    random = np.random.default_rng(0)
    clouds = [random.normal(centre, 0.1, (n, 2)) for centre, n in (((0, 0), 20), ((9, 9), 40), ((0, 9), 30))]
    points = np.concatenate([*clouds, [[50, 50]]]).astype(np.float32)
    found = clusters(points, smallest=10)
    assert [set(found[s:e].tolist()) for s, e in ((0, 20), (20, 60), (60, 90))] == [{2}, {0}, {1}]
    assert found[-1] == -1
    assert (clusters(points, smallest=10) == found).all()


def test_few_points_are_no_cluster() -> None:
    assert clusters(np.zeros((3, 2), dtype=np.float32)).tolist() == [-1, -1, -1]


def test_typical_words_are_frequent_here_and_rare_elsewhere() -> None:
    kitchen = ["stir the soup slowly", "the soup is salty", "bread with soup and people"]
    court = ["the judge spoke to people", "a judge and a verdict", "the verdict of people"]
    words = typical_words([kitchen, court], n_words=2)
    assert words[0][0] == "soup"
    assert set(words[1]) == {"judge", "verdict"}
    assert typical_words([["the of and"], ["is was"]]) == [(), ()]


def test_names_have_number_and_words_and_outsiders_say_so() -> None:
    texts = ["red wine", "white wine", "tax law", "old law", "noise"]
    names = named(np.array([0, 0, 1, 1, -1]), texts)
    assert names[0] == names[1]
    assert names[0].startswith("1: wine")
    assert names[2].startswith("2: law")
    assert names[4] == OUTSIDE
    assert named(np.array([-1, -1]), ["a", "b"]) == (OUTSIDE, OUTSIDE)
