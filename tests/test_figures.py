"""The figures that README and guides name are those of assets/results and of the shipped checkpoint."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

from mtl.settings import ROOT
from mtl.training.verdict import COMPARISON_FILE, read

README = ROOT / "README.md"
DOCS = ROOT / "assets" / "docs"
WORDS = {"better": "better", "same": "not told apart", "worse": "worse"}


def result(name: str) -> dict:
    return json.loads((ROOT / "assets" / "results" / name).read_text(encoding="utf-8"))


def rows(page: Path) -> dict[str, list[str]]:
    """The rows of a page's tables, by their first cell and by their first two."""
    lines = [line.strip("|").split(" | ") for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in line] for line in lines]
    return {key: line for line in cells for key in (line[0], " ".join(line[:2]))}


@pytest.mark.parametrize(
    ("row", "test", "metrics"),
    [
        ("topic SIB-200, English", "sib200_en/topic", ["accuracy"]),
        ("topic UCI News (`--map science-technology=science/technology`)", "uci_news/topic", ["accuracy"]),
        ("sentiment GoEmotions, grouped", "goemotions_sentiment/sentiment", ["macro_f1", "accuracy"]),
        ("sentiment movie reviews (`--among negative,positive`)", "movie_review/sentiment", ["accuracy"]),
        ("entities Universal NER, English EWT", "uner_en_ewt/entities", ["f1"]),
        ("entities Broad Twitter Corpus", "btc/entities", ["f1"]),
        ("similarity STS benchmark, the open part", "stsb_open/similarity", ["spearman"]),
    ],
)
def test_quality_is_what_the_checkpoint_scored(row: str, test: str, metrics: list[str]) -> None:
    found = json.loads((ROOT / "checkpoints" / "default" / "mtl.json").read_text(encoding="utf-8"))["test"][test]
    said = rows(README)[row]
    assert said[2] == f"{found['examples']:,}"
    figures = re.findall(r"\d\.\d{3}", said[3].split("(")[0])
    assert figures == [f"{found[metric]:.3f}" for metric in metrics]


@pytest.mark.parametrize(
    ("row", "file", "case", "what"),
    [
        ("vectors of short sentences", "benchmark.json", None, "encode, short sentences"),
        ("vectors of texts of 10 to 200 tokens", "benchmark.json", None, "encode, 10 to 200 tokens"),
        ("every task of a text", "benchmark.json", None, "every task, against three pipelines"),
        ("32 callers at once", "benchmark.json", None, "32 callers, throughput"),
        ("UMAP of 2,000 sentences", "benchmark.json", None, "UMAP of 2,000"),
        ("UMAP of 10,000", "benchmark.json", None, "UMAP of 10,000"),
        ("training everything", "training.json", "full", "full fine-tuning, against Trainer's default (fp32)"),
        ("training heads on a frozen encoder", "training.json", "frozen", "frozen encoder, ten epochs"),
    ],
)
def test_speed_is_what_the_benchmarks_found(row: str, file: str, case: str | None, what: str) -> None:
    found = result(file)[case]["ratios"] if case else result(file)["ratios"]
    (ratio,) = [one.get("found") or one["ratio"] for one in found if one["what"] == what]
    (said,) = [cells[1] for name, cells in rows(README).items() if name.startswith(row) and len(cells) == 3][:1]
    assert float(said.split(" times")[0]) == float(f"{ratio:.1f}" if ratio < 20 else f"{ratio:.0f}")


def test_rivals_that_are_as_fast_are_named() -> None:
    found = result("benchmark.json")["measured"]["short"]
    ours, openvino, int8 = (
        statistics.median(run["texts_per_s"] for run in found[name]) for name in ("mtl", "OpenVINO", "onnxruntime int8")
    )
    said = rows(README)
    assert said["the same, against OpenVINO"][1] == f"{ours / openvino:.1f} times as many"
    other = said["the same, against onnxruntime in int8, whose vectors are no longer the same"]
    assert other[1] == f"{ours / int8:.1f} times as many"
    slow = [one["found"] for one in result("benchmark.json")["ratios"] if one["ours"] == "mtl fp32"]
    assert "without it the first two figures are {:.1f} and {:.1f}".format(*slow) in " ".join(
        README.read_text(encoding="utf-8").split()
    )


def test_steadiness_is_what_was_measured() -> None:
    load, soak = result("load.json")["beside_a_run"], result("soak.json")
    said = rows(README)
    assert (load["clients"], load["seconds"], load["failures"]) == (64, 120, {})
    words = f"{load['requests']:,} requests, none failed, 95 % within {load['p95_ms'] / 1000:.1f} s"
    assert said["64 clients for two minutes beside a training run"][1] == words
    after = f"memory after {soak['requests']:,} requests and {soak['runs']} runs"
    assert said[after][1] == f"{soak['ratio']:.2f} times that after the warm-up"


def test_the_verdict_on_sharing_is_that_of_the_comparison() -> None:
    found = read(ROOT / "assets" / "results" / COMPARISON_FILE)
    scores = {(one.task, one.arm): one.interval.value for one in found.scores if one.source is None}
    said = {name.split(",")[0]: cells for name, cells in rows(README).items() if len(cells) == 5}
    tasks = {one.task for one in found.differences}
    for one in found.differences:
        if one.source is None and one.against == "single-task":
            i = one.interval
            assert said[one.task][1:] == [
                f"{scores[one.task, 'multi-task']:.3f}",
                f"{scores[one.task, 'single-task']:.3f}",
                f"{i.value:+.3f} ({i.low:+.3f} to {i.high:+.3f})",
                WORDS[one.verdict],
            ]
            tasks.remove(one.task)
    assert tasks == set()


@pytest.mark.parametrize("page", [DOCS / "freezing.md", DOCS / "workbench.md"], ids=lambda page: page.name)
def test_gains_and_costs_of_freezing_are_those_of_the_benchmark(page: Path) -> None:
    found, said = result("freezing.json")["runs"], rows(page)
    sets = (("uci_news", "sib200_en"), ("goemotions_sentiment", "movie_review"), ("uner_en_ewt", "btc"), ("stsb_open",))
    tried = 0
    for what, run in found.items():
        if what in said:
            gains = ", ".join(f"{run['gains'][head]:.3f}" for head in ("request", "things"))
            costs = [", ".join(f"{run['costs'][name] + 0:+.1f}" for name in group) for group in sets]
            assert said[what][1:] == [gains, *(re.sub(r"[+-]0\.0", "0.0", cost) for cost in costs)], what
            tried += 1
    assert tried >= 5
    unseen = result("freezing.json")["unseen"]
    for head in ("request", "things"):
        assert f"{unseen[head]['mean']:.3f}" in page.read_text(encoding="utf-8")


def test_the_guides_tables_of_speed_are_those_of_the_benchmarks() -> None:
    said, found = rows(DOCS / "training.md"), result("training.json")
    for row, case, what in (
        ("everything learns, against Trainer as it comes (fp32)", "full", 0),
        ("everything learns, against Trainer in bf16 with length grouping", "full", 1),
        ("the same, mtl with word embeddings frozen", "full", 2),
        ("the same, word embeddings frozen in both", "full", 3),
        ("encoder frozen, ten epochs", "frozen", 0),
        ("encoder frozen, one step of a classification head", "frozen", 1),
        ("encoder frozen, one step of an entity head on all layers", "steps", 0),
    ):
        assert float(said[row][1]) == pytest.approx(found[case]["ratios"][what]["ratio"], rel=0.03), row
