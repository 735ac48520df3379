"""The notebooks run from their first cell to their last, with the real checkpoint and few steps, and keep outputs."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from mtl.settings import ROOT

nbformat = pytest.importorskip("nbformat", reason="notebooks are read by nbformat: pip install nbformat")
NOTEBOOKS = sorted((ROOT / "assets" / "notebooks").glob("*.ipynb"))
FEW = {"MTL_NOTEBOOK_STEPS": "6", "MTL_NOTEBOOK_EPOCHS": "0.2"}


def run(path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient: pip install nbclient ipykernel")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FEW.items():
        monkeypatch.setenv(name, value)
    run(path)


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_at_full_length(path: Path) -> None:
    run(path)


def test_there_are_six_which_keep_what_they_said_and_nothing_of_a_machine() -> None:
    assert [path.name[0] for path in NOTEBOOKS] == list("123456")
    for path in NOTEBOOKS:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run once, from the top"
        outputs = [output for cell in cells for output in cell.outputs]
        assert len(outputs) > 3
        assert all(output.output_type != "error" for output in outputs)
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text
        assert "site-packages" not in text
        assert len(text) < 600_000, path.name


def test_each_notebook_leads_to_the_next() -> None:
    for path, following in itertools.pairwise(NOTEBOOKS):
        assert f"]({following.name})" in nbformat.read(path, as_version=4).cells[-1].source
