"""The checkpoint folder: a plain encoder in the field's own layout, and beside it the heads.

    config.json  model.safetensors  tokenizer files          AutoModel and AutoTokenizer load these
    modules.json  sentence_bert_config.json  1_Pooling/  2_Normalize/       and sentence-transformers these
    mtl.json  heads.safetensors                              tasks, provenance, metrics; the heads' weights

Knows tasks only as plain settings. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from mtl.errors import CheckpointError, ConfigError
from mtl.model.bert import BertConfig, from_state
from mtl.model.encoder import Encoder
from mtl.model.multitask import MultiTaskModel
from mtl.model.pooling import Pooling, PoolingMode
from mtl.model.saving import finish, write_together

FORMAT = 1
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Parts:
    """What a checkpoint folder holds; `meta` is `mtl.json`, `head_state` has keys `name.parameter`."""

    encoder: Encoder
    pooling: Pooling
    head_state: Mapping[str, Tensor]
    meta: Mapping[str, object]
    tokenizer_files: Mapping[str, bytes]


@dataclass(frozen=True)
class Dismantled:
    """A model as values that can be pickled: a backbone of `transformers` hangs hooks into itself that cannot."""

    kind: type[torch.nn.Module]
    config: object
    state: Mapping[str, Tensor]
    pooling: PoolingMode
    heads: torch.nn.ModuleDict

    @classmethod
    def of(cls, model: MultiTaskModel) -> Dismantled:
        """The parts of a model; tensors are its own."""
        backbone = model.encoder.backbone
        state = model.encoder.backbone.state_dict()
        return cls(type(backbone), backbone.config, state, model.pooling.mode, model.heads)

    def assembled(self) -> MultiTaskModel:
        """The same model, in evaluation mode."""
        if isinstance(self.config, BertConfig):
            backbone: torch.nn.Module = from_state(self.config, self.state)
        else:
            with torch.random.fork_rng(devices=[]):
                backbone = self.kind(self.config)
            backbone.load_state_dict(self.state)
        encoder = Encoder(backbone)
        return MultiTaskModel(encoder, Pooling(self.pooling), dict(self.heads.items())).eval()


def save(
    folder: Path,
    model: MultiTaskModel,
    *,
    meta: Mapping[str, object],
    tokenizer_files: Mapping[str, bytes],
    max_tokens: int,
) -> None:
    """Writes a checkpoint, weights rounded to half precision; its files replace those of an older one together.

    `config.json` says float32, the type to compute in, so every loader widens the weights again.

    Raises:
        CheckpointError: where it cannot be written; an older one is then as it was.
    """
    backbone = model.encoder.backbone
    config = backbone.config.to_diff_dict()
    config.update(architectures=[type(backbone).__name__], dtype="float32", model_type=backbone.config.model_type)
    for machine_made in ("_name_or_path", "transformers_version", "torch_dtype"):
        config.pop(machine_made, None)
    width, mode = model.encoder.width, model.pooling.mode
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    pooling = {
        "word_embedding_dimension": width,
        "pooling_mode": mode,
        "pooling_mode_cls_token": mode == "cls",
        "pooling_mode_mean_tokens": mode == "mean",
        "pooling_mode_max_tokens": mode == "max",
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    described = {
        "config.json": dict(sorted(config.items())),
        "sentence_bert_config.json": {"max_seq_length": max_tokens, "do_lower_case": False},
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "2_Normalize/config.json": {},
        "mtl.json": {"format": FORMAT, "max_tokens": max_tokens, "pooling": mode, **meta},
    }
    files = {
        **tokenizer_files,
        **{name: _as_json(value) for name, value in described.items()},
        "heads.safetensors": _as_tensors(model.heads.state_dict()),
        "model.safetensors": _as_tensors(backbone.state_dict()),
    }
    write_together(folder, files)


def load(folder: Path) -> Parts:
    """Reads a checkpoint without any network.

    Raises:
        CheckpointError: for a folder that is missing, is no checkpoint, or whose files are damaged or do
            not belong together.
    """
    meta = read_meta(folder)
    for name in ("config.json", "model.safetensors", "heads.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: {name} is missing; copy the whole checkpoint folder again")
    encoder = Encoder(_backbone(folder))
    _check_positions(folder / "mtl.json", meta, encoder)
    return Parts(
        encoder=encoder,
        pooling=Pooling(str(meta.get("pooling", "mean"))),  # type: ignore[arg-type]
        head_state=_read_tensors(folder / "heads.safetensors"),
        meta=meta,
        tokenizer_files=read_tokenizer_files(folder),
    )


def read_meta(folder: Path) -> Mapping[str, object]:
    """`mtl.json` of a checkpoint folder.

    Raises:
        CheckpointError: where the folder or the file is missing, damaged or of a newer format.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give the folder of an mtl checkpoint")
    finish(folder)
    path = folder / "mtl.json"
    if not path.is_file():
        raise CheckpointError(f"{folder}: is no mtl checkpoint, mtl.json is missing; `python -m mtl train` writes one")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}); copy the checkpoint again") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT or "tasks" not in meta:
        raise CheckpointError(f"{path}: is not of format {FORMAT}, the one that this version of mtl reads")
    _check_settings(path, meta)
    return meta


