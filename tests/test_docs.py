"""The README and the guides: links lead somewhere, blocks run, commands are understood."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

import mtl
from mtl.__main__ import app
from mtl.api import schemas
from mtl.settings import ROOT
from mtl.tasks import TASK_TYPES, Classification, NamedEntities, Similarity
from mtl.training.config import Balancing, FreezePolicy, Retention, Sampling, TrainConfig
from mtl.training.recipe import Recipe, SourceSpec, load_recipe
from tests.package_map import BLOCK as BLOCK_OF_FILES
from tests.package_map import package_map

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "assets").rglob("*.md")),
    ROOT / "tests" / "bench" / "README.md",
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = {
    "assets/docs/rest-api.md": "its blocks run against the real app in tests/e2e/test_clients.py",
    "assets/docs/contributing.md": "its files are put in place and tested below",
}
OUTSIDE = ("docker", "aws", "hf", "pip", "apt-get", "accelerate", "tests/container", "bash")
"""They want an engine, an account or the network; tests/deploy and tests/container do what can be done here."""
RUN = {
    "train assets/recipes/minimal.yaml --data-root assets/samples --output OUT": "OUT/model.safetensors",
    "predict checkpoints/default FILE --output answers.jsonl": "answers.jsonl",
    "embed checkpoints/default FILE --output vectors.parquet": "vectors.parquet",
}


def blocks(page: Path, *languages: str) -> list[str]:
    """Blocks without a file's name; those with one are put in place and tried below."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [code for language, name, code in found if language in languages and not name]


def files(page: Path) -> dict[str, str]:
    return {name: code for _, name, code in BLOCK.findall(page.read_text(encoding="utf-8")) if name}


WITH_PYTHON = [p for p, name in zip(PAGES, IDS, strict=True) if name not in ELSEWHERE and blocks(p, "python")]


