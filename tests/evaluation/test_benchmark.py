"""The benchmark: texts as long as said, ratios of runs that lay beside each other, what is missing named."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from mtl.errors import ConfigError
from mtl.evaluation import benchmark
from mtl.evaluation.benchmark import CASES, WANTED, Ratio, Results
from mtl.evaluation.contenders import Timed, measure
from mtl.inference.predictor import Predictor
from mtl.ui.plots import benchmark_figure

SENTENCES = [f"the cat {i} sat on mat number {i} and slept" for i in range(40)]


@pytest.mark.parametrize("case", list(CASES))
def test_texts_are_as_many_and_as_long_as_the_case_says(case: benchmark.Case) -> None:
    texts = benchmark.texts_of(case, SENTENCES)
    assert len(texts) == benchmark.TEXTS[case]
    assert texts == benchmark.texts_of(case, SENTENCES)
    words = [len(text.split()) for text in texts]
    if case == "mixed":
        assert min(words) < 15
        assert max(words) > 140
        assert 60 < statistics.mean(words) < 100
    if case.startswith("map"):
        assert len(set(texts)) == len(texts)


def test_every_ratio_is_of_contenders_that_are_measured() -> None:
    for ratio in WANTED:
        assert {ratio.theirs, ratio.ours} <= set(CASES[ratio.case])


def test_ratios_are_medians_of_pairs_and_above_1_is_better(predictor: Predictor, tmp_path: Path, monkeypatch) -> None:
    rates = iter([100.0, 500.0, 200.0, 600.0, 100.0, 700.0])

    def measured(name: str, *_: object) -> dict[str, float] | str:
        if name == "matrix peak":
            return {"gflops": 400.0}
        if name in ("sentence-transformers", "mtl"):
            rate = next(rates)
            return {"texts_per_s": rate, "p50_ms": 1000 / rate, "memory_mb": 300.0}
        return "ModuleNotFoundError: No module named 'x'"

    monkeypatch.setattr(benchmark, "_measured", measured)
    found = benchmark.run(tmp_path, SENTENCES, rounds=3, cases=["short"])
    by_name = {ratio.what: ratio for ratio in found.ratios}
    assert by_name["encode, short sentences"].rounds == (5.0, 3.0, 7.0)
    assert by_name["encode, short sentences"].found == 5.0
    assert by_name["one short sentence, p50"].found == pytest.approx(5.0)
    assert "encode in fp32, short sentences" not in by_name
    assert set(found.left_out) == set(CASES["short"]) - {"sentence-transformers", "mtl"}
    words = "\n".join(benchmark.in_words(found))
    assert "encode, short sentences" in words
    assert "5.00 times sentence-transformers (goal 4.8: met)" in words
    assert "left out: OpenVINO" in words
    benchmark.write(found, tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["ratios"][0]["found"] == 5.0
    figure = benchmark_figure(found)
    assert {bar.name: bar.y for bar in figure.data} == {"sentence-transformers": (100.0,), "mtl": (600.0,)}


def test_an_unknown_case_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--only long: unknown; say some of short, mixed"):
        benchmark.run(tmp_path, SENTENCES, cases=["long"])


@pytest.mark.parametrize("name", ["mtl", "mtl fp32", "mtl, every task", "micro-batches", "one by one"])
def test_our_contenders_measure_throughput_and_latency(predictor: Predictor, tmp_path: Path, name: str) -> None:
    folder = predictor.save(tmp_path / "checkpoint")
    found = measure(name, folder, SENTENCES)
    assert found.texts_per_s > 1
    assert 0 < found.p50_ms < 10_000
    assert isinstance(found, Timed)


def test_the_peak_of_the_machine_is_measured(tmp_path: Path) -> None:
    assert measure("matrix peak", tmp_path, []).gflops > 1


def test_results_hold_plain_values() -> None:
    ratio = Ratio("short", "w", "a", "b", "seconds", 1.0, 2.0, (2.0,))
    assert Results({}, {}, [ratio]).left_out == {}
