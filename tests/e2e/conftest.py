"""Starts the real app with the real checkpoint, once, and opens pages of it in a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.running import started

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class App:
    """A running app: where it is, and what it wrote."""

    url: str
    log: Path


@contextmanager
def running(log: Path, **environment: str) -> Iterator[App]:
    """The app of this tree in a process of its own."""
    with started(log, **environment) as (url, _):
        yield App(url, log)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app of this tree; or the one that runs at MTL_APP_URL, in a container for example."""
    if "MTL_APP_URL" in os.environ:
        yield App(os.environ["MTL_APP_URL"], Path(os.environ["MTL_APP_LOG"]))
        return
    with running(tmp_path_factory.mktemp("app") / "log.txt") as app:
        yield app


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the end-to-end tests need playwright")
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip("the end-to-end tests need a Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()


SIZES = {"desktop": (1280, 900), "wide": (1440, 900), "phone": (390, 844)}
QUIET = ("GPU stall due to ReadPixels", "favicon")


@contextmanager
def opened(app: App, browser: object, screen: str, scheme: str = "light", query: str = "") -> Iterator[object]:
    """A page of the app; afterwards nothing outside was asked for and nothing was complained of."""
    width, height = SIZES[screen]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    page = context.new_page()
    page.set_default_timeout(150_000)
    page.wait_for_function = partial(page.wait_for_function, polling=100)  # a busy machine may draw no frame for long
    outside: list[str] = []
    errors: list[str] = []
    local = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    page.on("request", lambda r: outside.append(r.url) if not r.url.startswith(local) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("framenavigated", lambda _: errors.clear())  # what a page that is left says of its open requests
    page.goto(f"{app.url}/{query}")
    page.wait_for_selector("#pair-score", state="attached")
    page.wait_for_function("localStorage.getItem('mtl-session')")
    yield page
    assert outside == [], "the page asked hosts outside for something"
    assert [error for error in errors if not any(quiet in error for quiet in QUIET)] == [], "the page complained"
    context.close()


@pytest.fixture(params=["desktop", "phone"])
def page(request: pytest.FixtureRequest, app: App, browser: object) -> Iterator[object]:
    with opened(app, browser, request.param) as page:
        yield page


@pytest.fixture
def desktop(app: App, browser: object) -> Iterator[object]:
    with opened(app, browser, "desktop") as page:
        yield page


@pytest.fixture
def phone(app: App, browser: object) -> Iterator[object]:
    with opened(app, browser, "phone") as page:
        yield page


@pytest.fixture
def wide(app: App, browser: object) -> Iterator[object]:
    with opened(app, browser, "wide") as page:
        yield page