def commands(page: Path) -> list[str]:
    """The lines of shell blocks, whole, without comments."""
    lines = "\n".join(blocks(page, "sh", "bash")).replace("\\\n", " ").splitlines()
    return [found for line in lines if (found := re.sub(r"\s#.*", "", line).strip())]


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(
        r"^```.*?^```|^ {4}.*?$|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) % 2 == 0, page
        kinds = {fence.split(" ")[0] for fence in fences[::2]}
        assert kinds <= {"python", "sh", "bash", "yaml", "json", "mermaid", "text", "csv"}, (page, kinds)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_runs_as_it_stands(page: Path, tmp_path: Path) -> None:
    code = "\n".join(blocks(page, "python"))
    for name in ("assets", "checkpoints"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_are_understood(page: Path) -> None:
    group = typer.main.get_command(app)
    for line in commands(page):
        words = [word for word in shlex.split(line) if word != "..."]
        if "-m" in words and words[words.index("-m") + 1 :][:1] == ["mtl"]:
            verb, *rest = words[words.index("-m") + 2 :]
            group.commands[verb].make_context(verb, [*rest, *_wanted(verb, rest)])
        elif words[0].endswith("python") and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), line
        elif not line.startswith((*OUTSIDE, "curl", ".venv/bin/", "python -m venv")):
            pytest.fail(f"{page.name}: nothing tries {line!r}")


def _wanted(verb: str, rest: list[str]) -> list[str]:
    """What a line with dots leaves to be filled in."""
    return ["RECIPE"] if (verb == "train" and not rest[:1]) or rest[:1] == ["--device"] else []


@pytest.mark.parametrize("line", RUN)
def test_the_quick_commands_run(line: str, tmp_path: Path) -> None:
    said = [found for page in PAGES for found in commands(page)]
    assert f"python -m mtl {line}" in [re.sub(r"  +--.*", "", found) for found in said]
    words = [
        {"FILE": str(ROOT / "assets" / "samples" / "sentences.csv")}.get(
            word, str(ROOT / word) if word.startswith(("assets/", "checkpoints/")) else word
        )
        for word in line.split()
    ]
    if "train" in words:  # a recipe's encoder is relative to where one stands
        (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    done = subprocess.run(
        [sys.executable, "-m", "mtl", *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / RUN[line]).stat().st_size > 0


def test_recipes_in_the_guides_are_recipes(tmp_path: Path) -> None:
    found = [code for page in PAGES for code in blocks(page, "yaml")]
    assert found
    for code in found:
        path = tmp_path / "recipe.yaml"
        path.write_text(code, encoding="utf-8")
        assert load_recipe(path).tasks


def test_answers_in_the_guides_are_what_the_schemas_allow() -> None:
    shown = [json.loads(code) for page in PAGES for code in blocks(page, "json")]
    answers, errors = ([one for one in shown if key in one] for key in ("results", "error"))
    assert (len(answers), len(errors)) == (1, 1)
    assert schemas.AnalyzeResponse.model_validate(answers[0]).model_dump(exclude_unset=True) == answers[0]
    assert schemas.ErrorResponse.model_validate(errors[0]).model_dump() == errors[0]


def test_the_readmes_own_model_is_trained_and_read(tmp_path: Path) -> None:
    for name, code in files(ROOT / "README.md").items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    for name in ("mtl", "checkpoints"):
        (tmp_path / name).symlink_to(ROOT / name)
    line = "python -m mtl train mine.yaml --output mine"
    assert line in commands(ROOT / "README.md")
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for words in (shlex.split(line)[1:], ["mine.py"]):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("question {")
    old, new = (mtl.load(folder) for folder in (ROOT / "checkpoints" / "default", tmp_path / "mine"))
    texts = ["Maria Keller opened the new clinic in Oslo."]
    assert new.analyze(texts)[0]["entities"] == old.analyze(texts)[0]["entities"]
    assert new.analyze(texts)[0]["topic"].scores == pytest.approx(old.analyze(texts)[0]["topic"].scores, abs=1e-3)


def test_the_map_of_the_readme_has_every_file_but_perhaps_a_new_task_type() -> None:
    (said,) = BLOCK_OF_FILES.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    lines, known = package_map().splitlines(), said.splitlines()
    tasks = lines[lines.index(next(line for line in lines if line.startswith("mtl/tasks/"))) :]
    own = set(tasks[: next(i for i, line in enumerate(tasks[1:], 1) if not line.startswith(" "))])
    assert [line for line in lines if line in known or line not in own] == known, "python tests/package_map.py"


def test_a_task_type_by_the_guide_is_one_file_one_line_and_one_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_predictor
) -> None:
    guide = ROOT / "assets" / "docs" / "contributing.md"
    page, shown = guide.read_text(encoding="utf-8"), files(guide)
    module, test = sorted(shown)
    assert (module.split("/")[:2], test.split("/")[:2]) == (["mtl", "tasks"], ["tests", "tasks"])
    (tmp_path / "new_task.py").write_text(shown[module], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mtl.tasks.pair_classification", tmp_path / "new_task.py")
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, made)
    spec.loader.exec_module(made)
    space: dict[str, object] = {}
    exec(compile(shown[test], test, "exec"), space)
    space["test_it_learns_which_pairs_are_alike"](make_predictor)

    ((kind, name),) = re.findall(r'^    "(\w+)": (\w+),$', page, re.MULTILINE)
    monkeypatch.setitem(TASK_TYPES, kind, getattr(made, name))
    for file, words in {"train": ("cat", "dog", "horse"), "test": ("mouse", "bird")}.items():
        pairs = [f"a {a},the {b},{'same' if a == b else 'other'}\n" for a in words for b in words]
        (tmp_path / f"{file}.csv").write_text("sentence1,sentence2,label\n" + "".join(pairs), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        f"encoder: {ROOT / 'checkpoints' / 'default'}\n"
        "tasks: {nli: {type: pair_classification, labels: from data, hidden: 16}}\n"
        "sources: {pairs: {tasks: [nli], train: train.csv, validation: test.csv, test: test.csv}}\n"
        "training: {steps: 30, freeze: {encoder: true}}\n",
        encoding="utf-8",
    )
    words = ["train", str(tmp_path / "recipe.yaml"), "--data-root", str(tmp_path), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "pairs/nli" in card
    assert "model.analyze_pairs([" in card
    assert "model.analyze([" not in card
    words = ["evaluate", str(tmp_path / "out"), "--task", "nli", "--data", str(tmp_path / "test.csv")]
    done = CliRunner().invoke(app, [*words, "--among", "same,other"])
    assert done.exit_code == 0, done.output
    (found,) = mtl.load(tmp_path / "out").analyze_pairs(["a cat"], ["the dog"])
    assert set(found["nli"].scores) == {"same", "other"}
    assert mtl.load(tmp_path / "out").model.heads["nli"].head.network[1].out_features == 16


def test_the_recipe_reference_has_every_field_with_its_default() -> None:
    page = (ROOT / "assets" / "docs" / "recipe.md").read_text(encoding="utf-8")
    tables = [
        {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| (.*?) \|", part, re.MULTILINE)}
        for part in page.split("| field | default | what it is |")[1:]
    ]
    own = {"name", "labels", "metric"}
    described = (Recipe, Classification, NamedEntities, Similarity, SourceSpec, TrainConfig, FreezePolicy, Sampling)
    assert tables[1].keys() == own - {"name"}
    for kind, said in zip((*described, Balancing), [tables[0], *tables[2:]], strict=True):
        fields = {f.name: f for f in dataclasses.fields(kind) if not (kind in described[1:4] and f.name in own)}
        assert said.keys() == fields.keys(), kind
        for name, field in fields.items():
            assert said[name].strip("`") == _default(field), (kind, name)


def _default(field: dataclasses.Field) -> str:
    """As YAML on one line."""
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        value = dataclasses.asdict(made) if isinstance(made, Retention) else {} if not isinstance(made, tuple) else []
    elif field.default is dataclasses.MISSING:
        return "must be given"
    else:
        value = field.default
    if value == "":
        return '""'
    said = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True, sort_keys=False)
    return said.removesuffix("\n...\n").strip()
