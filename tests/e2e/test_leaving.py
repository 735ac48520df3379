"""A page that was closed has a while to come back; then its run stops and all that was its own is freed."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.conftest import App, opened, running
from tests.e2e.test_app import open_tab
from tests.e2e.test_finetune import set_number

pytestmark = [pytest.mark.e2e, pytest.mark.long]
GRACE_S = 6
STEPS = 5000
"""More than any machine trains before the end of the test."""


def held(app: App) -> dict[str, float]:
    with urllib.request.urlopen(f"{app.url}/api/metrics", timeout=10) as answer:
        lines = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(mtl_\w+) ([\d.e+]+)$", lines, re.MULTILINE)}


def until(app: App, name: str, value: float, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if held(app)[name] == value:
            return True
        time.sleep(0.5)
    return False


def train(page: object) -> None:
    open_tab(page, "Fine-tune")
    page.get_by_label("Everything", exact=True).check()
    set_number(page, "#tune-steps", str(STEPS))
    page.wait_for_timeout(500)
    page.locator("#tune-go").click()
    page.wait_for_function("/step [1-9]/.test(document.querySelector('#tune-status').innerText)")


def test_what_belongs_to_a_page_is_freed_after_its_grace_and_not_before(browser: object, tmp_path: Path) -> None:
    with running(tmp_path / "log", MTL_GRACE_S=str(GRACE_S), MTL_MAX_STEPS=str(STEPS)) as app:
        with opened(app, browser, "desktop") as page:
            train(page)
            page.reload()  # closed, and back within the grace
            page.wait_for_selector("#pair-score")
            open_tab(page, "Fine-tune")
            page.wait_for_function("/step [1-9]/.test(document.querySelector('#tune-status').innerText)")
            time.sleep(GRACE_S + 8)
            assert (held(app)["mtl_sessions"], held(app)["mtl_runs"]) == (1, 1), "an open page keeps its run"
        assert held(app)["mtl_runs"] == 1, "within the grace"
        assert until(app, "mtl_sessions", 0, GRACE_S + 15)
        assert until(app, "mtl_runs", 0, 20)
        assert held(app)["mtl_tuned_models"] == 0, "a run that ended by it leaves nothing"


def test_with_a_password_the_page_is_closed_its_tools_are_off_and_rest_has_its_key(tmp_path: Path) -> None:
    with running(tmp_path / "log", MTL_PAGE_PASSWORD="hush", MTL_API_KEY="key") as app:
        for path, status in (
            ("/gradio_api/info", 401),
            ("/gradio_api/mcp/", 404),
            ("/api/v1/tasks", 401),
            ("/api/healthz", 200),
        ):
            assert _status(f"{app.url}{path}") == status, path
        assert _status(f"{app.url}/api/v1/tasks", {"Authorization": "Bearer key"}) == 200
        assert "hush" not in (tmp_path / "log").read_text(encoding="utf-8")


def _status(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
