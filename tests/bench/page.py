"""How long a person waits at the page: `python tests/bench/page.py http://127.0.0.1:7860` while the app runs.

From a click to the changed answer on the screen, thirty times each, and from opening the map tab to its drawn points.
"""

from __future__ import annotations

import shutil
import statistics
import sys

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PLACES = ("Basel", "Oslo", "Rome", "Leeds", "Ghent", "Turin", "Porto", "Delhi", "Lima", "Perth")
WAIT = """
([button, answer]) => new Promise(done => {
  const shown = () => document.querySelector(answer)?.textContent;
  const before = shown(), start = performance.now();
  const look = () => {
    if (shown() && shown() !== before) done(performance.now() - start);
    else requestAnimationFrame(look);
  };
  document.querySelector(button).click();
  look();
})
"""
OPEN_MAP = """
() => new Promise(done => {
  const start = performance.now();
  [...document.querySelectorAll('button[role=tab]')].find(tab => tab.textContent.trim() === 'Map').click();
  const look = () => {
    const plot = document.querySelector('#map-plot .js-plotly-plot .nsewdrag');
    if (plot && plot.getBoundingClientRect().width > 100) done(performance.now() - start);
    else requestAnimationFrame(look);
  };
  look();
})
"""


def waits(page: Page, field: str, button: str, answer: str, texts: list[str]) -> list[float]:
    """Milliseconds from the click to the changed answer, of each text."""
    found = []
    for text in texts:
        page.locator(field).fill(text)
        page.wait_for_timeout(400)  # what the field itself asks for is over
        found.append(page.evaluate(WAIT, [button, answer]))
    return found


def main(url: str) -> None:
    """Prints medians and the slowest tenth."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        page.wait_for_selector("#pair-score")
        page.wait_for_timeout(15_000)  # UMAP is compiled
        sentences = [f"The train to {place} left {i} minutes late." for i, place in enumerate(PLACES * 3)]
        pairs = waits(page, "#pair-left textarea", "#pair-go", "#pair-score .mtl-score", sentences)
        opened = page.evaluate(OPEN_MAP)
        page.get_by_role("tab", name="Classify & entities", exact=True).first.click()
        page.wait_for_timeout(1000)
        labels = waits(page, "#analyze-text textarea", "#analyze-go", "#analyze-labels .mtl-card", sentences)
        for name, found in (("a pair", pairs), ("labels and entities", labels)):
            slow = sorted(found)[int(0.9 * len(found))]
            print(f"{name}: p50 {statistics.median(found):.0f} ms, p90 {slow:.0f} ms")
        print(f"map on the screen {opened:.0f} ms after its tab was opened")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
