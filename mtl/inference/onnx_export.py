"""A predictor -> one ONNX graph with every head, and beside it what another program needs to use it.

    model.onnx       input_ids, attention_mask, word_shape -> sentence, and logits under each task's name
    tokenizer.json   cuts at the model's limit, pads nothing by itself
    labels.json      each task's type and the label of each column of its logits
    use.py           an example that needs onnxruntime, tokenizers and numpy only

Needs the packages onnx and onnxscript, asked for when it is called.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl.errors import ConfigError
from mtl.inference.predictor import Predictor
from mtl.model.heads import TokenHead
from mtl.model.multitask import MultiTaskModel
from mtl.tasks import NamedEntities
from mtl.tasks.bio import bio_tags
from mtl.types import N_SHAPES, Encoding

EXAMPLE = """\
# python use.py "Maria opened a shop in Oslo."    needs onnxruntime and tokenizers
import json, sys
from pathlib import Path
import numpy as np, onnxruntime, tokenizers

def casing(w):  # what a lower-casing tokenizer forgets of a word
    return [w[:1].isupper(), len(w) > 1 and w.isupper(), w.islower(), any(map(str.isupper, w[1:])) and not w.isupper(),
            any(map(str.isdigit, w)), w.isdigit(), w != "" and not any(map(str.isalnum, w)), len(w) == 1]

folder, text = Path(__file__).parent, sys.argv[1]
read = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text)
words = ["" if w is None else text[slice(*read.word_to_chars(w))].strip() for w in read.word_ids]
session = onnxruntime.InferenceSession(folder / "model.onnx")
inputs = {"input_ids": np.array([read.ids]), "attention_mask": np.array([read.attention_mask]),
          "word_shape": np.array([[casing(w) for w in words]], dtype=np.float32)}
found = dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))
firsts = [i for i, w in enumerate(read.word_ids) if w is not None and (i == 0 or w != read.word_ids[i - 1])]
for task, about in json.loads((folder / "labels.json").read_text(encoding="utf-8")).items():
    best, labels = found[task][0].argmax(-1), about["labels"]
    print(task, labels[best] if best.ndim == 0 else [(words[i], labels[best[i]]) for i in firsts if best[i]])
"""

NEEDS = ("onnx", "onnxscript")
INPUTS = ("input_ids", "attention_mask", "word_shape")
OPSET = 18


class Graph(nn.Module):
    """The model on padded tensors, as a graph: no text, no flat tokens, no choice of tasks."""

    def __init__(self, model: MultiTaskModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, word_shape: Tensor) -> tuple[Tensor, ...]:
        """(B, T), (B, T) of 0 and 1, (B, T, F) -> (B, H) of unit length, then logits: (B, L) or (B, T, L)."""
        layers = self.model.encoder.backbone(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        sentence = self._pool(layers[-1], attention_mask)
        found = [functional.normalize(sentence, dim=-1)]
        for name in self.names:
            head = self.model.heads[name]
            if isinstance(head, TokenHead):
                states = head.in_context(head.reduce(layers, word_shape), attention_mask.bool())
                found.append(head.classify(states))
            else:
                found.append(head(Encoding(layers, sentence, word_shape, attention_mask.sum(1))))
        return tuple(found)

    def _pool(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        mode = self.model.pooling.mode
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        if mode == "cls":
            return states[:, 0]
        if mode == "max":
            return states.masked_fill(mask == 0, -torch.inf).amax(1)
        return (states * mask).sum(1) / mask.sum(1)


def export_onnx(predictor: Predictor, folder: Path) -> Path:
    """Writes the graph, in float32, and its companions into `folder`; tasks of two texts need only `sentence`.

    Raises:
        ConfigError: where onnx or onnxscript is missing.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"export to ONNX needs {' and '.join(missing)}: pip install {' '.join(NEEDS)} onnxruntime")
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [task for task in predictor.tasks if task.n_texts == 1]
    names = [task.name for task in tasks]
    program = _program(Graph(predictor.copy().model.float().cpu(), names).eval(), names)
    program.save(str(folder / "model.onnx"))
    backend = json.loads(predictor.tokenizer.backend.to_str())
    (folder / "tokenizer.json").write_text(json.dumps(backend, ensure_ascii=False), encoding="utf-8")
    labels = {
        task.name: {
            "type": task.kind,
            "labels": list(bio_tags(task.labels) if isinstance(task, NamedEntities) else task.labels),
        }
        for task in tasks
    }
    (folder / "labels.json").write_text(json.dumps(labels, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "use.py").write_text(EXAMPLE, encoding="utf-8")
    return folder


def _program(graph: Graph, names: Sequence[str]) -> torch.onnx.ONNXProgram:
    """Traces the graph; what the exporter says of packages that it does without is not passed on."""
    shape = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("tokens", min=1)}
    ids = torch.full((2, 5), 1)
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                (ids, torch.ones_like(ids), torch.zeros(2, 5, N_SHAPES)),
                dynamo=True,
                dynamic_shapes=dict.fromkeys(INPUTS, shape),
                input_names=list(INPUTS),
                output_names=["sentence", *names],
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        loud.setLevel(level)
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return program
