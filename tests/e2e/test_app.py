"""Each tab in a real browser, with the real checkpoint: what depends on the width on both, the rest on one of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtl.settings import ROOT
from mtl.training.verdict import COMPARISON_FILE, read

pytestmark = pytest.mark.e2e


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).first.click()


def choose_file(page, field: str, path: Path) -> None:
    """As a person does: sees the field, then chooses. A file given while the field is being drawn is lost."""
    page.locator(field).get_by_text("Click to Upload").wait_for()
    page.wait_for_timeout(1000)
    page.locator(f"{field} input[type=file]").set_input_files(str(path))


def wait_for_file(page, field: str, name: str) -> None:
    """Until a field shows a file; its name and its ending are elements of their own."""
    page.wait_for_function(
        "([field, name]) => document.querySelector(field).innerText.replace(/\\s/g, '').includes(name)",
        arg=[field, name],
    )


def test_page_is_no_wider_than_the_screen(page) -> None:
    for tab in ("Similarity", "Map", "Classify & entities", "Fine-tune"):
        open_tab(page, tab)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), tab


def test_two_sentences_open_answered_and_compare_by_meaning(page) -> None:
    shown = page.locator("#pair-score .mtl-score")
    assert float(shown.inner_text()) > 0.5  # the example, before any click

    page.locator("#pair-left textarea").fill("The cat sleeps on the sofa.")
    page.locator("#pair-right textarea").fill("Quarterly revenue rose by nine percent.")
    page.locator("#pair-go").click()
    page.wait_for_function("parseFloat(document.querySelector('#pair-score .mtl-score').innerText) < 0.3")
    page.locator("#pair-right textarea").fill("A cat is asleep on the couch.")
    page.locator("#pair-go").click()
    page.wait_for_function("parseFloat(document.querySelector('#pair-score .mtl-score').innerText) > 0.7")


def test_blank_sentence_gets_a_sentence_back_and_nothing_is_lost(phone) -> None:
    before = phone.locator("#pair-score .mtl-score").inner_text()
    phone.locator("#pair-left textarea").fill("   ")
    phone.locator("#pair-go").click()
    phone.get_by_text("The first sentence is empty; write something first.").wait_for()
    assert phone.locator("#pair-score .mtl-score").inner_text() == before
    assert phone.locator("#pair-right textarea").input_value() != ""


def test_search_ranks_the_answer_first(desktop) -> None:
    open_tab(desktop, "Search")
    desktop.locator("#search-query textarea").fill("how do I get a refund")
    lines = "The office is closed on Friday.\nSend the parcel back and we return your money.\nPandas eat bamboo."
    desktop.locator("#search-lines textarea").fill(lines)
    desktop.locator("#search-go").click()
    first = desktop.locator("#search-results li").first
    desktop.wait_for_function(
        "document.querySelector('#search-results li span').innerText.startsWith('Send the parcel')"
    )
    assert 0.1 < float(first.locator("b").inner_text()) <= 1


def test_list_is_drawn_as_a_heat_map(phone) -> None:
    open_tab(phone, "Lists")
    phone.locator("#matrix-lines textarea").fill("red wine\nwhite wine\ntax law")
    phone.locator("#matrix-go").click()
    shown = "[...document.querySelectorAll('#matrix-plot .ytick text')].map(label => label.textContent).sort().join()"
    phone.wait_for_function(f"{shown} === '1. red wine,2. white wine,3. tax law'")
    numbers = phone.locator("#matrix-plot .heatmap-label").all_text_contents()
    assert numbers.count("1.00") == 3
    assert float(numbers[1]) > float(numbers[2])


def test_map_opens_drawn_is_refined_and_takes_pasted_lines(phone) -> None:
    open_tab(phone, "Map")
    phone.locator("#map-plot .plotly").first.wait_for()
    phone.wait_for_function("document.querySelector('#map-note').innerText.includes('UMAP.')", timeout=120_000)
    shown = int(re.match(r"(\d+) sentences", phone.locator("#map-note").inner_text())[1])
    assert shown >= 300
    assert re.search(r"Trustworthiness 0\.[5-9]\d", phone.locator("#map-note").inner_text())
    phone.locator("#map-sentence textarea").fill("The goalkeeper saved two penalties.")
    phone.locator("#map-sentence textarea").press("Enter")
    phone.wait_for_function("document.querySelector('#map-note').innerText.startsWith('Your sentence is the star')")
    phone.wait_for_function("document.querySelector('#map-plot .legend')?.textContent.includes('your sentence')")

    phone.get_by_label("Pasted lines").check()
    phone.locator("#map-lines textarea").fill(
        "\n".join(f"{word} is on the table" for word in ["bread", "wine", "salt"])
    )
    phone.locator("#map-go").click()
    phone.wait_for_function("document.querySelector('#map-note').innerText.startsWith('3 sentences')")


def test_map_reads_an_uploaded_table_and_colours_by_its_column(desktop, tmp_path: Path) -> None:
    table = tmp_path / "notes.csv"
    rows = [
        f'"Note {i} about {"cooking pasta" if i % 2 else "repairing bikes"}",{"food" if i % 2 else "bike"}'
        for i in range(30)
    ]
    table.write_text("remark,kind\n" + "\n".join(rows), encoding="utf-8")
    open_tab(desktop, "Map")
    desktop.get_by_label("A table", exact=True).check()
    choose_file(desktop, "#map-file", table)
    wait_for_file(desktop, "#map-file", "notes.csv")
    desktop.wait_for_timeout(800)
    desktop.locator("#map-go").click()
    desktop.wait_for_function(
        "document.querySelector('#map-note').innerText.startsWith('30 sentences')", timeout=120_000
    )
    desktop.locator("#map-colour input").click()
    desktop.get_by_role("option", name="kind", exact=True).click()
    desktop.wait_for_function("document.querySelector('#map-plot .legend')?.textContent.includes('bike')")


def test_labels_and_entities_with_a_threshold(page) -> None:
    open_tab(page, "Classify & entities")
    assert page.locator("#analyze-entities mark").count() >= 2  # the example, before any click
    page.locator("#analyze-text textarea").fill(
        "The flu vaccine, said Angela Brown of the U.S. hospital, is safe 👍🏽 in Berlin."
    )
    page.locator("#analyze-go").click()
    page.wait_for_function("document.querySelector('#analyze-entities').innerText.includes('Angela Brown')")
    marks = page.locator("#analyze-entities mark").all_inner_texts()
    assert any(mark.startswith("Angela Brown") and "PER" in mark for mark in marks), marks
    assert any(mark.startswith("Berlin") and "LOC" in mark for mark in marks), marks
    assert page.locator("#analyze-labels .mtl-bar b").first.inner_text() == "health"
    page.locator("#threshold input[type=number]").fill("1")
    page.locator("#analyze-go").click()
    page.wait_for_function("document.querySelector('#analyze-entities').innerText.includes('below the threshold')")
    assert page.locator("#analyze-entities mark").count() == 0


def test_what_is_cut_off_is_shown(phone) -> None:
    open_tab(phone, "Classify & entities")
    phone.locator("#analyze-text textarea").fill("one two three four five six seven eight nine ten " * 60)
    phone.locator("#analyze-go").click()
    phone.locator("#analyze-entities .mtl-cut").wait_for()
    assert "The model reads 256 tokens at a time" in phone.locator("#analyze-entities .mtl-warn").inner_text()


def test_markup_in_a_text_stays_text(desktop) -> None:
    open_tab(desktop, "Classify & entities")
    desktop.locator("#analyze-text textarea").fill("<img src=x onerror=alert(1)> & Paris")
    desktop.locator("#analyze-go").click()
    desktop.wait_for_function("document.querySelector('#analyze-entities').innerText.includes('onerror=alert')")
    assert desktop.locator("#analyze-entities img").count() == 0


def test_fine_tune_learns_survives_a_reload_and_its_model_answers(phone) -> None:
    open_tab(phone, "Fine-tune")
    phone.locator("#tune-steps input[type=number]").fill("40")
    phone.locator("#tune-go").click()
    phone.wait_for_function("document.querySelector('#tune-status').innerText.includes('tuned 1')", timeout=120_000)
    phone.reload()
    phone.wait_for_selector("#pair-score")
    open_tab(phone, "Fine-tune")
    phone.wait_for_function(
        "/tuned 1 finished after 40 of/.test(document.querySelector('#tune-status').innerText)", timeout=180_000
    )
    rows = phone.locator("#tune-scores tr").all_inner_texts()
    gains = {tuple(row.split("\t")[:2]): float(row.split("\t")[4]) for row in rows[1:]}
    assert gains[("request", "accuracy")] > 0.2, rows
    assert phone.locator("#tune-curve .scatterlayer .trace").count() >= 4

    phone.locator("#model input").click()
    phone.get_by_role("option", name="tuned 1").click()
    open_tab(phone, "Classify & entities")
    phone.locator("#analyze-text textarea").fill("please order two new monitors for my team")
    phone.locator("#analyze-go").click()
    phone.wait_for_function("document.querySelector('#analyze-labels').innerText.includes('request')")
    assert "things" in phone.locator("#analyze-entities").inner_text()


def test_stop_keeps_the_best_and_another_browser_does_not_see_the_model(desktop, app, browser) -> None:
    open_tab(desktop, "Fine-tune")
    desktop.locator("#tune-steps input[type=number]").fill("500")
    desktop.locator("#tune-go").click()
    desktop.wait_for_function("/step [1-9]/.test(document.querySelector('#tune-status').innerText)", timeout=120_000)
    desktop.locator("#tune-stop").click()
    desktop.wait_for_function(
        "document.querySelector('#tune-status').innerText.includes('was stopped')", timeout=60_000
    )
    context = browser.new_context()
    stranger = context.new_page()
    stranger.goto(app.url)
    stranger.wait_for_function("localStorage.getItem('mtl-session')")
    stranger.locator("#model input").click()
    assert [o.split()[-1] for o in stranger.get_by_role("option").all_inner_texts()] == ["default"]
    context.close()


def test_an_own_table_with_odd_columns_is_understood_and_trained(phone, tmp_path: Path) -> None:
    table = tmp_path / "feedback.csv"
    kinds = (("soup", "lovely", "good"), ("bill", "awful", "bad"))
    rows = [f"the {thing} number {i} was {how};{mood}" for i in range(8) for thing, how, mood in kinds]
    table.write_text("Feedback;Mood of it\n" + "\n".join(rows), encoding="utf-8")
    open_tab(phone, "Fine-tune")
    phone.get_by_label("My table").check()
    choose_file(phone, "#tune-file", table)
    phone.wait_for_function("document.querySelector('#tune-label input').value === 'Mood of it'")
    assert phone.locator("#tune-text input").input_value() == "Feedback"
    assert phone.locator("#tune-label-head input").input_value() == "Mood_of_it"
    phone.locator("#tune-steps input[type=number]").fill("20")
    phone.locator("#tune-go").click()
    phone.wait_for_function("/tuned 1 finished after 20 of/.test(document.querySelector('#tune-status').innerText)")
    assert "Mood_of_it" in phone.locator("#tune-scores").inner_text()
    assert "things" not in phone.locator("#tune-scores").inner_text()


def test_bad_table_names_row_and_column_and_the_app_goes_on(desktop, tmp_path: Path) -> None:
    table = tmp_path / "bad.csv"
    table.write_text("text,label\nfine,a\nragged\nalso fine,b\n", encoding="utf-8")
    open_tab(desktop, "Fine-tune")
    desktop.get_by_label("My table").check()
    choose_file(desktop, "#tune-file", table)
    wait_for_file(desktop, "#tune-file", "bad.csv")
    desktop.wait_for_timeout(800)
    desktop.locator("#tune-go").click()
    desktop.locator("[data-testid=toast-text]", has_text=re.compile("row 2.*has 1 cells; expected 2")).wait_for()
    open_tab(desktop, "Similarity")
    desktop.locator("#pair-go").click()
    desktop.locator("#pair-score .mtl-score").wait_for()


def test_the_panel_says_whether_sharing_was_worth_it(page) -> None:
    found = read(ROOT / "assets" / "results" / COMPARISON_FILE)
    page.get_by_role("button", name="Was sharing worth it?").click()
    table = page.locator("#sharing-verdicts .mtl-table")
    table.wait_for()
    rows = [row.split("\t") for row in table.locator("tr").all_inner_texts()[1:]]
    said = {(task, rival): word for task, rival, word, _ in rows}
    words = {"better": "better", "same": "not told apart", "worse": "worse"}
    assert said == {(g.task, g.against): words[g.verdict] for g in found.differences if g.source is None}
    assert len({task for task, _ in said}) == 4
    page.locator("#sharing-figure .scatterlayer .trace").first.wait_for()
    assert page.locator("#sharing-figure .scatterlayer .trace").count() == len({s.arm for s in found.scores})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
