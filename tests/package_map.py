"""The map of the package in the README, of first sentences of its files: `python tests/package_map.py` writes it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?<=<summary>Every file of the package, in a line</summary>\n\n```text\n).*?(?=^```$)", re.M | re.S
)


def package_map() -> str:
    """A folder with what it is for, then its files, each on a line."""
    lines = []
    for folder in [ROOT / "mtl", *sorted(path.parent for path in ROOT.glob("mtl/*/__init__.py"))]:
        lines.append(f"{folder.relative_to(ROOT)}/  {_first_sentence(folder / '__init__.py')}")
        files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        lines += [f"    {path.name:<22}{_first_sentence(path)}" for path in files]
    return "\n".join(lines) + "\n"


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.?!]) (?=[A-Z`])", paragraph)[0]


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(BLOCK.sub(lambda _: package_map(), readme.read_text(encoding="utf-8")), encoding="utf-8")
