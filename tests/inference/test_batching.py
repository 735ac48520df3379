"""Many callers: each gets its own answer, what waits is answered together, and an error hurts nobody else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mtl.errors import ConfigError
from mtl.inference.batching import LONG_LIST, MicroBatcher
from mtl.inference.predictor import Predictor


class Slow:
    """Stands in front of a predictor: notes what it is asked and waits until it is let go."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.asked: list[tuple[list[str], tuple[str, ...]]] = []
        self.go = threading.Event()
        self.first = threading.Event()

    def chosen(self, *words):
        return self.predictor.chosen(*words)

    def analyze(self, texts, tasks=None):
        self.asked.append((list(texts), tuple(tasks)))
        self.first.set()
        assert self.go.wait(30)
        if "bad" in texts:
            raise ValueError("no")
        return self.predictor.analyze(texts, tasks)


def test_every_caller_gets_the_answer_to_its_own_texts(predictor: Predictor) -> None:
    batcher = MicroBatcher(predictor)
    lists = [[f"cat {i} {j}" for j in range(i % 4)] for i in range(40)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(batcher.analyze, lists))
    for texts, answer in zip(lists, answers, strict=True):
        assert len(answer) == len(texts)
        for text, mine in zip(texts, answer, strict=True):
            (alone,) = predictor.analyze([text])
            np.testing.assert_allclose(mine.vector, alone.vector, atol=1e-5)
            assert mine["topic"].label == alone["topic"].label


def test_what_arrives_during_a_batch_is_the_next_one(predictor: Predictor) -> None:
    slow = Slow(predictor)
    batcher = MicroBatcher(slow)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.analyze, ["alone"])
        assert slow.first.wait(30)
        others = [pool.submit(batcher.analyze, [f"cat {i}"]) for i in range(4)]
        topic = pool.submit(batcher.analyze, ["law"], ["topic"])
        while len(batcher._waiting) < 5:
            pass
        slow.go.set()
        assert len(first.result(30)) == 1
        assert [len(other.result(30)) for other in others] == [1] * 4
        assert set(topic.result(30)[0].predictions) == {"topic"}
    sizes = [(len(texts), tasks) for texts, tasks in slow.asked]
    assert sizes[0] == (1, ("topic", "entities"))
    assert sorted(sizes[1:]) == [(1, ("topic",)), (4, ("topic", "entities"))]


def test_an_error_reaches_its_callers_and_the_next_one_is_served(predictor: Predictor) -> None:
    slow = Slow(predictor)
    slow.go.set()
    batcher = MicroBatcher(slow)
    with pytest.raises(ValueError, match="no"):
        batcher.analyze(["bad"])
    with pytest.raises(ConfigError, match="has no task 'mood'"):
        batcher.analyze(["a"], ["mood"])
    assert len(batcher.analyze(["good"])) == 1
    assert batcher.analyze([]) == []


def test_a_long_list_makes_nobody_wait(predictor: Predictor) -> None:
    slow = Slow(predictor)
    slow.go.set()
    batcher = MicroBatcher(slow)
    assert len(batcher.analyze(["cat"] * (LONG_LIST + 1))) == LONG_LIST + 1
    assert batcher._process == 0  # it ran in the caller's own thread
