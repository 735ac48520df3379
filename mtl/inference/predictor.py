"""A model in use: texts in, predictions out, one encoder pass for every task.

`mtl.load(folder)` gives a `Predictor`; `from_encoder` starts a new one on a pre-trained encoder.
"""

from __future__ import annotations

import copy
import json
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mtl.data.tokenization import TextTokenizer
from mtl.errors import CheckpointError, ConfigError
from mtl.inference.packed import PackedModel, Watch, pack
from mtl.inference.passes import Pass, Reader, TokenStates
from mtl.model import checkpoint
from mtl.model.encoder import Encoder
from mtl.model.multitask import MultiTaskModel
from mtl.model.pooling import Pooling, PoolingMode
from mtl.model.precision import Precision, compute_type, device_of
from mtl.tasks import Task, from_spec
from mtl.types import Analysis

PER_CALL_SETTINGS = (
    "is_local",
    "local_files_only",
    "max_length",
    "name_or_path",
    "pad_to_multiple_of",
    "stride",
    "truncation_strategy",
)
"""What a saved tokenizer remembers of how it was last called; a checkpoint should not pass it on."""


class Predictor:
    """A multi-task model with its tokenizer and its tasks.

    Blank text is accepted: it gets a vector and no spans. Results come in the caller's order.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tokenizer: TextTokenizer,
        tasks: Sequence[Task],
        *,
        tokenizer_files: Mapping[str, bytes],
        meta: Mapping[str, object] | None = None,
        precision: Precision = "auto",
        packed: bool = True,
    ) -> None:
        """`packed` False takes the plain path where the packed one (`mtl.inference.packed`) would serve."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.tasks = tuple(tasks)
        self.tokenizer_files = dict(tokenizer_files)
        self.meta = dict(meta or {})
        self.precision: Precision = precision
        self.packed = packed
        self._packing = threading.Lock()
        self._packed: PackedModel | None = None
        self._watch = Watch(self.model)
        self._lender: Predictor | None = None

    def __getstate__(self) -> dict[str, object]:
        """What it is made of, to be sent to another process; what this CPU made of it is made there again."""
        mine = dict(vars(self))
        for name in ("_packing", "_packed", "_watch", "_lender"):
            del mine[name]
        return {**mine, "model": checkpoint.Dismantled.of(self.model)}

    def __setstate__(self, state: Mapping[str, object]) -> None:
        vars(self).update(state)
        self.model = state["model"].assembled()  # type: ignore[attr-defined]
        self._packing = threading.Lock()
        self._packed, self._watch, self._lender = None, Watch(self.model), None

    def task(self, name: str) -> Task:
        """The task of that name.

        Raises:
            ConfigError: where there is none.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise ConfigError(f"the model has no task {name!r}; it has {', '.join(t.name for t in self.tasks) or 'none'}")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentence vectors (len(texts), H), float32, unit length."""
        found = self.analyze(texts, tasks=())
        return np.stack([a.vector for a in found]) if found else self._no_vectors()

    def similarity(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Cosines (len(left), len(right)) of the sentence vectors."""
        scores: NDArray[np.float32] = self.encode(left) @ self.encode(right).T
        return scores

    def analyze(self, texts: Sequence[str], tasks: Collection[str] | None = None) -> list[Analysis]:
        """Every single-text task (or those named in `tasks`) on each text, from one encoder pass.

        Raises:
            ConfigError: for a task that the model does not have or that compares two texts.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; pass a list of texts")
        return list(self._pass(self.chosen(tasks, 1))((text,) for text in texts))

    def stream(self, texts: Iterable[str], tasks: Collection[str] | None = None) -> Iterator[Analysis]:
        """`analyze` of texts that need not fit into memory: reads some thousands at a time, yields in their order.

        Raises:
            ConfigError: as `analyze` does, when the first is asked for.
        """
        yield from self._pass(self.chosen(tasks, 1))((text,) for text in texts)

    def analyze_pairs(
        self, left: Sequence[str], right: Sequence[str], tasks: Collection[str] | None = None
    ) -> list[Analysis]:
        """Every two-text task (or those named in `tasks`) on each pair; vectors are (2, H).

        Raises:
            ConfigError: where the lists differ in length, or for a task that is not one of two texts.
        """
        if len(left) != len(right):
            raise ConfigError(f"pairs need two lists of one length, got {len(left)} and {len(right)} texts")
        return list(self._pass(self.chosen(tasks, 2))(zip(left, right, strict=True)))

    def token_states(self, texts: Sequence[str]) -> list[TokenStates]:
        """Each text with the states of its tokens and what every single-text task says, from one pass in one batch.

        Of a text that is too long the beginning. `mtl.inference.explain` makes parts and reasons of it.
        """
        return self._pass(self.chosen(None, 1)).token_states(texts)

    def copy(self) -> Predictor:
        """A predictor with weights of its own: training it leaves this one as it is."""
        return Predictor(
            copy.deepcopy(self.model),
            self.tokenizer,
            self.tasks,
            tokenizer_files=self.tokenizer_files,
            meta=self.meta,
            precision=self.precision,
            packed=self.packed,
        )

    def share_encoder(self, other: Predictor) -> bool:
        """Reads with the encoder of another predictor, and frees its own, where their weights are the same.

        For models that are only used: who trains one of the two changes both.
        """
        mine, theirs = self.model.encoder.state_dict(), other.model.encoder.state_dict()
        if mine.keys() != theirs.keys() or not all(torch.equal(mine[name], theirs[name]) for name in mine):
            return False
        with self._packing:
            self.model.encoder = other.model.encoder
            self._lender = other if other.precision == self.precision else None
            self._packed, self._watch = None, Watch(self.model)
        return True

    def own_bytes(self, other: Predictor) -> int:
        """Bytes of the weights that `other` does not share, and as many again for their packed copy."""
        shared = {parameter.data_ptr() for parameter in other.model.parameters()}
        mine = {parameter.data_ptr(): parameter for parameter in self.model.parameters()}
        return 2 * sum(p.numel() * p.element_size() for place, p in mine.items() if place not in shared)

    def add_task(self, task: Task) -> None:
        """Gives the model a fresh head for `task`; a task of the same name is replaced."""
        encoder = self.model.encoder
        self.model.heads[task.name] = task.build_head(encoder.width, encoder.n_layers).to(self.model.device)
        self.model.eval()
        self.tasks = (*(t for t in self.tasks if t.name != task.name), task)

    def save(self, folder: str | Path, *, meta: Mapping[str, object] | None = None) -> Path:
        """Writes a checkpoint folder that mtl, sentence-transformers and transformers load."""
        folder = Path(folder)
        kept = {k: v for k, v in self.meta.items() if k not in ("format", "max_tokens", "pooling", "tasks")}
        checkpoint.save(
            folder,
            self.model,
            meta={"tasks": [task.to_spec() for task in self.tasks], **kept, **(meta or {})},
            tokenizer_files=self.tokenizer_files,
            max_tokens=self.tokenizer.max_tokens,
        )
        return folder

    def chosen(self, names: Collection[str] | None, n_texts: int) -> list[Task]:
        """The tasks of those names, or all that take so many texts.

        Raises:
            ConfigError: for a task that there is not, or that takes another number of texts.
        """
        if names is None:
            return [task for task in self.tasks if task.n_texts == n_texts]
        chosen = [self.task(name) for name in names]
        for task in chosen:
            if task.n_texts != n_texts:
                verb = "analyze_pairs" if task.n_texts == 2 else "analyze"
                raise ConfigError(f"task {task.name!r} takes {task.n_texts} text(s) at a time; use {verb}")
        return chosen

    def _pass(self, tasks: Sequence[Task]) -> Pass:
        return Pass(self._reader(), self.tokenizer, tuple(tasks), self.precision)

    def _reader(self) -> Reader:
        """The packed model where this CPU has one for the weights as they are now, else the plain one."""
        if not self.packed or self.model.device.type != "cpu":
            return self.model
        with self._packing:
            if self._watch.changed():
                lent = self._lender._reader() if self._lender is not None else None
                encoder = lent.encoder if isinstance(lent, PackedModel) else None
                self._packed = pack(self.model, compute_type(self.model.device, self.precision), encoder=encoder)
            return self._packed or self.model

    def _no_vectors(self) -> NDArray[np.float32]:
        return np.zeros((0, self.model.encoder.width), dtype=np.float32)


def load(folder: str | Path, *, device: str = "auto", precision: Precision = "auto", packed: bool = True) -> Predictor:
    """Reads a checkpoint folder; no network. `packed` False: the plain path, see `Predictor`.

    Raises:
        CheckpointError: for a folder that is no checkpoint, or a damaged one.
    """
    folder = Path(folder)
    parts = checkpoint.load(folder)
    specs = parts.meta["tasks"]
    try:
        tasks = [from_spec(spec) for spec in specs]  # type: ignore[attr-defined]
    except (ConfigError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'mtl.json'}: its tasks cannot be read ({error})") from error
    heads = {task.name: task.build_head(parts.encoder.width, parts.encoder.n_layers) for task in tasks}
    for name, head in heads.items():
        checkpoint.load_head(head, name, parts.head_state)
    model = MultiTaskModel(parts.encoder, parts.pooling, heads)
    model.to(device_of(device))
    max_tokens = int(str(parts.meta.get("max_tokens", 256)))
    tokenizer = TextTokenizer.from_file(folder / "tokenizer.json", max_tokens=max_tokens)
    return Predictor(
        model,
        tokenizer,
        tasks,
        tokenizer_files=parts.tokenizer_files,
        meta=parts.meta,
        precision=precision,
        packed=packed,
    )


def from_encoder(
    name: str,
    tasks: Sequence[Task] = (),
    *,
    pooling: PoolingMode = "mean",
    max_tokens: int = 256,
    device: str = "auto",
    precision: Precision = "auto",
    seed: int = 0,
) -> Predictor:
    """A pre-trained encoder (a folder or a hub id) with fresh heads for `tasks`, drawn by `seed`.

    Raises:
        CheckpointError: where the encoder cannot be found or read.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        backbone = AutoModel.from_pretrained(name, dtype=torch.float32)
        hub_tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"encoder {name!r} cannot be loaded ({str(error).splitlines()[0]}); "
            "give a folder or a hub id that can be reached"
        ) from error
    positions = getattr(backbone.config, "max_position_embeddings", max_tokens + 2)
    max_tokens = min(max_tokens, positions - 2)  # RoBERTa counts its positions from 2
    torch.manual_seed(seed)
    return build(
        Encoder(backbone),
        hub_tokenizer,
        tasks,
        pooling=pooling,
        max_tokens=max_tokens,
        device=device,
        precision=precision,
    )


def build(
    encoder: Encoder,
    hub_tokenizer: object,
    tasks: Sequence[Task],
    *,
    pooling: PoolingMode,
    max_tokens: int,
    device: str = "auto",
    precision: Precision = "auto",
) -> Predictor:
    """Puts an encoder, a transformers fast tokenizer and fresh heads together."""
    with tempfile.TemporaryDirectory() as folder:
        hub_tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
        path = Path(folder) / "tokenizer.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.update(truncation=None, padding=None)
        path.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
        notes = Path(folder) / "tokenizer_config.json"
        kept = {k: v for k, v in json.loads(notes.read_text(encoding="utf-8")).items() if k not in PER_CALL_SETTINGS}
        kept["model_max_length"] = max_tokens
        notes.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        files = checkpoint.read_tokenizer_files(Path(folder))
        tokenizer = TextTokenizer.from_file(path, max_tokens=max_tokens)
    heads = {task.name: task.build_head(encoder.width, encoder.n_layers) for task in tasks}
    model = MultiTaskModel(encoder, Pooling(pooling), heads)
    model.to(device_of(device))
    return Predictor(model, tokenizer, tasks, tokenizer_files=files, precision=precision)
