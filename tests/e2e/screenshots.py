"""Takes the pictures of the README: `python tests/e2e/screenshots.py http://127.0.0.1:7860` while the app runs.

The animated one wants `pip install pillow`.
"""

from __future__ import annotations

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FOLDER = Path(__file__).resolve().parents[2] / "assets" / "screenshots"
TABS = {"similarity": "Similarity", "map": "Map", "classify": "Classify & entities", "fine-tune": "Fine-tune"}
SCREENS = {
    "desktop": ((1440, 900), "light"),
    "desktop-dark": ((1440, 900), "dark"),
    "phone": ((390, 844), "light"),
    "phone-dark": ((390, 844), "dark"),
}


def closer(page: Page) -> None:
    """What lies one click deeper: the X-ray, clusters of the map, reasons for a label."""

    def take(name: str) -> None:
        page.wait_for_timeout(1500)
        page.screenshot(path=FOLDER / f"{name}-desktop.png", full_page=True)

    page.get_by_role("tab", name="Similarity", exact=True).first.click()
    page.get_by_role("tab", name="X-ray", exact=True).first.click()
    take("xray")
    page.get_by_role("tab", name="Map", exact=True).first.click()
    page.locator("#map-cluster").click()
    page.wait_for_function("document.querySelector('#map-colour input').value === 'cluster'")
    take("clusters")
    page.get_by_role("tab", name="Classify & entities", exact=True).first.click()
    page.get_by_role("button", name="Why this label?").click()
    page.locator("#why-go").click()
    page.locator("#why-words .mtl-why").first.wait_for()
    take("why")


def film(page: Page) -> None:
    """A run of everything with nothing held, from the click to what it forgot: a small animated picture."""
    page.get_by_role("tab", name="Fine-tune", exact=True).first.click()
    page.get_by_label("Everything", exact=True).check()
    for label in ("Hold sentence vectors", "Replay sample sentences"):
        page.get_by_label(label).uncheck()
    for field, value in (("steps", "60"), ("encoder-rate", "0.0003")):
        page.locator(f"#tune-{field} input[type=number]").fill(value)
        page.locator(f"#tune-{field} input[type=number]").press("Enter")
    page.wait_for_timeout(1500)
    page.evaluate("document.querySelector('#tune-go').scrollIntoView()")
    frames = [page.screenshot()]
    page.locator("#tune-go").click()
    done = "document.querySelector('#tune-status').innerText.includes('finished after 60')"
    while not page.evaluate(done):
        page.wait_for_timeout(900)
        frames.append(page.screenshot())
    page.wait_for_timeout(1500)
    frames.append(page.screenshot())
    page.evaluate("document.querySelector('#tune-cost').scrollIntoView()")
    page.wait_for_timeout(800)
    frames.append(page.screenshot())
    page.locator("#tune-moved-go").click()
    page.locator("#tune-moved .js-plotly-plot").wait_for()
    page.evaluate("document.querySelector('#tune-moved').scrollIntoView({block: 'center'})")
    page.wait_for_timeout(2500)
    frames.append(page.screenshot())
    pictures = [Image.open(BytesIO(frame)).convert("RGB").resize((960, 600)) for frame in frames]
    pictures = [one.quantize(96, dither=Image.Dither.NONE) for one in pictures]
    times = [900, *[350] * (len(pictures) - 4), 1500, 4000, 4000]
    pictures[0].save(FOLDER / "fine-tune-run.gif", save_all=True, append_images=pictures[1:], duration=times, loop=0)


def main(url: str) -> None:
    """Every tab and the panel below them on every screen, into assets/screenshots."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for screen, ((width, height), scheme) in SCREENS.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(url)
            page.wait_for_selector("#pair-score")
            page.wait_for_function("localStorage.getItem('mtl-session')")
            for name, tab in TABS.items():
                page.get_by_role("tab", name=tab, exact=True).first.click()
                if name == "map":
                    page.wait_for_function("document.querySelector('#map-note').innerText.includes('UMAP.')")
                page.wait_for_timeout(1500)
                page.screenshot(path=FOLDER / f"{name}-{screen}.png", full_page=True)
            if screen == "desktop":
                closer(page)
                film(page)
            page.get_by_role("button", name="Was sharing worth it?").click()
            page.locator("#sharing-figure .scatterlayer .trace").first.wait_for()
            page.wait_for_timeout(1500)
            page.locator("#sharing").screenshot(path=FOLDER / f"sharing-{screen}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
