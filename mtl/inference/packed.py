"""A BERT encoder and its heads, laid out for this CPU: no padding, weights ordered once, the type that it is good at.

The tokens of all texts lie end to end, (N, H); only attention puts them into grids of texts alike in length. Linear
layers go through oneDNN with weights in its own order, GELU inside of the product; sums and norms are in float32.
The orders are operators of torch that are not public (`torch.ops.mkldnn`), so what is built here is compared with
the plain model before it is used, and where it differs or cannot be built the plain model serves.

Knows no text and no task.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mtl.inference.packed_layers import PackedBert, PackedTokenHead
from mtl.model.fused import fits
from mtl.model.heads import TokenHead
from mtl.model.multitask import MultiTaskModel
from mtl.types import Encoding, Tokens

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""The largest difference from the plain model in a sentence vector of unit length, and in a logit of a head over the
largest logit, with which a packed model is taken."""

_log = logging.getLogger(__name__)


def pack(model: MultiTaskModel, dtype: torch.dtype, *, encoder: PackedBert | None = None) -> PackedModel | None:
    """The model for this CPU, or None where it cannot be packed: then the plain one serves.

    `encoder` is that of the model, where it was packed before.
    """
    if model.device.type != "cpu" or not can_pack(dtype) or not fits(model.encoder.backbone):
        return None
    try:
        packed = PackedModel(model, dtype, encoder=encoder)
        gaps = [difference(model, packed), difference(model, packed, lengths=(7,))]  # one text goes its own way
    except RuntimeError as error:
        _log.warning("no packed model here, the plain one serves (%s)", str(error).splitlines()[0])
        return None
    if not all(gap <= TOLERANCE[dtype] for gap in gaps):
        _log.warning("the packed model differs from the plain one by %s; the plain one serves", gaps)
        return None
    return packed


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch has the operators, and they are for `dtype`."""
    there = all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    return dtype in TOLERANCE and bool(torch.backends.mkldnn.is_available()) and there  # type: ignore[no-untyped-call]


class PackedModel:
    """Encodes and reads as a `MultiTaskModel` does, on weights that were copied when it was made.

    Raises:
        RuntimeError: where oneDNN does not take these weights.
    """

    def __init__(self, model: MultiTaskModel, dtype: torch.dtype, *, encoder: PackedBert | None = None) -> None:
        self.source = model
        self.dtype = dtype
        with torch.no_grad():
            self.encoder = PackedBert(model.encoder.backbone, dtype) if encoder is None else encoder
            self.heads: dict[str, nn.Module] = {
                name: PackedTokenHead(head, dtype) if isinstance(head, TokenHead) else head
                for name, head in model.heads.items()
            }

    @torch.inference_mode()
    def encode(self, tokens: Tokens, names: Collection[str] | None = None) -> Encoding:
        """One pass over `tokens`; see `MultiTaskModel.encode`. Layers are in the packed type."""
        every_layer = self.source.reads_every_layer(names)
        layers, last = self.encoder(tokens.ids, tokens.lengths, every_layer=every_layer)
        return Encoding(layers, self.source.pooling(last, tokens.lengths), tokens.word_shape, tokens.lengths)

    @torch.inference_mode()
    def read(self, encoding: Encoding, names: Collection[str]) -> dict[str, Tensor]:
        """What each named head says."""
        return {name: self.heads[name](encoding) for name in names}


class Watch:
    """Tells whether a model's weights, on the CPU, are those of the last time.

    By the place and the version of each tensor, which an operation in place counts up, and by some of its numbers,
    for what is written through `.data`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._seen: object = None
        self._places: list[int] = []
        self._samples: list[NDArray[np.float32]] = []

    def changed(self) -> bool:
        """Whether anything changed since the last call; at the first call it has."""
        parameters = _parameters(self.model)
        places = [parameter.data_ptr() for parameter in parameters]
        if places != self._places:
            flat = [parameter.detach().reshape(-1).numpy() for parameter in parameters]
            self._samples = [values[:: max(1, len(values) // 8)] for values in flat]
            self._places = places
        now = ([p._version for p in parameters], places, [values.tobytes() for values in self._samples])
        seen, self._seen = self._seen, now
        return now != seen


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    """What `model.parameters()` gives, in a fifth of its time."""
    found: list[nn.Parameter] = []
    modules = [model]
    for module in modules:
        found += [parameter for parameter in module._parameters.values() if parameter is not None]
        modules += [child for child in module._modules.values() if child is not None]
    return found


@torch.inference_mode()
def difference(model: MultiTaskModel, packed: PackedModel, *, lengths: Sequence[int] = (5, 3, 17, 1, 16, 9)) -> float:
    """How far the packed model is from the plain one in float32, on texts of random words; see `TOLERANCE`.

    Of an odd number of texts only heads that were packed are asked: others may read pairs.
    """
    random = torch.Generator().manual_seed(0)
    vocabulary = model.encoder.embeddings.get_submodule("word_embeddings").num_embeddings
    n_tokens = sum(lengths)
    tokens = Tokens(
        ids=torch.randint(int(str(vocabulary)), (n_tokens,), generator=random),
        lengths=torch.tensor(lengths),
        offsets=torch.zeros(n_tokens, 2, dtype=torch.long),
        words=torch.zeros(n_tokens, dtype=torch.long),
        word_shape=torch.zeros(n_tokens, 8),
        truncated_at=(None,) * len(lengths),
        longest=max(lengths),
    )
    names = [name for name in model.heads if any(True for _ in model.heads[name].parameters())]
    if len(lengths) % 2:
        names = [name for name in names if packed.heads[name] is not model.heads[name]]
    ours, theirs = packed.encode(tokens), model.encode(tokens)
    gaps = [(functional.normalize(ours.sentence) - functional.normalize(theirs.sentence)).abs().max()]
    said, wanted = packed.read(ours, names), model.read(theirs, names)
    gaps += [(said[n].float() - wanted[n]).abs().max() / wanted[n].abs().max().clamp_min(1.0) for n in names]
    return float(torch.stack(gaps).max())
