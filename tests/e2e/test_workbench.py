"""Every feature of the reading tabs, walked once on a desktop's screen with the real checkpoint; axe on all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pandas as pd
import pytest

from tests.e2e.conftest import opened
from tests.e2e.test_app import choose_file, open_tab, wait_for_file

pytestmark = pytest.mark.e2e


def text_of(page, field: str) -> str:
    return page.locator(field).inner_text()


def wait_for_words(page, field: str, words: str, timeout: int = 150_000) -> None:
    page.wait_for_function(
        "([field, words]) => document.querySelector(field)?.innerText.includes(words)",
        arg=[field, words],
        timeout=timeout,
    )


def wait_for_map(page) -> None:
    page.wait_for_function("document.querySelector('#map-note')?.innerText.includes('UMAP.')", timeout=120_000)
    page.locator("#map-plot .js-plotly-plot").wait_for()
    page.wait_for_function("document.querySelector('#map-plot .js-plotly-plot').mtlHeard")


def box(page) -> dict[str, float]:
    page.locator("#map-plot .nsewdrag").scroll_into_view_if_needed()
    return page.locator("#map-plot .nsewdrag").bounding_box()


def place_of_a_point(page) -> dict[str, float]:
    """Where on the screen the first point of the first group lies."""
    return page.evaluate(
        """() => {
            const plot = document.querySelector('#map-plot .js-plotly-plot'), layout = plot._fullLayout;
            const trace = plot._fullData[0], area = plot.querySelector('.nsewdrag').getBoundingClientRect();
            return {x: area.x + layout.xaxis.d2p(trace.x[0]), y: area.y + layout.yaxis.d2p(trace.y[0]),
                    place: trace.customdata[0]};
        }"""
    )


def choose(page, field: str, option: str) -> None:
    page.locator(f"{field} input").first.click()
    page.get_by_role("option", name=option, exact=True).click()


def test_a_pair_says_why_word_by_word(wide) -> None:
    wide.locator("#pair-left textarea").fill("The cat sleeps.")
    wide.locator("#pair-right textarea").fill("A kitten is asleep.")
    wide.locator("#pair-go").click()
    wait_for_words(wide, "#pair-plot", "1. The")
    labels = wide.locator("#pair-plot .ytick text").all_text_contents()
    assert sorted(labels) == ["1. The", "2. cat", "3. sleeps", "4. ."]
    said = re.search(r"these words carry (0\.\d+) of (0\.\d+)", text_of(wide, "#pair-note"))
    assert float(said[2]) == pytest.approx(float(text_of(wide, "#pair-score .mtl-score")), abs=0.011)


def test_an_example_is_answered_at_the_first_click(wide) -> None:
    wide.get_by_text("Two penguins escaped from the zoo in Zagreb.").first.click()
    wide.wait_for_function("parseFloat(document.querySelector('#pair-score .mtl-score').innerText) < 0.3")
    wait_for_words(wide, "#pair-plot", "2. penguins")
    open_tab(wide, "Classify & entities")
    wide.get_by_text("Nurses at St. Agnes").first.click()
    wait_for_words(wide, "#analyze-entities", "Leeds")


def test_one_list_is_compared_with_another(wide) -> None:
    open_tab(wide, "Lists")
    wide.locator("#matrix-lines textarea").fill("red wine\nwhite wine")
    wide.locator("#matrix-across textarea").fill("beer\ntax law\na bottle of wine")
    wide.locator("#matrix-go").click()
    wide.wait_for_function("document.querySelectorAll('#matrix-plot .heatmap-label').length === 6")
    assert wide.locator("#matrix-plot .xtick").count() == 3


def test_search_reads_the_samples_and_an_uploaded_table(wide, tmp_path: Path) -> None:
    open_tab(wide, "Search")
    wide.locator("#search-query textarea").fill("football match")
    wide.locator("#search-source").get_by_label("Sample sentences").check()
    wide.locator("#search-go").click()
    wide.wait_for_function("!document.querySelector('#search-results li span').innerText.includes('hotel')")
    assert wide.locator("#search-results li").count() == 5
    table = tmp_path / "faq.jsonl"
    rows = ["How do I reset my password?", "Where is my parcel?", "I want my money back."]
    table.write_text("\n".join(json.dumps({"question": row}) for row in rows), encoding="utf-8")
    wide.locator("#search-source").get_by_label("A table").check()
    choose_file(wide, "#search-file", table)
    wait_for_file(wide, "#search-file", "faq.jsonl")
    wide.wait_for_timeout(800)
    wide.locator("#search-query textarea").fill("forgot my login")
    wide.locator("#search-go").click()
    wide.wait_for_function("document.querySelector('#search-results li span').innerText.startsWith('How do I reset')")


def test_near_duplicates_are_found_above_a_threshold(wide) -> None:
    open_tab(wide, "Duplicates")
    assert wide.locator("#duplicates-results li").count() == 2
    wide.locator("#duplicates-threshold input[type=number]").fill("1")
    wide.locator("#duplicates-go").click()
    wait_for_words(wide, "#duplicates-results", "No two of them")


def test_the_x_ray_shows_tokens_parts_labels_entities_and_neighbours(wide) -> None:
    open_tab(wide, "X-ray")
    wide.locator("#xray-text textarea").fill("Heavy snow stopped the trains between Bern and Basel.")
    wide.locator("#xray-go").click()
    wait_for_words(wide, "#xray-results", "Bern")
    tokens = wide.locator("#xray-results .mtl-token").all_inner_texts()
    assert tokens[0].startswith("[begin]")
    assert tokens[-1].startswith("[end]")
    assert [token.split("\n")[0] for token in tokens[1:4]] == ["Heavy", "snow", "stopped"]
    shares = [float(re.search(r"(-?\d+\.\d)", token.split("\n")[1])[1]) for token in tokens]
    assert sum(shares) == pytest.approx(100, abs=1)
    marks = wide.locator("#xray-results mark").all_inner_texts()
    assert any("Basel" in mark and "LOC" in mark for mark in marks)
    assert wide.locator("#xray-results .mtl-hits li").count() == 5
    wide.locator("#xray-text textarea").fill("word " * 400)
    wide.locator("#xray-go").click()
    wait_for_words(wide, "#xray-results", "The model reads 256 tokens at a time: what follows")


def test_a_shorter_vector_shows_its_cost(wide) -> None:
    open_tab(wide, "Length")
    wait_for_words(wide, "#length-results", "A million such vectors take 0.38 GB")
    wide.locator("#length input[type=number]").fill("384")
    wide.locator("#length input[type=number]").press("Enter")
    wait_for_words(wide, "#length-results", "1.54 GB")
    wait_for_words(wide, "#length-results", "100%")


def test_a_click_on_the_map_lists_neighbours_by_meaning(wide) -> None:
    open_tab(wide, "Map")
    wait_for_map(wide)
    box(wide)
    point = place_of_a_point(wide)
    wide.mouse.click(point["x"], point["y"])
    wait_for_words(wide, "#map-report", "Nearest to:")
    scores = [float(score) for score in wide.locator("#map-report .mtl-hits b").all_inner_texts()]
    assert len(scores) == 10
    assert scores == sorted(scores, reverse=True)


def test_a_lasso_reports_on_a_region(wide) -> None:
    open_tab(wide, "Map")
    wait_for_map(wide)
    area = box(wide)
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.05)]
    places = [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in corners]
    wide.mouse.move(*places[0])
    wide.mouse.down()
    for place in places[1:]:
        wide.mouse.move(*place, steps=8)
    wide.mouse.up()
    wait_for_words(wide, "#map-report", "sentences marked")
    said = text_of(wide, "#map-report")
    assert int(re.search(r"(\d+) sentences marked", said)[1]) > 200
    assert "Typical words" in said
    assert "Mean cosine to their centre" in said
    heads = wide.locator("#map-report th").all_inner_texts()
    assert {"topic", "sentiment", "entities"} <= {head.split(",")[0] for head in heads}


def test_the_map_finds_words_meanings_and_clusters(wide) -> None:
    open_tab(wide, "Map")
    wait_for_map(wide)
    wide.locator("#map-find textarea, #map-find input").first.fill("rain")
    wide.locator("#map-find textarea, #map-find input").first.press("Enter")
    wait_for_words(wide, "#map-note", "sentences hold “rain”; they are marked")
    plot = "document.querySelector('#map-plot .js-plotly-plot')"
    marked = f"{plot}.data.reduce((n, t) => n + (t.selectedpoints?.length ?? 0), 0)"
    count = int(re.search(r"(\d+) sentences hold", text_of(wide, "#map-note"))[1])
    wide.wait_for_function(f"{marked} === {count}")
    wide.locator("#map-find textarea, #map-find input").first.fill("precipitation forecast zzz")
    wide.locator("#map-find textarea, #map-find input").first.press("Enter")
    wait_for_words(wide, "#map-note", "the 20 that mean most nearly this are marked")
    wide.locator("#map-cluster").click()
    wide.wait_for_function("document.querySelector('#map-colour input').value === 'cluster'")
    wide.wait_for_function(r"/1: \w+, \w+/.test(document.querySelector('#map-plot .legend')?.textContent)")


def test_the_map_has_three_dimensions_and_a_scale_of_confidence(wide) -> None:
    open_tab(wide, "Map")
    wait_for_map(wide)
    choose(wide, "#map-colour", "confidence topic")
    wide.wait_for_function("document.querySelector('#map-plot .js-plotly-plot').data[0].marker.showscale === true")
    wide.get_by_label("3-D").check()
    wide.locator("#map-go").click()
    wide.wait_for_function(
        "document.querySelector('#map-plot .js-plotly-plot')?.data?.[0]?.type === 'scatter3d'", timeout=120_000
    )
    assert "placed by UMAP" in text_of(wide, "#map-note")


@pytest.mark.parametrize("form", ["CSV", "JSONL with vectors", "Parquet with vectors", "Figure (HTML)"])
def test_the_map_can_be_taken_along(wide, tmp_path: Path, form: str) -> None:
    open_tab(wide, "Map")
    wait_for_map(wide)
    choose(wide, "#map-format", form)
    wide.locator("#map-download").click()
    with wide.expect_download() as download:
        wide.locator("#map-file-out a").first.click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    if path.suffix == ".html":
        assert "plotly" in path.read_text(encoding="utf-8")
        assert 'src="http' not in path.read_text(encoding="utf-8")
        return
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda p: pd.read_json(p, lines=True)}
    table = read[path.suffix](path)
    assert {"text", "x", "y", "predicted topic", "confidence topic", "theme"} <= set(table.columns)
    assert len(table) > 300
    if path.suffix != ".csv":
        assert len(table["vector"][0]) == 384


def test_kinds_of_entities_can_be_hidden_and_a_label_explained(wide) -> None:
    open_tab(wide, "Classify & entities")
    wide.locator("#kinds").get_by_label("LOC").uncheck()
    wait_for_words(wide, "#analyze-entities", "1 of kinds that are not shown")
    assert not any("LOC" in mark for mark in wide.locator("#analyze-entities mark").all_inner_texts())
    wide.get_by_role("button", name="Why this label?").click()
    wide.locator("#why-go").click()
    wait_for_words(wide, "#why-words", "topic: business")
    words = wide.locator("#why-words .mtl-why")
    assert words.count() == 21
    assert "profits" in text_of(wide, "#why-words .mtl-dim")


def test_a_table_is_labelled_and_downloaded_with_formulas_harmless(wide, tmp_path: Path) -> None:
    table = tmp_path / "inbox.csv"
    table.write_text('remark,n\nThe team won the cup in Rome.,1\n,2\n"=HYPERLINK(""x"")",3\n', encoding="utf-8")
    open_tab(wide, "Classify & entities")
    open_tab(wide, "A table")
    choose_file(wide, "#batch-file", table)
    wait_for_words(wide, "#batch-file", "inbox")
    wide.wait_for_timeout(800)
    wide.locator("#batch-go").click()
    wait_for_words(wide, "#batch-note", "2 of 3 rows labelled. Left out: row 2 has no text")
    wait_for_words(wide, "#batch-rows", "sports")
    for form, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
        choose(wide, "#batch-format", form)
        wide.locator("#batch-download").click()
        wide.locator(f"#batch-out a[download*='{form.lower()}']").first.wait_for()
        with wide.expect_download() as download:
            wide.locator("#batch-out a").first.click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        found = read(path)
        assert found["topic"][0] == "sports"
        assert found["error"][1] == "has no text"
        assert found["remark"][2].startswith("'=" if form == "CSV" else "=")


def test_a_correction_joins_a_training_set_that_fine_tuning_offers(wide) -> None:
    open_tab(wide, "Classify & entities")
    wide.get_by_role("button", name="Is something wrong? Correct it").click()
    wide.wait_for_function("document.querySelector('#correct-label input').value === 'business'")
    assert "Berlin" in text_of(wide, "#correct-spans")
    choose(wide, "#correct-label", "politics")
    wide.locator("#correct-go").click()
    wait_for_words(wide, "#correct-note", "1 text corrected. Under Fine-tune")
    open_tab(wide, "Fine-tune")
    wide.get_by_label("My corrections").check()
    wide.wait_for_function("document.querySelector('#tune-label-head input').value === 'topic'")
    assert wide.locator("#tune-span-head input").input_value() == "", "the marks were left as they are"


def test_two_models_are_compared_on_a_text_and_on_the_map(wide) -> None:
    open_tab(wide, "Fine-tune")
    wide.get_by_label("Everything", exact=True).check()
    wide.locator("#tune-steps input[type=number]").fill("30")
    wide.locator("#tune-go").click()
    wide.wait_for_function(
        "document.querySelector('#tune-status').innerText.includes('finished after 30')", timeout=180_000
    )
    open_tab(wide, "Classify & entities")
    open_tab(wide, "Two models")
    choose(wide, "#versus-model", "tuned 1")
    wait_for_words(wide, "#versus-result", "only tuned 1 has the head request")
    assert wide.locator("#versus-result .mtl-side").all_inner_texts() == ["default", "tuned 1"]

    open_tab(wide, "Map")
    wait_for_map(wide)
    wide.locator("#map-other input").click()
    wide.get_by_role("option", name="tuned 1", exact=True).click()
    wide.locator("#map-go").click()
    wait_for_words(wide, "#map-note", "By tuned 1 sentences keep", timeout=120_000)
    wide.locator("#map-plot-2 .js-plotly-plot").wait_for()
    assert wide.locator("#map-colour input").input_value() == "neighbours kept"
    wide.locator("#map-find textarea, #map-find input").first.fill("rain")
    wide.locator("#map-find textarea, #map-find input").first.press("Enter")
    for plot in ("#map-plot", "#map-plot-2"):
        wide.wait_for_function(
            f"document.querySelector('{plot} .js-plotly-plot')?.data?.some(t => t.selectedpoints?.length)"
        )


def test_a_link_brings_back_what_was_filled_in_and_its_answer(wide, app, browser) -> None:
    wide.locator("#pair-left textarea").fill("Penguins eat fish & krill.")
    wide.locator("#pair-right textarea").fill("Seals hunt fish.")
    wide.locator("#link-go").click()
    wide.wait_for_function("document.querySelector('#link textarea, #link input').value.includes('left=')")
    link = wide.locator("#link textarea, #link input").input_value()
    asked = parse_qs(urlparse(link).query)
    assert asked["left"] == ["Penguins eat fish & krill."]
    assert asked["tab"] == ["Similarity"]
    query = "?" + urlparse(link).query.replace("tab=Similarity", "tab=Classify+%26+entities") + "&text=Oslo+is+cold."
    with opened(app, browser, "wide", query=query) as other:
        other.locator("#analyze-entities").wait_for()
        wait_for_words(other, "#analyze-entities", "Oslo")
        open_tab(other, "Similarity")
        assert other.locator("#pair-left textarea").input_value() == "Penguins eat fish & krill."
        other.wait_for_function("document.querySelector('#pair-plot')?.innerText.includes('1. Penguins')")


PANELS = (
    "The mix of tasks, before any step",
    "The first rows as the model sees them",
    "The same as a command and in Python",
    "Was sharing worth it?",
)
INNER = {
    "Similarity": ("Pair", "Lists", "Search", "Duplicates", "X-ray", "Length"),
    "Map": (),
    "Classify & entities": ("One text", "Two models", "A table"),
    "Fine-tune": (),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", ["wide", "phone"])
def test_every_tab_is_accessible_and_fits_the_screen(app, browser, screen: str, scheme: str) -> None:
    """By axe: no serious and no critical finding; no sideways scrolling; in both schemes, on desktop and phone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    found: dict[str, list[str]] = {}
    with opened(app, browser, screen, scheme) as page:
        page.wait_for_timeout(1500)
        for tab, inner in INNER.items():
            open_tab(page, tab)
            if tab == "Map":
                wait_for_map(page)
            if tab == "Classify & entities":
                for panel in ("Why this label?", "Is something wrong? Correct it"):
                    page.get_by_role("button", name=panel).click()
                page.locator("#why-go").click()
                page.locator("#why-words .mtl-why").first.wait_for()
            if tab == "Fine-tune":
                for panel in PANELS:
                    page.get_by_role("button", name=panel).click()
                page.locator("#tune-rows .mtl-token").first.wait_for()
                page.wait_for_function("document.querySelector('#tune-recipe textarea').value.includes('sources')")
            for name in inner or (tab,):
                if inner:
                    open_tab(page, name)
                page.wait_for_timeout(600)
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
                for one in axe.run(page).response["violations"]:
                    if one["impact"] in ("serious", "critical"):
                        where = [node["html"][:160] for node in one["nodes"]]
                        found.setdefault(name, []).append(f"{one['id']}: {where}")
    assert found == {}


def test_the_figure_of_the_map_is_saved_as_a_picture(wide, tmp_path: Path) -> None:
    open_tab(wide, "Map")
    wait_for_map(wide)
    wide.locator("#map-plot .js-plotly-plot").hover()
    with wide.expect_download() as download:
        wide.locator("#map-plot .modebar-btn[data-title*='png' i]").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