def read_tokenizer_files(folder: Path) -> dict[str, bytes]:
    """The tokenizer's files as they are, to be written beside the next checkpoint."""
    return {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}


def load_head(head: torch.nn.Module, name: str, state: Mapping[str, Tensor]) -> None:
    """Puts the tensors `name.*` into a head.

    Raises:
        CheckpointError: where they do not fit it.
    """
    mine = {key[len(name) + 1 :]: value.float() for key, value in state.items() if key.startswith(f"{name}.")}
    try:
        head.load_state_dict(mine)
    except RuntimeError as error:
        raise CheckpointError(f"heads.safetensors does not fit task {name!r} of mtl.json; copy both again") from error


def _check_settings(path: Path, meta: Mapping[str, object]) -> None:
    tasks, pooling, max_tokens = meta["tasks"], meta.get("pooling", "mean"), meta.get("max_tokens", 256)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise CheckpointError(f"{path}: its tasks cannot be read; they must be a list of objects")
    names = [task.get("name") for task in tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CheckpointError(f"{path}: its tasks cannot be read; two of them are named {twice!r}")
    if pooling not in get_args(PoolingMode):
        raise CheckpointError(f"{path}: pooling is {pooling!r}; it must be one of {', '.join(get_args(PoolingMode))}")
    if type(max_tokens) is not int or max_tokens < 1:
        raise CheckpointError(f"{path}: max_tokens is {max_tokens!r}; it must be a whole number above 0")


def _check_positions(path: Path, meta: Mapping[str, object], encoder: Encoder) -> None:
    positions = getattr(encoder.backbone.config, "max_position_embeddings", None)
    max_tokens = meta.get("max_tokens", 256)
    if isinstance(positions, int) and isinstance(max_tokens, int) and max_tokens > positions:
        raise CheckpointError(f"{path}: max_tokens is {max_tokens}; the encoder of config.json reads {positions}")


def _backbone(folder: Path) -> torch.nn.Module:
    """The encoder: a plain BERT in the code of this package, any other in that of `transformers`."""
    path = folder / "config.json"
    state = _read_tensors(folder / "model.safetensors")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        config = BertConfig.from_dict(settings) if isinstance(settings, dict) else None
        if config is not None:
            return from_state(config, state)
        backbone = _of_transformers(folder)
        backbone.load_state_dict({key: value.float() for key, value in state.items()})
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: describes no encoder ({error})") from error
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: model.safetensors does not fit config.json; copy both again") from error
    return backbone


def _of_transformers(folder: Path) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    backbone: torch.nn.Module = AutoModel.from_config(config, dtype=torch.float32)
    return backbone


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is damaged or cut short ({error}); copy the file again") from error


def _as_tensors(state: Mapping[str, Tensor]) -> bytes:
    half = {k: v.half().contiguous().cpu() if v.is_floating_point() else v.contiguous().cpu() for k, v in state.items()}
    return to_bytes(half, metadata={"format": "pt"})


def _as_json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def make_writable(folder: Path) -> None:
    """Makes a folder now: hours of training must not end at one that cannot be written.

    Raises:
        ConfigError: where it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".probe").touch()
        (folder / ".probe").unlink()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error
