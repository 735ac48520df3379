"""A tuned model to take away: the checkpoint, how it came about, and how to load it, in one zip."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path

from mtl.inference.predictor import Predictor
from mtl.service.downloads import place_for
from mtl.service.recording import to_json
from mtl.service.sessions import Tuned

README = """# {name}

A sentence encoder with the heads {heads}, tuned in the workbench of mtl.

```python
import mtl

model = mtl.load("model")
model.analyze(["a sentence"])
```

`SentenceTransformer("model")` and `AutoModel.from_pretrained("model")` load the encoder. `run.jsonl` has every event of
the run, `settings.json` what it was started with and how it can be started again, `drift.json` what became of the
tasks that were there before.
"""


def write_capsule(name: str, predictor: Predictor, tuned: Tuned) -> Path:
    """Writes the zip; weights are safetensors in the project's checkpoint layout."""
    path = place_for(f"{name.replace(' ', '-')}.zip")
    folder = path.with_suffix("")
    predictor.save(folder / "model", meta={"provenance": {"tuned": name}})
    texts = {
        "README.md": README.format(name=name, heads=", ".join(task.name for task in predictor.tasks)),
        "run.jsonl": to_json(tuned.run),
        "settings.json": json.dumps(tuned.settings, indent=2) + "\n",
        "drift.json": json.dumps(asdict(tuned.drift), indent=2) + "\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder))
        for own, text in texts.items():
            archive.writestr(own, text)
    shutil.rmtree(folder)
    return path
