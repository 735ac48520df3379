"""The verbs: what they answer, what they refuse and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtl.errors import MtlError, SessionError
from mtl.service import regions
from mtl.service.corpora import Corpus
from mtl.service.maps import MapView
from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.settings import Settings
from mtl.training.config import FreezePolicy


@pytest.fixture
def service(predictor) -> Service:
    return Service(
        Settings(max_characters=1000, max_texts=50, max_points=40, max_steps=40, max_labels=20), base=predictor
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [f"{word} number {i},{'good' if word == 'yes' else 'bad'}" for i in range(12) for word in ("yes", "no")]
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    return path


def test_compare_is_the_cosine_of_the_two_vectors(service: Service) -> None:
    left, right = service.models.base.encode(["a red cat", "the blue dog"])
    found = service.similarity.compare("k", BASE, "a red cat", "the blue dog")
    assert found.score == pytest.approx(float(left @ right), abs=1e-6)
    assert found.cut == ()


def test_matrix_is_symmetric_with_ones_and_skips_blank_lines(service: Service) -> None:
    found = service.similarity.matrix("k", BASE, "one\n\n two \nthree\n")
    assert found.texts == ("one", "two", "three")
    np.testing.assert_allclose(found.scores, found.scores.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(found.scores), 1, atol=1e-5)


def test_search_is_best_first_and_knows_its_places(service: Service) -> None:
    hits = service.similarity.search("k", BASE, "two", Corpus(("one", "two", "three"), {}), top_k=2).hits
    assert len(hits) == 2
    assert (hits[0].place, hits[0].text) == (1, "two")
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert hits[0].score >= hits[1].score


def test_what_was_cut_is_never_silent(service: Service) -> None:
    long = "word " * 60
    assert service.similarity.compare("k", BASE, "short", long).cut == (1,)
    assert service.similarity.search("k", BASE, long, Corpus(("short", long), {})).cut == (0, 2)
    assert service.similarity.matrix("k", BASE, f"short\n{long}").cut == (1,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.similarity.compare("k", BASE, " \n", "b"), "The first sentence is empty"),
        (lambda s: s.similarity.compare("k", BASE, "a", ""), "The second sentence is empty"),
        (lambda s: s.labelling.analyze("k", BASE, "\t"), "The text is empty"),
        (lambda s: s.labelling.analyze("k", BASE, "x" * 1_000_000), "has 1,000,000 characters; the limit is 1,000"),
        (lambda s: s.similarity.matrix("k", BASE, "only one"), "has 1 sentences; a heat map takes 2 to 40"),
        (lambda s: s.corpora.from_lines("a\n" * 51), "has 51 texts; the limit is 50"),
        (lambda s: s.corpora.from_lines("a" * 50_001), "The list has 50,001 characters"),
        (lambda s: s.labelling.analyze("k", "tuned 9", "text"), "Model 'tuned 9' is not here any more"),
    ],
)
def test_what_cannot_be_answered_gets_one_sentence(service: Service, call, words: str) -> None:
    with pytest.raises(SessionError, match=words) as caught:
        call(service)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["👍🏽👩‍👩‍👧", "\x00\x07\x1b[0m", "Привет мир 你好 שלום", "\u202eabc", "\ud83d", "e\u0301" * 20, "​"]
)
def test_strange_text_is_read(service: Service, text: str) -> None:
    found = service.labelling.analyze("k", BASE, text)
    assert found.vector.shape == (service.models.base.model.encoder.width,)
    assert np.isfinite(found.vector).all()


def test_a_corpus_finds_its_text_column_and_keeps_the_others(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("id,remark\n1,a long remark about wine\n2,another remark about law\n", encoding="utf-8")
    corpus = service.corpora.from_file(path)
    assert corpus.texts == ("a long remark about wine", "another remark about law")
    assert corpus.columns == {"id": ("1", "2")}
    points = service.maps.read("k", BASE, corpus)
    assert points.points.shape == (2, 2)
    assert points.corpus.columns["id"] == ("1", "2")


def test_a_column_of_zeros_is_not_blank(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"text": "a", "flag": 0, "ok": false}\n{"text": "b", "flag": 1.0, "ok": null}', encoding="utf-8")
    assert service.corpora.from_file(path).columns == {"flag": ("0", "1"), "ok": ("False", "")}


def test_only_the_map_that_all_pages_share_weighs_next_to_nothing(service: Service, monkeypatch) -> None:
    weights = []
    monkeypatch.setattr(service.maps.shelf, "put", lambda view, weight, owner: weights.append(weight))
    shared, plain = MapView(service.maps.samples()), MapView(service.maps.read("k", BASE, service.corpora.sample))
    for view in (shared, plain, regions.clustered(shared), MapView(shared.points, shared.points)):
        service.maps.keep(view, "k")
    assert weights[:2] == [1000, 1000], "the same map"
    assert min(weights[2:]) >= 500 * len(service.corpora.sample.texts)


def test_few_points_are_placed_by_pca_and_it_says_so(service: Service) -> None:
    first = service.maps.read("k", BASE, service.corpora.from_lines("one\ntwo\nthree"))
    assert service.maps.refine(first).method == "PCA"
    many = service.maps.read("k", BASE, service.corpora.from_lines("\n".join("abcdefghijkl")))
    assert service.maps.refine(many).method == "UMAP"


def test_rows_without_a_text_are_left_out_of_a_map_and_counted(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("Feedback;Région\ngood wine;Nord\n;Sud\nbad wine;Est\n", encoding="utf-8")
    corpus = service.corpora.from_file(path, "Feedback")
    assert (corpus.texts, corpus.columns["Région"], corpus.left_out) == (("good wine", "bad wine"), ("Nord", "Est"), 1)
    assert service.maps.read("k", BASE, corpus).corpus.left_out == 1
    assert service.corpora.columns(path) == ("Feedback", "Région")


def test_the_samples_are_many_and_their_columns_can_be_coloured(service: Service) -> None:
    roomy = Service(Settings(), base=service.models.base)
    assert len(roomy.corpora.sample.texts) >= 300
    assert len(set(roomy.corpora.sample.texts)) == len(roomy.corpora.sample.texts)
    assert set(roomy.corpora.sample.columns) >= {"theme", "register"}


def test_a_tuned_model_is_its_sessions_own_and_leaves_the_base_as_it_was(service: Service, table: Path) -> None:
    before = {name: value.clone() for name, value in service.models.base.model.state_dict().items()}
    request = TuneRequest(
        path=table,
        heads={"classification": "mood"},
        steps=40,
        freeze=FreezePolicy(),
        encoder_lr=1e-3,
        head_lr=1e-2,
        retention=False,
    )
    run = service.tune("mine", BASE, request)
    run.join(120)
    assert run.state == "ended", run.error
    assert service.models.names("mine") == [BASE, "tuned 1"]
    assert service.models.names("other") == [BASE]
    with pytest.raises(SessionError, match="not here"):
        service.labelling.analyze("other", "tuned 1", "yes")
    tuned = service.models.get("mine", "tuned 1")
    assert service.labelling.analyze("mine", "tuned 1", "yes number 3")["mood"].label in ("good", "bad")
    assert "mood" not in {task.name for task in service.models.base.tasks}
    after = service.models.base.model.state_dict()
    assert before.keys() == after.keys()
    assert all((after[name] == value).all() for name, value in before.items())
    assert any((tuned.model.state_dict()[name] != value).any() for name, value in before.items())


def test_a_second_run_of_one_session_is_refused_until_the_first_is_over(service: Service, table: Path) -> None:
    request = TuneRequest(path=table, heads={"classification": "mood"}, steps=40)
    run = service.tune("mine", BASE, request)
    with pytest.raises(SessionError, match="not over yet"):
        service.tune("mine", BASE, request)
    service.stop("mine")
    run.join(60)
    assert run.state == "ended"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": {}}, "No head is chosen"),
        ({"heads": {"ner": "places"}}, "needs a column 'spans' or 'tags'"),
        ({"heads": {"classification": "entities"}}, "Head 'entities' is of kind ner"),
        ({"heads": {"classification": "topic"}}, "the data also has bad, good; give a new name"),
        ({"heads": {"classification": "mood"}, "steps": 0}, "The number of steps is 0; choose 1 to 40"),
        ({"heads": {"classification": "mood"}, "columns": {"label": "nope"}}, "has no column 'nope'"),
        ({"heads": {"classification": "a b!"}}, "use letters"),
        ({"heads": {"classification": "same", "ner": "same"}}, "Both heads have one name"),
        ({"heads": {"classification": "mood"}, "columns": {"label": "text", "text": "label"}}, "the limit is 20"),
        ({"heads": {"classification": "mood"}, "freeze": FreezePolicy(layers=99)}, "freeze.layers is 99"),
    ],
)
def test_a_request_that_cannot_be_trained_says_why(service: Service, table: Path, change, words: str) -> None:
    request = TuneRequest(**{"path": table, "steps": 5, **change})
    try:
        run = service.tune("mine", BASE, request)
        run.join(60)
        message = run.error or ""
    except MtlError as error:
        message = str(error)
    assert words in message


def test_a_map_says_how_far_to_trust_it_and_takes_one_more_sentence(service: Service) -> None:
    lines = [f"{word} {i}" for i in range(20) for word in ("cat", "judge")]
    first = service.maps.read("k", BASE, service.corpora.from_lines("\n".join(lines)))
    assert first.trust is None
    final = service.maps.refine(first)
    assert 0.5 < final.trust <= 1
    placed = service.maps.place("k", BASE, final, lines[7])
    np.testing.assert_allclose(placed.point, final.points[7], atol=1e-3)
    assert placed.nearest == lines[7]
    assert np.isfinite(service.maps.place("k", BASE, final, "another cat").point).all()
    with pytest.raises(SessionError, match="The sentence is empty"):
        service.maps.place("k", BASE, final, " ")
    with pytest.raises(SessionError, match="drawn with model 'default'"):
        service.maps.place("k", "tuned 1", final, "a")
