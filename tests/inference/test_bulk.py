"""Files of any length: read piece by piece, checked before the work begins, whole or not there at all."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mtl.errors import ConfigError, DataError
from mtl.inference import bulk, ray_engine
from mtl.inference.predictor import Predictor

ROWS = [{"text": f"{'cat ' * (i % 7)}{i}", "id": i, "note": None if i < 5 else f"n{i}"} for i in range(23)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def run(verb: bulk.Verb, predictor: Predictor, table: Path, output: Path) -> list[int]:
    done: list[int] = []
    bulk.run(verb, predictor, table, output, bulk.survey(table), advance=done.append)
    return done


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_pieces_join_to_what_one_call_says(
    predictor: Predictor, table: Path, tmp_path: Path, monkeypatch, ending
) -> None:
    monkeypatch.setattr(bulk, "WINDOW", 4)
    output = tmp_path / f"answers.{ending}"
    assert run("predict", predictor, table, output) == [4, 4, 4, 4, 4, 3]
    readers = {"jsonl": lambda p: pd.read_json(p, lines=True), "csv": pd.read_csv, "parquet": pd.read_parquet}
    frame = readers[ending](output)
    expected = predictor.analyze([row["text"] for row in ROWS])
    assert list(frame.columns) == ["text", "id", "note", "topic", "topic_score", "entities", "truncated_at"]
    assert frame["id"].tolist() == list(range(23))
    assert frame["note"].tolist()[5:] == [f"n{i}" for i in range(5, 23)]
    assert frame["topic"].tolist() == [found["topic"].label for found in expected]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_vectors_are_written_in_half_the_room_of_doubles(predictor: Predictor, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "vectors.parquet"
    run("embed", predictor, table, output)
    frame = pd.read_parquet(output)
    assert frame["vector"][0].dtype == np.float32
    np.testing.assert_allclose(np.stack(frame["vector"]), predictor.encode([r["text"] for r in ROWS]), atol=1e-6)


def test_bad_rows_are_named_before_the_work_begins(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"txt": "b"}\n{"text": " "}\n[1]\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        bulk.survey(path)
    assert "row 4" in str(caught.value)
    path.write_text('{"text": "a"}\n{"txt": "b"}\n{"text": " "}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        bulk.survey(path)
    assert "rows.jsonl: 2 bad rows" in str(caught.value)
    path.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="has no rows"):
        bulk.survey(path)


def test_what_parquet_cannot_hold_leaves_no_file(predictor: Predictor, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bulk, "WINDOW", 1)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "n": 1}\n{"text": "b", "n": "many"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"values of several types.*write \.jsonl instead"):
        run("predict", predictor, path, tmp_path / "out.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl"]
    run("predict", predictor, path, tmp_path / "out.jsonl")
    assert [json.loads(line)["n"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [1, "many"]


def test_a_packed_table_is_streamed_too(predictor: Predictor, table: Path, tmp_path: Path) -> None:
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(table.read_bytes()))
    assert bulk.survey(packed) == bulk.survey(table) == bulk.Survey(23, ("text", "id", "note"))


def test_without_ray_a_sentence_says_what_to_install(
    predictor: Predictor, table: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs Ray Data: pip install 'ray\[data\]'"):
        ray_engine.run("embed", tmp_path, table, tmp_path / "parts", advance=lambda _: None)


@pytest.fixture
def checkpoint(predictor: Predictor, tmp_path: Path) -> Path:
    return predictor.save(tmp_path / "checkpoint")


@pytest.mark.long
@pytest.mark.parametrize("verb", ["embed", "predict"])
def test_a_cluster_of_two_workers_says_the_same_and_goes_on_by_part(
    checkpoint: Path, table: Path, tmp_path: Path, verb: bulk.Verb
) -> None:
    pytest.importorskip("ray")
    import mtl

    torch.set_num_threads(1)
    whole = tmp_path / "whole.parquet"
    run(verb, mtl.load(checkpoint), table, whole)
    done: list[int] = []
    output = tmp_path / "parts"
    ray_engine.run(verb, checkpoint, table, output, advance=done.append, part_rows=5, workers=2)
    assert (sum(done), sorted(done)) == (23, [3, 5, 5, 5, 5])
    parts = sorted(output.glob("part-*.parquet"))
    assert [part.name for part in parts] == [f"part-{i:05d}.parquet" for i in range(5)]
    together, expected = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True), pd.read_parquet(whole)
    pd.testing.assert_frame_equal(
        together.drop(columns="vector", errors="ignore"),
        expected.drop(columns="vector", errors="ignore"),
        check_dtype=False,
    )
    if verb == "embed":
        np.testing.assert_allclose(np.stack(together["vector"]), np.stack(expected["vector"]), atol=1e-6)
    kept = {part: part.stat().st_mtime_ns for part in parts}
    parts[3].unlink()
    again: list[int] = []
    ray_engine.run(verb, checkpoint, table, output, advance=again.append, part_rows=5, workers=2)
    assert again == [5, 5, 5, 3, 5]
    assert [part for part in parts if part.stat().st_mtime_ns != kept[part]] == [parts[3]]
    with pytest.raises(ConfigError, match="parts of another file, checkpoint or verb"):
        ray_engine.run(verb, checkpoint, table, output, advance=again.append, part_rows=6, workers=2)
