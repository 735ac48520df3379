"""The house: who may import whom, where the heavy libraries are, and what importing the package costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtl.settings import ROOT

ORDER = (
    "types",
    "errors",
    "metrics",
    "model",
    "tasks",
    "data",
    "inference",
    "evaluation",
    "training",
    "settings",
    "service",
    "api",
    "ui",
    "__main__",
)
ONLY_IN = {
    "gradio": "ui",
    "plotly": "ui",
    "fastapi": "api",
    "umap": "inference/projection.py",
    "environ": "settings.py",
}
MODULES = sorted(path for path in (ROOT / "mtl").rglob("*.py") if path != ROOT / "mtl" / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT / "mtl").parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_keeps_to_its_place(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    here = room(path)
    assert ast.get_docstring(tree), "every module says what it does"
    for name in imports(tree):
        parts = name.split(".")
        if parts[0] == "mtl" and len(parts) > 1:
            assert ORDER.index(parts[1]) <= ORDER.index(here), f"{here} must not import {name}"
            assert {parts[1], here} != {"ui", "api"}
        only = ONLY_IN.get(parts[0])
        assert only is None or str(path.relative_to(ROOT / "mtl")).startswith(only), name
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), "no assert in the package: raise what says how to mend it"
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
            assert here == "settings"


def test_every_room_is_in_the_order() -> None:
    assert {room(path) for path in MODULES} <= set(ORDER)


def test_the_package_is_small() -> None:
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in MODULES)
    assert lines < 9000


@pytest.mark.parametrize("statement", ["import mtl", "import mtl.settings, mtl.tasks.bio"])
def test_importing_is_light(statement: str) -> None:
    heavy = ("transformers", "gradio", "umap", "sklearn", "pandas", "plotly")
    code = f"{statement}; import sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_top_level_is_as_agreed() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - {"__pycache__"}
    agreed = {
        "app.py",
        "mtl",
        "assets",
        "checkpoints",
        "tests",
        "requirements.txt",
        "Dockerfile",
        "README.md",
        "LICENSE",
    }
    assert names == agreed
