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
PACKAGE = ROOT / "mtl" / "__init__.py"
MODULES = sorted(path for path in (ROOT / "mtl").rglob("*.py") if path != PACKAGE)


def room(path: Path) -> str:
    return path.relative_to(ROOT / "mtl").parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_keeps_to_its_place(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    here = room(path)
    assert ast.get_docstring(tree), "every module says what it does"
    for name in imports(tree):
        assert not name.startswith("."), "imports say the whole name"
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


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Functions and classes of a module; methods say in their class what they do."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("path", [PACKAGE, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_what_they_offer_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "every module says what it does"
    assert [node.name for node in public(tree) if not ast.get_docstring(node)] == []


def test_the_entry_builds_and_computes_nothing_itself() -> None:
    names = {name.split(".")[0] for name in imports(ast.parse((ROOT / "app.py").read_text(encoding="utf-8")))}
    assert names & {"torch", "transformers", "plotly", "umap", "fastapi"} == set()


def test_the_checks_of_this_file_see_what_they_forbid() -> None:
    bad = ast.parse(
        "import umap.umap_\nfrom mtl.ui import app\nfrom . import x\nfrom gradio import Blocks\ndef f(): pass"
    )
    assert list(imports(bad)) == ["umap.umap_", "mtl.ui.app", "..x", "gradio.Blocks"]
    assert [node.name for node in public(bad)] == ["f"]


def test_every_room_is_in_the_order() -> None:
    assert {room(path) for path in MODULES} <= set(ORDER)


def test_the_package_is_small() -> None:
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in MODULES)
    assert lines < 20_000


ALWAYS_HEAVY = ("transformers", "gradio", "umap", "sklearn", "pandas", "plotly")


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import mtl, mtl.types, mtl.errors, mtl.settings, mtl.__main__", ("torch", "numpy", *ALWAYS_HEAVY)),
        ("import mtl.tasks, mtl.data.tables, mtl.metrics", ALWAYS_HEAVY),
    ],
)
def test_importing_is_light(statement: str, heavy: tuple[str, ...]) -> None:
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
