"""BERT in plain torch: the tensors have the names that `transformers` gives them, and so do its parts.

A checkpoint is in use a second and a half sooner without importing `transformers`. Source: Devlin et al., 2019,
"BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class BertConfig:
    """What `config.json` says of a BERT; `others` are settings that change nothing of what is computed here."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    pad_token_id: int | None = 0
    others: Mapping[str, object] = field(default_factory=dict)

    model_type = "bert"
    hidden_act = "gelu"
    is_decoder = False

    def __post_init__(self) -> None:
        sizes = [self.vocab_size, self.hidden_size, self.num_hidden_layers, self.num_attention_heads]
        if not all(type(size) is int and size > 0 for size in [*sizes, self.intermediate_size]):
            raise ValueError(f"sizes are {sizes}; each must be a whole number above 0")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads")

    @classmethod
    def from_dict(cls, settings: Mapping[str, object]) -> BertConfig | None:
        """The configuration, or None where these settings are not of a plain BERT encoder.

        Raises:
            ValueError: where a size cannot be.
        """
        plain = (
            settings.get("model_type") == cls.model_type
            and settings.get("hidden_act") == cls.hidden_act
            and not settings.get("is_decoder")
            and settings.get("position_embedding_type") in (None, "absolute")
        )
        names = [one.name for one in fields(cls) if one.name != "others"]
        known = {name: settings[name] for name in names if name in settings}
        others = {name: value for name, value in settings.items() if name not in known}
        try:
            return cls(**known, others=others) if plain else None  # type: ignore[arg-type]
        except TypeError:  # a size is missing
            return None

    def to_diff_dict(self) -> dict[str, object]:
        """The settings as `config.json` has them."""
        known = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "others"}
        return {**self.others, **known}


@dataclass(frozen=True)
class Output:
    """Hidden states (B, T, H): the last, and where they were asked for the embeddings and each layer."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class BertModel(nn.Module):
    """The encoder. `pooler` says whether it has the layer that nothing reads but that checkpoints carry."""

    def __init__(self, config: BertConfig, *, pooler: bool) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = nn.ModuleDict()
        self.encoder["layer"] = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        if pooler:
            self.pooler = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.hidden_size)})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *, output_hidden_states: bool = False) -> Output:
        """(B, T) ids and (B, T) of 0 and 1 -> states (B, T, H)."""
        states = self.embeddings(input_ids)
        found = [states]
        mask = attention_mask.bool()[:, None, None]
        for block in self.encoder["layer"].children():
            states = block(states, mask)
            found.append(states)
        return Output(states, tuple(found) if output_hidden_states else None)


class Embeddings(nn.Module):
    """Ids -> states: words and places, normalised."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = _table(config.vocab_size, width, config.pad_token_id)
        self.position_embeddings = _table(config.max_position_embeddings, width)
        self.token_type_embeddings = _table(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, H)."""
        places = self.position_embeddings.weight[: ids.shape[1]] + self.token_type_embeddings.weight[0]
        dropped: Tensor = self.dropout(self.LayerNorm(self.word_embeddings(ids) + places))
        return dropped


def _table(size: int, width: int, padding: int | None = None) -> nn.Embedding:
    """Rows that are still to be filled: drawing them would import half of torch's compiler."""
    rows = torch.empty(size, width)
    table: nn.Embedding = nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=padding)  # type: ignore[no-untyped-call]
    return table


class Block(nn.Module):
    """A transformer layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, wide = config.hidden_size, config.intermediate_size
        self.attention = nn.ModuleDict({"self": Attention(config), "output": Added(width, config)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, wide)})
        self.output = Added(wide, config)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, H) and a mask (B, 1, 1, T) -> (B, T, H)."""
        states = self.attention["output"](self.attention["self"](states, mask), states)
        moved: Tensor = self.output(functional.gelu(self.intermediate["dense"](states)), states)
        return moved


class Attention(nn.Module):
    """Scaled dot products of every token with every token that the mask leaves."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, H) -> (B, T, H)."""
        query, key, value = (
            part(states).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        dropped = self.dropout.p if self.dropout.training else 0.0
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropped)
        return read.transpose(1, 2).flatten(2)


class Added(nn.Module):
    """What a part found, brought to the width of the states, added to them and normalised."""

    def __init__(self, width: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, found: Tensor, states: Tensor) -> Tensor:
        """(B, T, width) and (B, T, H) -> (B, T, H)."""
        normalised: Tensor = self.LayerNorm(states + self.dropout(self.dense(found)))
        return normalised


def from_state(config: BertConfig, state: Mapping[str, Tensor]) -> BertModel:
    """A model on these tensors, in float32 and in evaluation mode.

    Raises:
        RuntimeError: where they do not fit the configuration.
    """
    with torch.device("meta"):  # nothing is drawn that the tensors would replace
        model = BertModel(config, pooler=any(name.startswith("pooler.") for name in state))
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model.eval()
