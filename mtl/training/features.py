"""The outputs of a frozen encoder, computed once for every training row: steps run on them.

A row is computed when it is first drawn, together with its neighbours in length, so that a run begins at once and
what is kept does not depend on the order of the draws. Half precision; in memory, or in a file of its own where they
are larger than `MEMORY_BYTES`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.data.batches import Draw, Source, by_length, collate
from mtl.data.tokenization import TextTokenizer
from mtl.model.multitask import MultiTaskModel
from mtl.model.precision import Precision, autocast
from mtl.tasks import Task
from mtl.tasks.base import there
from mtl.types import N_SHAPES, Encoding

MEMORY_BYTES = 1 << 30
CHUNK_TOKENS = {"cpu": 256}
"""Tokens that go through the encoder together, by device: a CPU answers the first step the sooner the fewer."""
MOST_TOKENS = 8192


@dataclass(frozen=True)
class Ready:
    """A batch whose encoding is known. `texts` as in `Batch`."""

    source: str
    texts: tuple[str, ...]
    encoding: Encoding
    targets: Mapping[str, Tensor]
    tokens: int


class Features:
    """What the heads of some tasks read of the rows of one source.

    sentence  (rows * sides, H), row by row, its sides one after the other
    states    (tokens, layers * H), where a head reads tokens; lies on the CPU, maybe in a file
    """

    def __init__(
        self,
        source: Source,
        tasks: Sequence[Task],
        tokenizer: TextTokenizer,
        model: MultiTaskModel,
        precision: Precision,
        *,
        taught: Collection[str] = (),
    ) -> None:
        """`taught` names further heads that read these rows."""
        self.model, self.precision = model, precision
        self.source, self.tasks, self.tokenizer = source, tuple(tasks), tokenizer
        self.sides = max(len(row.texts) for row in source.examples)
        names = self.names = list(dict.fromkeys([*(task.name for task in tasks), *taught]))
        self.by_token = any(_reads_tokens(model, name) for name in names)
        self.every_layer = model.reads_every_layer(names)
        self.device = model.device
        texts = [text for row in source.examples for text in row.texts]
        self.lengths = np.asarray(tokenizer.lengths(texts), dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        n_tokens, width = int(self.starts[-1]), model.encoder.width
        self.width = width
        self.n_layers = model.encoder.n_layers + 1 if self.every_layer else 1
        self.sentence = torch.zeros(len(texts), width, dtype=torch.float16)
        self.states, self.word_shape = torch.zeros(0), torch.zeros(0)
        if self.by_token:
            self.states = _room(n_tokens, self.n_layers * width)
            self.word_shape = torch.zeros(n_tokens, N_SHAPES)
        self.targets: dict[str, Tensor] = {}
        self.per_token: dict[str, bool] = {}
        rows = self.lengths.reshape(-1, self.sides).max(1).tolist()
        most = CHUNK_TOKENS.get(self.device.type, MOST_TOKENS) // self.sides
        self._chunks: list[list[int]] = by_length(rows, max_tokens=max(1, most))
        self._chunk_of = np.zeros(len(rows), dtype=np.int64)
        for number, places in enumerate(self._chunks):
            self._chunk_of[places] = number
        self._known = np.zeros(len(self._chunks), dtype=bool)

    @property
    def bytes(self) -> int:
        """What the features take."""
        return 2 * (self.sentence.numel() + self.states.numel())

    def _compute(self, rows: NDArray[np.int64]) -> None:
        """Runs the encoder over what is not known yet of these rows, and over the rest of their chunks."""
        for number in np.unique(self._chunk_of[rows]).tolist():
            if not self._known[number]:
                self._chunk(self._chunks[number])
                self._known[number] = True

    @torch.no_grad()
    def _chunk(self, places: Sequence[int]) -> None:
        examples = [self.source.examples[place] for place in places]
        batch = collate(self.source.name, examples, self.tasks, self.tokenizer)
        self.model.encoder.eval()
        with autocast(self.device, self.precision):
            encoding = self.model.encode(batch.inputs.to(self.device), self.names)
        texts = np.concatenate([np.asarray(places) * self.sides + side for side in range(self.sides)])
        self.sentence[torch.from_numpy(texts)] = encoding.sentence.half().cpu()
        tokens = torch.from_numpy(self._tokens(texts))
        if self.by_token:
            self.states[tokens] = torch.cat(encoding.layers, dim=1).half().cpu()
            self.word_shape[tokens] = batch.inputs.word_shape
        self._keep_targets(batch.targets, torch.tensor(places), tokens)

    def _keep_targets(self, targets: Mapping[str, Tensor], places: Tensor, tokens: Tensor) -> None:
        for task in self.tasks:
            if task.name in targets:
                self._keep(task, targets[task.name], places, tokens)

    def _keep(self, task: Task, values: Tensor, places: Tensor, tokens: Tensor) -> None:
        per_token = len(values) == len(tokens) and len(values) != len(places)
        if task.name not in self.targets:
            n = int(self.starts[-1]) if per_token else len(self.source.examples)
            missing = task.encode_targets([None], self.tokenizer(["-"] * task.n_texts))[:1]
            self.targets[task.name] = missing.repeat(n)
            self.per_token[task.name] = per_token
        self.targets[task.name][tokens if per_token else places] = values

    def batch(self, draw: Draw) -> Ready:
        """The rows of a draw, in the order in which `collate` puts them."""
        rows = np.asarray(draw.rows)
        self._compute(rows)
        texts = np.concatenate([rows * self.sides + side for side in range(self.sides)]) if self.sides > 1 else rows
        lengths = self.lengths[texts]
        places = torch.from_numpy(texts)
        word_shape = layers = None
        if self.by_token:
            tokens = torch.from_numpy(self._tokens(texts))
            states = self.states.index_select(0, tokens).to(self.device, non_blocking=True).float()
            layers = torch.split(states, self.width, dim=1)
            word_shape = self.word_shape.index_select(0, tokens).to(self.device, non_blocking=True)
        sentence = self.sentence.index_select(0, places).to(self.device, non_blocking=True).float()
        encoding = Encoding(
            layers=layers or (sentence[:0],),
            sentence=sentence,
            word_shape=sentence.new_zeros(0) if word_shape is None else word_shape,
            lengths=torch.from_numpy(lengths).to(self.device, non_blocking=True),
            longest=int(lengths.max()),
        )
        found = {
            name: values.index_select(0, tokens if self.per_token[name] else torch.from_numpy(rows))
            for name, values in self.targets.items()
        }
        targets = {name: values for name, values in found.items() if there(values).any()}
        examples = self.source.examples
        names = tuple(examples[row].texts[side] for side in range(self.sides) for row in draw.rows)
        return Ready(draw.source, names, encoding, targets, int(lengths.sum()))

    def _tokens(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of the tokens of these texts, text by text."""
        lengths = self.lengths[texts]
        before = np.cumsum(lengths) - lengths
        return np.repeat(self.starts[texts] - before, lengths) + np.arange(int(lengths.sum()))


def _reads_tokens(model: MultiTaskModel, name: str) -> bool:
    return hasattr(model.heads[name], "layers")


def _room(n_tokens: int, size: int) -> Tensor:
    """(tokens, size) of half precision, in a nameless file where it is large."""
    if 2 * n_tokens * size <= MEMORY_BYTES:
        return torch.zeros(n_tokens, size, dtype=torch.float16)
    with tempfile.TemporaryFile() as file:  # numpy keeps its own handle
        return torch.from_numpy(np.memmap(file, dtype=np.float16, mode="w+", shape=(n_tokens, size)))


def keep(
    sources: Mapping[str, Source],
    tasks: Mapping[str, Sequence[Task]],
    tokenizer: TextTokenizer,
    model: MultiTaskModel,
    precision: Precision,
    *,
    taught: Collection[str] = (),
) -> dict[str, Features]:
    """Room for the features of every source."""
    return {
        name: Features(source, tasks[name], tokenizer, model, precision, taught=taught)
        for name, source in sources.items()
    }
