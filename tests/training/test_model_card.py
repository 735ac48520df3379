"""The card: front matter that the hub reads, figures with limits, and the sentences that go wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from mtl.data.batches import Source
from mtl.errors import ConfigError, DataError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.settings import ROOT
from mtl.training.model_card import score_sources, write_card
from mtl.training.probes import Probe, ask, read_probes
from mtl.types import Example, LabelScores

ROWS = [Example((f"soup {i}",), {"topic": label}) for i in range(4) for label in ("food", "law")]
SOURCES = {"notes": {"tasks": ["topic"], "source": "Notes of ours", "licence": "CC0"}}
PROVENANCE = {
    "encoder": "some/encoder",
    "licence": "cc0-1.0",
    "language": "en",
    "teachers": [{"training.seed": 1}, {"training.seed": 2}],
    "sources": SOURCES,
}


def card_of(predictor: Predictor, folder: Path, probes: list[Probe] = []) -> str:  # noqa: B006
    predictor.meta["provenance"] = PROVENANCE
    predictor.meta["test"] = score_sources(predictor, [Source("notes", ROWS, among=("food", "law"))])
    folder.mkdir()
    write_card(folder, predictor, probes=probes)
    return (folder / "README.md").read_text(encoding="utf-8")


def test_scores_carry_their_limits_and_the_choice(predictor: Predictor) -> None:
    (found,) = score_sources(predictor, [Source("notes", ROWS, among=("food", "law"))]).values()
    plain = evaluate(predictor, "topic", ROWS, labels=("food", "law")).metrics
    assert {name: found[name] for name in plain} == plain
    assert (found["examples"], found["among"]) == (8, ["food", "law"])
    low, high = found["limits"]["accuracy"]
    assert 0 <= low < plain["accuracy"] < high <= 1


def test_the_hub_reads_figures_licence_and_base_model(predictor: Predictor, tmp_path: Path) -> None:
    card_of(predictor, tmp_path / "small")
    data = ModelCard.load(tmp_path / "small" / "README.md").data
    assert (data.license, data.language, data.base_model) == ("cc0-1.0", "en", "some/encoder")
    accuracy = predictor.meta["test"]["notes/topic"]["accuracy"]
    (result,) = [r for r in data.eval_results or [] if r.metric_type == "accuracy"]
    assert (result.task_type, result.dataset_name, result.metric_value) == (
        "text-classification",
        "notes",
        round(accuracy, 4),
    )


def test_figures_data_and_scheme_stand_in_the_text(predictor: Predictor, tmp_path: Path) -> None:
    card = card_of(predictor, tmp_path / "small")
    found = predictor.meta["test"]["notes/topic"]
    low, high = found["limits"]["accuracy"]
    assert f"| notes/topic (among food, law) | 8 | accuracy {found['accuracy']:.4f} [{low:.3f}, {high:.3f}]" in card
    assert "| notes | topic | Notes of ours | CC0 |" in card
    assert "strict IOB2 spans" in card
    assert "learned from the answers of 2 earlier ones" in card


def test_a_model_made_of_a_checkpoint_names_it(predictor: Predictor, tmp_path: Path, monkeypatch) -> None:
    assert "It began with" not in card_of(predictor, tmp_path / "fresh")
    monkeypatch.setitem(PROVENANCE, "began_with", "default")
    assert "It began with the weights of default, whose card names" in card_of(predictor, tmp_path / "tuned")


def test_only_wrong_probes_are_shown(predictor: Predictor, tmp_path: Path) -> None:
    said = predictor.analyze(["soup"])[0]["topic"]
    assert isinstance(said, LabelScores)
    other = next(label for label in said.scores if label != said.label)
    probes = [
        Probe(text="soup", task="topic", expected=said.label),
        Probe(text="soup", task="topic", expected=other),
    ]
    card = card_of(predictor, tmp_path / "small", probes)
    assert "Of 2 sentences written to probe it, it answers 1 as a person expects; the others:" in card
    assert f"| soup | topic | {other} | {said.label} |" in card
    assert f"| soup | topic | {said.label} |" not in card


def test_entities_are_compared_as_words_and_labels(predictor: Predictor) -> None:
    text = "the cat in Rome"
    spans = predictor.analyze([text])[0]["entities"]
    expected = tuple((text[s.start : s.end], s.label) for s in spans)
    right, wrong = ask(
        predictor,
        [
            Probe(text=text, task="entities", expected=expected),
            Probe(text=text, task="entities", expected=(("nobody", "PER"),)),
        ],
    )
    assert right.right
    assert not wrong.right


def test_a_probe_of_an_unknown_task_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ConfigError, match="no task of one text is called 'mood'"):
        ask(predictor, [Probe(text="a", task="mood", expected="good")])


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text('{"text": "a", "task": "topic", "expected": "food"}\n{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2: is no probe"):
        read_probes(path)
    with pytest.raises(DataError, match="no such file"):
        read_probes(tmp_path / "none.jsonl")


def test_the_probes_that_ship_expect_words_that_stand_in_their_texts() -> None:
    probes = read_probes(ROOT / "assets" / "samples" / "probes.jsonl")
    assert len(probes) >= 40
    for probe in probes:
        if not isinstance(probe.expected, str):
            assert all(words in probe.text for words, _ in probe.expected)
