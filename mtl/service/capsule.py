"""A tuned model to take away, in one zip: the checkpoint, how it came about and how it can be made again. And back:
the settings of such a zip."""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mtl.errors import ConfigError, SessionError
from mtl.evaluation.drift import Drift
from mtl.inference.predictor import Predictor
from mtl.service.downloads import place_for
from mtl.service.equivalent import FOLDER, RECIPE_FILE
from mtl.service.recording import to_json
from mtl.service.replay import REPLAY_FILE
from mtl.service.runs import RunRecord
from mtl.service.sessions import Tuned
from mtl.service.tuning import TuneRequest
from mtl.training.model_card import write_card

SETTINGS_FILE = "settings.json"
MOST_SETTINGS = 1_000_000
"""Bytes of the settings of a zip that are read."""

MOST_LISTED = 100_000
"""Bytes of the list of files of a zip; that of a capsule, of about twenty files, has two thousand."""
END_OF_ZIP, LOCATOR = 22, 20
"""Bytes of the last record of a zip, and of the one that large ones have before it."""

README = """# {name}

A sentence encoder with the heads {heads}, tuned in the workbench of mtl on `{rows}`
(SHA-256 {digest}). The rows are not in this zip, unless they are corrections that were made on the page.

{scores}
{cost}
## Use it

```python
import mtl

model = mtl.load("model")
model.analyze(["a sentence"])

from sentence_transformers import SentenceTransformer

SentenceTransformer("model").encode(["a sentence"])
```

## Make it again

In the folder of mtl, make a folder `{folder}` with `{recipe}`{replay} and `{rows}`, have the checkpoint `{start}` there
(a model that was tuned before comes with its own zip: unpack it under that name), and run

    {command}

The workbench reads the settings back too: Fine-tune, *Settings of an earlier run*.

## What is here

- `model/`: the checkpoint, with a card of its own
- `{recipe}`{replay}: what the command above reads
- `settings.json`: what was chosen on the page, a digest of the rows, versions
- `run.jsonl`, `curves.csv`: every event of the run; losses, weights and scores by step
- `drift.json`: what became of the tasks that were there before
"""


def write_capsule(name: str, predictor: Predictor, tuned: Tuned) -> Path:
    """Writes the zip; weights are safetensors in the project's checkpoint layout."""
    path = place_for(f"{name.replace(' ', '-')}.zip")
    folder = path.with_suffix("")
    predictor.save(folder / "model")
    write_card(folder / "model", predictor)
    texts = {
        "README.md": _readme(name, predictor, tuned),
        RECIPE_FILE: tuned.equivalent.recipe,
        REPLAY_FILE: tuned.replayed,
        SETTINGS_FILE: json.dumps(tuned.settings, indent=2) + "\n",
        "run.jsonl": to_json(tuned.run),
        "curves.csv": curves(tuned.run),
        "drift.json": json.dumps(asdict(tuned.aftermath.drift), indent=2) + "\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder))
        for own, text in texts.items():
            if text:
                archive.writestr(own, text)
        if tuned.rows is not None and tuned.rows.is_file():
            archive.write(tuned.rows, tuned.rows.name)
    shutil.rmtree(folder)
    return path


def read_request(path: str | Path) -> TuneRequest:
    """The settings of a capsule (or its `settings.json` alone) as a request; of its table the name is known.

    Raises:
        SessionError: where it is no capsule.
    """
    values = _settings(Path(path))
    known = {name: value for name, value in values.items() if name in TuneRequest.__dataclass_fields__}
    try:
        return TypeAdapter(TuneRequest).validate_python(known)
    except (ValidationError, ConfigError) as error:
        raise SessionError(f"{Path(path).name}: its settings cannot be read; choose a zip of this page.") from error


def _settings(path: Path) -> Mapping[str, object]:
    try:
        if path.suffix.lower() == ".zip":
            if _listing(path) > MOST_LISTED:
                raise zipfile.BadZipFile("too many files")
            with zipfile.ZipFile(path) as archive, archive.open(SETTINGS_FILE) as file:
                text = file.read(MOST_SETTINGS)
        else:
            text = path.read_bytes()[:MOST_SETTINGS]
        values = json.loads(text)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise SessionError(f"{path.name}: holds no {SETTINGS_FILE}; choose a zip of this page.") from error
    if not isinstance(values, dict):
        raise SessionError(f"{path.name}: holds no settings; choose a zip of this page.")
    return values


def _listing(path: Path) -> int:
    """Bytes of the list of files that a zip ends with: `zipfile` reads all of it, and makes an object of each file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - END_OF_ZIP - LOCATOR))
        before, end = file.read(LOCATOR), file.read()
    plain = end.startswith(b"PK\x05\x06") and end.endswith(b"\x00\x00")  # a capsule has no comment behind it
    if not plain or before.startswith(b"PK\x06\x07"):  # that is of zips larger than a capsule can be
        return MOST_LISTED + 1
    return int.from_bytes(end[12:16], "little")


def curves(run: RunRecord) -> str:
    """Losses, weights and scores of a run as CSV: `step,kind,task,value`."""
    lines = ["step,kind,task,value"]
    for step in run.steps:
        lines += [f"{step.step},loss,{_cell(name)},{loss:.6g}" for name, loss in step.losses.items()]
        lines += [f"{step.step},weight,{_cell(name)},{weight:.6g}" for name, weight in step.weights.items()]
    for found in run.evaluations:
        lines += [f"{found.step},score,{_cell(score.task)},{score.primary:.6g}" for score in found.scores]
    return "\n".join(lines) + "\n"


def _cell(name: str) -> str:
    quoted = name.replace('"', '""')
    return f'"{quoted}"' if set(',"\n') & set(name) else name


def _readme(name: str, predictor: Predictor, tuned: Tuned) -> str:
    values = tuned.settings
    return README.format(
        name=name,
        heads=", ".join(task.name for task in predictor.tasks),
        rows=values["path"],
        digest=values["rows_sha256"],
        scores=_scores(tuned.run),
        cost=_cost(tuned.aftermath.drift),
        start=tuned.equivalent.start,
        recipe=RECIPE_FILE,
        folder=FOLDER,
        command=tuned.equivalent.command,
        replay=f" and `{REPLAY_FILE}`" if tuned.replayed else "",
    )


def _scores(run: RunRecord) -> str:
    ended = run.ended
    if ended is None or ended.before is None or ended.best is None:
        return "It learned from every row; nothing was put aside to score it with.\n"
    rows = [
        f"| {new.task} | {metric} | {old.metrics[metric]:.3f} | {new.metrics[metric]:.3f} |"
        for old, new in zip(ended.before.scores, ended.best.scores, strict=True)
        for metric in new.metrics
    ]
    head = "On rows that were put aside, and that the best step was chosen by:\n\n| head | metric | before | after |"
    return "\n".join([head, "|---|---|---|---|", *rows, ""])


def _cost(found: Drift) -> str:
    rows = [f"| {s.task} | {s.what} | {s.before:.3f} | {s.after:.3f} |" for s in found.shifts]
    head = "What it cost the tasks that were there before, on sample sentences:\n\n| task | what | before | after |"
    return "\n".join([head, "|---|---|---|---|", *rows, ""])
