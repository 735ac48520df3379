"""Old heads rehearse their own answers, on sentences that the guard does not test with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl.data.splits import text_key
from mtl.service.replay import GUARD, Replay, as_table, guard_rows
from mtl.service.tuning import SOURCE, TuneRequest, read_data, train_config
from mtl.settings import Settings
from mtl.tasks import Classification, NamedEntities
from mtl.training.config import FreezePolicy
from mtl.types import LabelScores, Span

SETTINGS = Settings()


@pytest.fixture
def replay() -> Replay:
    return Replay(SETTINGS.samples)


@pytest.fixture
def table(tmp_path: Path, replay: Replay) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": text, "label": "law" if i % 2 else "food"} for i, text in enumerate(replay.texts[:20])]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_what_is_replayed_is_not_what_the_guard_tests(replay: Replay, predictor) -> None:
    tested = {row.texts[0] for row in guard_rows(SETTINGS.samples, predictor)}
    assert len(tested) == 169
    assert len(replay.texts) >= 160
    assert not tested & set(replay.texts)


def test_the_targets_are_what_the_model_says(replay: Replay, predictor) -> None:
    row = replay.rows(predictor)[3]
    found = predictor.analyze([row.texts[0]])[0]
    assert isinstance(found["topic"], LabelScores)
    assert row.targets["topic"] == found["topic"].label
    assert [(s.start, s.end, s.label) for s in row.targets["entities"]] == [
        (s.start, s.end, s.label) for s in found["entities"]
    ]
    assert replay.rows(predictor) is replay.rows(predictor), "asked once"
    sources = replay.sources(predictor, predictor.tasks[:2], weight=1)
    lines = [json.loads(line) for line in as_table(sources).splitlines()]
    assert len(lines) == len(replay.texts), "one line has what all tasks say"
    assert lines[3]["topic"] == row.targets["topic"]
    assert lines[3]["text"] == row.texts[0]


@pytest.mark.parametrize(
    ("heads", "freeze", "replayed"),
    [
        ({"classification": "mood"}, FreezePolicy(encoder=True), []),
        ({"classification": "topic"}, FreezePolicy(encoder=True), ["topic"]),
        ({"classification": "mood"}, FreezePolicy(), ["topic", "entities"]),
        ({"classification": "mood"}, FreezePolicy(heads=("topic",)), ["topic", "entities"]),
        ({"classification": "topic"}, FreezePolicy(encoder=True, heads=("topic",)), []),
        ({"classification": "topic"}, FreezePolicy(everything=True), []),
    ],
)
def test_heads_are_replayed_that_the_run_would_spoil(predictor, replay, table, heads, freeze, replayed) -> None:
    request = TuneRequest(path=table, heads=heads, freeze=freeze, replay_weight=0.6)
    data = read_data(predictor, request, SETTINGS, replay)
    assert [task.name for task in data.replayed] == replayed
    assert [source.name for source in data.sources] == [SOURCE, *(f"replay {name}" for name in replayed)]
    assert sum(source.weight for source in data.sources[1:]) == pytest.approx(0.6 if replayed else 0)
    assert len(data.validation[0].examples) == 4
    mine = {text_key(row) for part in (data.parts.train, data.parts.validation) for row in part}
    assert len(mine) == 20
    for source in data.sources[1:]:
        assert not mine & {text_key(row) for row in source.examples}, "an old answer against what the person says"
    shares = train_config(request, data).sampling.shares
    assert shares == ({} if not replayed else {s.name: s.weight for s in data.sources})
    trained = set(heads.values())
    still = {name for name in replayed if name not in trained} | set(freeze.heads)
    assert set(train_config(request, data).freeze.heads) == still, "a head that only rehearses stays as it is"
    none = read_data(predictor, TuneRequest(path=table, heads=heads, freeze=freeze, replay=False), SETTINGS, replay)
    assert none.replayed == ()


def test_the_guard_tests_a_task_by_its_name_and_labels(make_predictor) -> None:
    shipped = ("business", "entertainment", "geography", "health", "politics", "science/technology", "sports", "travel")
    topics = (*shipped, "opinion")
    named = make_predictor(
        tasks=(
            Classification(name="topic", labels=topics),
            Classification(name="sentiment", labels=("good", "bad")),
            NamedEntities(name="names", labels=("PER", "LOC", "ORG"), hidden=8),
        )
    )
    rows = guard_rows(SETTINGS.samples, named)
    assert sum("topic" in row.targets for row in rows) == 112
    assert sum("sentiment" in row.targets for row in rows) == 0, "it has other labels"
    assert sum("names" in row.targets for row in rows) == 169
    (row,) = (row for row in rows if row.texts[0].startswith("Spoke to Dana Whitlock"))
    assert row.targets["names"] == (Span(9, 22, "PER"), Span(26, 43, "ORG"))


def test_every_mark_of_the_guard_is_whole_words() -> None:
    for line in (SETTINGS.samples / GUARD).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for span in row["spans"]:
            before, after = row["text"][: span["start"]][-1:], row["text"][span["end"] :][:1]
            assert not before.isalnum(), row
            assert not after.isalnum(), row


def test_samples_without_a_guard_replay_all_and_test_nothing(tmp_path: Path, predictor) -> None:
    (tmp_path / "sentences.csv").write_text("text\none cat\ntwo laws\n", encoding="utf-8")
    assert Replay(tmp_path).texts == ("one cat", "two laws")
    assert guard_rows(tmp_path, predictor) == ()
