"""How the fine-tune tab keeps up: `python tests/bench/tuning.py http://127.0.0.1:7860` while the app runs.

From a click on Train to the first loss on the screen; then how long another visitor waits for a sentence, without a
run and beside one, in paired rounds.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
import urllib.request

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
HEADS = "Heads only (fast, the encoder stays as it is)"
PRESETS = (HEADS, "Top layers and heads", "Everything")
CLICKS, ROUNDS, SENTENCES = 8, 3, 40
READY_S = 15
WATCH = """
() => new Promise(done => {
  const status = document.querySelector('#tune-status'), start = performance.now();
  const look = () => {
    const plot = document.querySelector('#tune-curve .js-plotly-plot');
    if (/: step [1-9]/.test(status.innerText) && plot?.data?.[0]?.x?.length) done(performance.now() - start);
    else setTimeout(look, 5);
  };
  document.querySelector('#tune-go').click();
  look();
})
"""


def call(url: str, name: str, *values: object) -> str:
    """What an event of the page answers, as text."""
    body = json.dumps({"data": values}).encode()
    ask = urllib.request.Request(f"{url}/gradio_api/call/{name}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(ask) as answer:
        ticket = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}/gradio_api/call/{name}/{ticket}") as stream:
        return str(stream.read().decode())


def first_loss(page: Page, url: str, preset: str) -> list[float]:
    """Milliseconds from the click to the first loss, of several runs; each is stopped then."""
    found = []
    for _ in range(CLICKS):
        page.goto(url)
        page.wait_for_function("localStorage.getItem('mtl-session')")
        page.get_by_role("tab", name="Fine-tune", exact=True).first.click()
        page.get_by_label(preset, exact=True).check()
        page.wait_for_timeout(2500)
        found.append(page.evaluate(WATCH))
        page.locator("#tune-stop").click()
        page.wait_for_function("document.querySelector('#tune-status').innerText.includes('was stopped')")
    return found


def sentences(url: str, key: str) -> list[float]:
    """Milliseconds for each of some sentences, asked one after the other with a pause between them."""
    found = []
    for number in range(SENTENCES):
        start = time.perf_counter()
        call(url, "read", key, "default", f"The train to Basel left {number} minutes late.", 0.5, ["LOC"])
        found.append(1000 * (time.perf_counter() - start))
        time.sleep(0.1)
    return found


def beside(url: str, preset: str) -> tuple[list[float], list[float]]:
    """The same sentences without a run and beside one that takes as long as need be, in turns."""
    idle, busy = [], []
    for turn in range(ROUNDS):
        idle += sentences(url, "visitor")
        key = f"trainer {preset[:8]} {turn}"
        values = [
            key,
            "default",
            "Sample: help-desk requests",
            None,
            None,
            None,
            "request",
            "things",
            preset,
            2,
            [],
            500,
        ]
        call(url, "tune", *values, 0.005, 1e-5, True, True, 0.5, "By fixed shares: yours 1, replayed as set", 2,
             "Fixed weights", 1, 1)  # fmt: skip
        end = time.monotonic() + 12 if preset == HEADS else float("inf")  # a run of heads is over soon
        asked: list[float] = []
        while len(asked) < SENTENCES and time.monotonic() < end:
            start = time.perf_counter()
            call(url, "read", "visitor", "default", f"The train to Oslo left {len(asked)} minutes late.", 0.5, ["LOC"])
            asked.append(1000 * (time.perf_counter() - start))
            time.sleep(0.1)
        busy += asked
        call(url, "stop", key)
        time.sleep(6)
    return idle, busy


def main(url: str) -> None:
    """Prints medians, the slowest tenth, and ratios."""
    time.sleep(READY_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for preset in PRESETS:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            found = first_loss(page, url, preset)
            print(f"{preset}: first loss after {_said(found)}", flush=True)
            page.close()
        browser.close()
    for preset in PRESETS:
        idle, busy = beside(url, preset)
        ratio = statistics.median(busy) / statistics.median(idle)
        print(
            f"{preset}: another's sentence {_said(idle)} idle, {_said(busy)} beside it, {ratio:.1f} times", flush=True
        )


def _said(found: list[float]) -> str:
    return f"p50 {statistics.median(found):.0f} ms, p90 {sorted(found)[int(0.9 * len(found))]:.0f} ms"


if __name__ == "__main__":
    main(sys.argv[1])
