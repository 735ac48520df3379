"""Every feature of the fine-tune tab, walked once on a desktop's screen with the real checkpoint."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

import mtl
from tests.e2e.conftest import opened
from tests.e2e.test_app import choose_file, open_tab
from tests.e2e.test_workbench import choose, text_of, wait_for_words

pytestmark = pytest.mark.e2e

STATUS = "document.querySelector('#tune-status').innerText"


def open_panel(page, name: str) -> None:
    """As a person does: opens, then looks. What is typed in the moment in which a panel opens is lost."""
    page.get_by_role("button", name=name).click()
    page.wait_for_timeout(1000)


def set_number(page, field: str, value: str) -> None:
    page.locator(f"{field} input[type=number]").fill(value)
    page.locator(f"{field} input[type=number]").press("Enter")


def train(page, name: str = "tuned 1", words: str = "finished after") -> None:
    page.locator("#tune-go").click()
    page.wait_for_function(f"{STATUS}.includes('{name}') && {STATUS}.includes('{words}')", timeout=180_000)


def tuned_table(page, field: str) -> list[list[str]]:
    page.locator(f"{field} tr").nth(1).wait_for()
    return [row.split("\t") for row in page.locator(f"{field} tr").all_inner_texts()[1:]]


def test_the_data_is_shown_with_its_columns_counts_and_first_tokens(wide) -> None:
    open_tab(wide, "Fine-tune")
    wait_for_words(wide, "#tune-table", "350 rows to learn from, 87 put aside")
    heads = wide.locator("#tune-table th").all_inner_texts()
    assert [" ".join(head.split()) for head in heads] == [
        "text the text",
        "spans teaches things",
        "label teaches request",
    ]
    wide.locator("#tune-table summary").first.click()
    assert "hardware 73" in text_of(wide, "#tune-table")
    wide.get_by_role("button", name="The first rows as the model sees them").click()
    wide.locator("#tune-rows .mtl-tagged").first.wait_for()
    assert "B-" in text_of(wide, "#tune-rows")
    assert "ignored" in text_of(wide, "#tune-rows")


def test_problems_of_a_table_are_named_by_row_before_anything_starts(wide, tmp_path: Path) -> None:
    table = tmp_path / "bad.csv"
    table.write_text("text,label\nfine,a\nragged\nalso fine,b\n", encoding="utf-8")
    open_tab(wide, "Fine-tune")
    wide.get_by_label("My table").check()
    wait_for_words(wide, "#tune-table", "No table yet; upload one first.")
    choose_file(wide, "#tune-file", table)
    wide.wait_for_function("/row 2.*expected 2/s.test(document.querySelector('#tune-table').innerText)")


def test_a_table_can_be_taken_away_mended_and_given_again(wide, tmp_path: Path) -> None:
    rows = [f"{word} number {i};{'good' if word == 'yes' else 'bad'}" for i in range(6) for word in ("yes", "no")]
    table = tmp_path / "remarks.csv"
    table.write_text("Customer remark;Mood\n" + "\n".join([*rows, ";good"]), encoding="utf-8")
    open_tab(wide, "Fine-tune")
    wide.get_by_label("My table").check()
    choose_file(wide, "#tune-file", table)
    wait_for_words(wide, "#tune-table", "column 'Customer remark'")
    wide.locator("#tune-file button[aria-label*='lear' i], #tune-file button[aria-label*='emove' i]").first.click()
    wait_for_words(wide, "#tune-table", "No table yet; upload one first.")
    table.write_text("Customer remark;Mood\n" + "\n".join([*rows, "unsaid;"]), encoding="utf-8")
    choose_file(wide, "#tune-file", table)
    wait_for_words(wide, "#tune-table", "10 rows to learn from, 2 put aside")
    assert "1 row without a label: left out." in text_of(wide, "#tune-table")
    assert wide.locator("[data-testid=toast-text]").count() == 0


def test_the_network_is_drawn_pressed_and_measured(wide) -> None:
    open_tab(wide, "Fine-tune")
    part = wide.locator("#tune-network [data-part='layer 5']")
    assert part.get_attribute("aria-pressed") == "false"
    part.click()
    wide.wait_for_function("document.querySelector(\"[data-part='layer 5']\").ariaPressed === 'true'")
    assert wide.get_by_label("Top layers and heads").is_checked()
    assert wide.locator("#tune-network [data-part='layer 4']").get_attribute("aria-pressed") == "false"
    assert "will drift" not in text_of(wide, "#tune-network"), "the old heads are replayed"
    wide.get_by_label("Replay sample sentences").uncheck()
    wait_for_words(wide, "#tune-network", "Heads topic, sentiment, entities are neither trained nor rehearsed")
    wide.locator("#tune-network [data-part='head topic']").click()
    wide.wait_for_function("document.querySelector('#tune-frozen input').checked")
    wide.locator("#tune-measure").click()
    wait_for_words(wide, "#tune-cost-step", "A step takes")
    assert re.search(r"takes \d+ ms, \d\.\d GB of memory; 200 steps about \d+ s", text_of(wide, "#tune-cost-step"))


def test_the_mix_follows_every_switch_before_any_step(wide) -> None:
    open_tab(wide, "Fine-tune")
    open_panel(wide, "The mix of tasks, before any step")
    wait_for_words(wide, "#tune-mix", "your data")
    assert "replay" not in text_of(wide, "#tune-mix"), "nothing that is frozen can be forgotten"
    wide.get_by_label("Everything", exact=True).check()
    wait_for_words(wide, "#tune-mix", "replay sentiment")

    def shares() -> dict[str, float]:
        rows = wide.locator("#tune-mix table").first.locator("tr").all_inner_texts()[1:]
        cells = [re.split(r"[\t\n]+", row) for row in rows]
        return {cell[0]: float(cell[2].strip("%")) / 100 for cell in cells}

    assert shares()["your data"] == pytest.approx(2 / 3, abs=0.01)
    set_number(wide, "#tune-replay-weight", "1")
    wait_for_words(wide, "#tune-mix", "50%")
    choose(wide, "#tune-sampler", "In turn")
    wait_for_words(wide, "#tune-mix", "25%")
    assert shares() == pytest.approx(dict.fromkeys(shares(), 0.25))
    choose(wide, "#tune-sampler", "By size times weight, evened out")
    wide.locator("#tune-temperature").wait_for()
    wide.get_by_label("Replay sample sentences").uncheck()
    wait_for_words(wide, "#tune-mix", "100%")
    assert list(shares()) == ["your data"]


def test_a_run_is_watched_its_weights_and_conflicts_and_stopped_at_once(wide) -> None:
    open_tab(wide, "Fine-tune")
    wide.get_by_label("Everything", exact=True).check()
    open_panel(wide, "The mix of tasks, before any step")
    set_number(wide, "#tune-label-weight", "2")
    set_number(wide, "#tune-steps", "500")
    wide.wait_for_timeout(500)
    assert wide.locator("#tune-label-weight input[type=number]").input_value() == "2"
    wide.locator("#tune-go").click()
    wide.wait_for_function(
        f"/step [1-9].* steps and .* tokens a second, about .* s left/.test({STATUS})", timeout=180_000
    )
    wide.locator("#tune-conflict .heatmaplayer").wait_for()
    pairs = wide.locator("#tune-conflict .ytick").all_text_contents()
    assert any("request" in pair and "topic" in pair for pair in pairs), pairs
    wide.wait_for_function("document.querySelectorAll('#tune-weights .scatterlayer .trace').length >= 2")
    weights = wide.evaluate(
        "document.querySelector('#tune-weights .js-plotly-plot').data.map(line => [line.name, line.y[0]])"
    )
    assert ["request", 2] in weights
    assert ["things", 1] in weights
    wide.locator("#tune-held .scatterlayer .trace").first.wait_for()
    wide.reload()
    wide.wait_for_selector("#pair-score")
    open_tab(wide, "Fine-tune")
    wide.wait_for_function(f"/tuned 1.*step [1-9]/.test({STATUS})")
    wide.locator("#tune-stop").click()
    wide.wait_for_function(f"{STATUS}.includes('was stopped')", timeout=180_000)
    assert "of 500 steps" in text_of(wide, "#tune-status")


def test_a_second_visitor_sees_their_place_in_the_queue(wide, app, browser) -> None:
    open_tab(wide, "Fine-tune")
    wide.get_by_label("Top layers and heads").check()
    set_number(wide, "#tune-steps", "500")
    wide.wait_for_timeout(500)
    wide.locator("#tune-go").click()
    wide.wait_for_function(f"/step [1-9]/.test({STATUS})", timeout=180_000)
    with opened(app, browser, "wide") as other:
        open_tab(other, "Fine-tune")
        set_number(other, "#tune-steps", "10")
        other.locator("#tune-go").click()
        other.wait_for_function(f"{STATUS}.includes('waits; 1 run(s) come first')")
        wide.locator("#tune-stop").click()
        other.wait_for_function(f"{STATUS}.includes('finished after 10')", timeout=240_000)
    wide.wait_for_function(f"{STATUS}.includes('was stopped')", timeout=180_000)


def test_heads_learn_and_nothing_is_forgotten_and_the_model_goes_along(wide, tmp_path: Path) -> None:
    open_tab(wide, "Fine-tune")
    train(wide)
    gains = {(row[0], row[1]): float(row[3]) for row in tuned_table(wide, "#tune-scores")}
    assert gains["request", "accuracy"] >= 0.85
    assert gains["things", "f1"] >= 0.7
    wait_for_words(wide, "#tune-cost", "What it cost elsewhere: nothing")
    rows = tuned_table(wide, "#tune-cost")
    assert {row[4] for row in rows} == {"+0.000"}
    assert ["sentiment", "accuracy, 169 known answers"] in [row[:2] for row in rows]
    wide.locator("#tune-moved-go").click()
    wide.get_by_text("The encoder was frozen: no sentence moved.").wait_for()

    choose(wide, "#model", "tuned 1")
    wide.locator("#tune-download").click()
    with wide.expect_download() as download:
        wide.locator("#tune-capsule a").first.click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    model = mtl.load(tmp_path / "out" / "model")
    assert model.analyze(["My laptop does not start any more."])[0]["request"].label == "hardware"
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "README.md", "curves.csv", "drift.json", "model", "recipe.yaml", "run.jsonl", "settings.json"
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["steps"] == 200

    set_number(wide, "#tune-steps", "35")
    wide.get_by_label("Everything", exact=True).check()
    wide.get_by_role("button", name="The same as a command and in Python").click()
    assert wide.locator("#tune-command textarea").input_value().startswith("python -m mtl train run/recipe.yaml")
    choose_file(wide, "#tune-restore", path)
    wait_for_words(wide, "#tune-restored", "The settings are in the fields above.")
    assert wide.locator("#tune-steps input[type=number]").input_value() == "200"
    wide.wait_for_function("document.querySelector('#tune-recipe textarea').value.includes('encoder: true')")
    assert "from mtl.training.fit import fit" in wide.locator("#tune-python textarea").input_value()

    open_tab(wide, "Similarity")
    wide.locator("#pair-go").click()
    open_tab(wide, "Classify & entities")
    wide.locator("#analyze-text textarea").fill("My laptop does not start any more.")
    wide.locator("#analyze-go").click()
    wait_for_words(wide, "#analyze-labels", "request")


def test_everything_without_retention_shows_what_it_forgets_and_runs_are_compared(wide) -> None:
    open_tab(wide, "Fine-tune")
    set_number(wide, "#tune-steps", "60")
    wide.get_by_label("Everything", exact=True).check()
    set_number(wide, "#tune-encoder-rate", "0.0003")
    wide.get_by_label("Hold sentence vectors").uncheck()
    wide.get_by_label("Replay sample sentences").uncheck()
    wide.wait_for_timeout(500)
    train(wide)
    lost = {row[1].split(",")[0]: float(row[4]) for row in tuned_table(wide, "#tune-cost") if row[0] == "topic"}
    assert lost["labels as before"] < -0.15
    assert wide.locator("#tune-cost .mtl-lost").count() >= 2
    assert int(re.search(r"(\d+) answers changed", text_of(wide, "#tune-cost"))[1]) > 50
    wide.locator("#tune-cost summary").click()
    assert wide.locator("#tune-cost .mtl-flips li").count() == 12
    wide.locator("#tune-moved-go").click()
    wide.wait_for_function(
        "document.querySelectorAll('#tune-moved .xaxislayer-above, #tune-moved .subplot').length >= 2"
    )
    axes = wide.evaluate(
        "(l => [l.xaxis.range, l.xaxis2.range, l.yaxis.range, l.yaxis2.range])"
        "(document.querySelector('#tune-moved .js-plotly-plot')._fullLayout)"
    )
    assert axes[0] == axes[1]
    assert axes[2] == axes[3]

    wide.get_by_label("Hold sentence vectors").check()
    wide.get_by_label("Replay sample sentences").check()
    wide.wait_for_timeout(500)
    train(wide, "tuned 2")
    kept = {row[1].split(",")[0]: float(row[4]) for row in tuned_table(wide, "#tune-cost") if row[0] == "topic"}
    assert kept["labels as before"] > lost["labels as before"] + 0.05, "the switches do nothing"
    rows = {row[0]: row for row in tuned_table(wide, "#tune-runs")}
    assert "vectors held: no" in rows["tuned 1"][1]
    assert "samples replayed: yes" in rows["tuned 2"][1]
    assert float(rows["tuned 1"][4]) < float(rows["tuned 2"][4])
    wide.wait_for_function("document.querySelectorAll('#tune-overlay .scatterlayer .trace').length === 2")


def test_corrections_are_learned_and_proved(wide) -> None:
    open_tab(wide, "Classify & entities")
    wide.get_by_role("button", name="Is something wrong? Correct it").click()
    texts = ("The old ferry sank beside the harbour wall.", "A ferry captain retired after forty years.")
    for number, text in enumerate(texts, start=1):
        wide.locator("#analyze-text textarea").fill(text)
        wide.locator("#analyze-go").click()
        wide.wait_for_timeout(1000)
        choose(wide, "#correct-label", "sports" if number == 1 else "health")
        wide.locator("#correct-go").click()
        wait_for_words(wide, "#correct-note", f"{number} text{'s' * (number > 1)} corrected")
    open_tab(wide, "Fine-tune")
    wide.get_by_label("My corrections").check()
    wait_for_words(wide, "#tune-table", "2 rows to learn from; none is put aside")
    assert wide.locator("#tune-label-head input").input_value() == "topic"
    train(wide)
    wait_for_words(wide, "#tune-asked", "of your corrections are answered as you said")
    rows = [row for row in tuned_table(wide, "#tune-asked") if row[1] == "topic"]
    assert {row[2] for row in rows} == {"sports", "health"}
    assert wide.locator("#tune-steps input[type=number]").input_value() == "40"
    assert wide.locator("#tune-span-head input").input_value() == "", "no entity was corrected"
    assert all(row[4].startswith("✓") for row in rows), rows
    costs = {row[1].split(",")[0]: float(row[4]) for row in tuned_table(wide, "#tune-cost") if row[0] == "topic"}
    assert costs["labels as before"] > -0.2, "two corrections cost a fifth of all answers"


def test_whether_sharing_was_worth_it_is_said_in_plain_words(wide) -> None:
    wide.get_by_role("button", name="Was sharing worth it?").click()
    wait_for_words(wide, "#sharing-words", "One way to do 4 jobs is to train 4 models, a specialist for each.")
    assert wide.locator("#sharing-words li").count() == 4
