"""`compare` from the command line: verdicts on the screen and in a file, and a second call that goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mtl.__main__ import app, main
from mtl.inference.predictor import Predictor
from mtl.training import verdict

RECIPE = """
encoder: {encoder}
max_tokens: 32
tasks:
  places: {{type: ner, labels: [LOC], hidden: 8}}
  alike: {{type: similarity}}
sources:
  notes: {{tasks: [places], train: notes.csv, test: notes_test.csv}}
  pairs: {{tasks: [alike], train: pairs.csv, test: pairs_test.csv}}
training: {{batch_rows: 4, precision: fp32, encoder_lr: 0.005, head_lr: 0.05}}
"""


@pytest.fixture
def recipe(predictor: Predictor, tmp_path: Path) -> Path:
    def write(name: str, head: str, rows: list[str]) -> None:
        (tmp_path / name).write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")

    for ending, start, rows in (("", 0, 8), ("_test", 20, 6)):
        places = range(start, start + rows)
        write(f"notes{ending}.csv", "tokens,tags", [f"in {('Rome', 'Oslo')[i % 2]} {i},O B-LOC O" for i in places])
        write(f"pairs{ending}.csv", "sentence1,sentence2,score", [f"a {i},{'ab'[i % 2]} x,{i % 5}" for i in places])
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(encoder=predictor.save(tmp_path / "tiny")), encoding="utf-8")
    return path


def words(recipe: Path, *more: str) -> list[str]:
    output = recipe.parent / "out"
    fixed = ["--data-root", str(recipe.parent), "--output", str(output), "--device", "cpu", "--seeds", "1"]
    return ["compare", str(recipe), *fixed, *more]


def call(recipe: Path, *more: str) -> list[str]:
    result = CliRunner().invoke(app, words(recipe, *more), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_compare_prints_its_verdicts_writes_them_and_goes_on(recipe: Path, monkeypatch, capsys) -> None:
    runs = ["multi-task", "single-task places", "single-task alike", "frozen probe", "without retention"]
    done = [f"[{place}/5] {name}, seed 0: done" for place, name in enumerate(runs, start=1)]
    path = recipe.parent / "out" / verdict.COMPARISON_FILE

    printed = call(recipe, "--cap", "6")
    found = verdict.read(path)
    assert [line for line in printed if line.startswith("[")] == done
    assert sum(line.startswith("step 1 ") for line in printed) == 5
    assert printed[-8:] == [*verdict.in_words(found), f"wrote {path}"]
    assert [line.partition(":")[0] for line in printed[-8:-1]] == ["places"] * 3 + ["alike"] * 3 + ["One seed"]
    assert (found.encoder, found.cap, found.seeds) == ("tiny", 6, (0,))
    assert (found.one_pass.texts, found.one_pass.passes) == (6, 2)
    assert {c.arm: c.steps for c in found.costs}["multi-task"] == 4  # two batches of each set's six rows
    right = json.loads((recipe.parent / "out" / "runs" / "multi-task-0.json").read_bytes())["metrics"]
    score = next(s for s in found.scores if (s.task, s.source, s.arm) == ("places", None, "multi-task"))
    assert score.interval.value == right["notes/places"]["f1"]
    assert str(recipe.parent) not in path.read_text(encoding="utf-8")

    assert call(recipe, "--cap", "6") == [*done, *printed[-8:]]
    again = verdict.read(path)
    assert (again.scores, again.differences, again.costs) == (found.scores, found.differences, found.costs)

    monkeypatch.setattr(sys, "argv", ["mtl", *words(recipe, "--cap", "0")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: {path.parent}: holds a comparison of another recipe, cap or data; choose another --output"
