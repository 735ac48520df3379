"""AdamW over the parts of a model, each at its own rate, without asking the device anything in a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl.model.multitask import MultiTaskModel
from mtl.training.config import TrainConfig


class Optimiser:
    """AdamW (Loshchilov & Hutter 2019) with linear warm-up and decay, clipping, and scaled losses for fp16.

    A step whose gradient is not finite changes nothing; `step` returns the norm, which tells.
    """

    def __init__(
        self, model: MultiTaskModel, config: TrainConfig, extra: Sequence[nn.Parameter], *, total: int, fp16: bool
    ) -> None:
        self.config, self.total, self.encoder = config, max(1, total), model.encoder
        groups = _groups(model, config)
        if extra:
            groups.append({"params": list(extra), "lr": config.head_lr, "weight_decay": 0.0})
        self.learning: list[nn.Parameter] = [p for group in groups for p in group["params"]]  # type: ignore[attr-defined]
        self.adam = torch.optim.AdamW(groups, fused=True)
        self.peaks = [group["lr"] for group in self.adam.param_groups]
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=fp16)
        self.risen = 0.0  # the share of its peak that every learning rate stands at

    def set_rates(self, step: int) -> None:
        """Linear warm-up, then linear decay to almost 0 at the last step; steps count from 1."""
        rising = max(1, round(self.config.warmup * self.total))
        self.risen = step / rising if step <= rising else (self.total - step + 1) / (self.total - rising + 1)
        for group, peak in zip(self.adam.param_groups, self.peaks, strict=True):
            group["lr"] = peak * self.risen

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to call `backward` on."""
        return self.scaler.scale(loss) if self.scaler.is_enabled() else loss

    def step(self) -> Tensor:
        """Clips, moves the weights, forgets the gradients; -> the norm before clipping, a scalar on the device."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.adam)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.learning if p.grad is not None])
        if self.scaler.is_enabled():
            torch.nn.utils.clip_grads_with_norm_(self.learning, self.config.clip, norm)
            self.scaler.step(self.adam)
            self.scaler.update()
        elif norm.device.type == "mps":  # its fused optimiser takes neither a scale nor a flag
            torch.nn.utils.clip_grads_with_norm_(self.learning, self.config.clip, norm)
            if norm.isfinite():
                self.adam.step()
        else:  # the optimiser divides as it reads: clipping costs no pass over the gradients of its own
            self.adam.grad_scale = (norm / self.config.clip).clamp_min(1.0)  # type: ignore[attr-defined]
            self.adam.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
            self.adam.step()
        if self.encoder.fused.spare.in_use and norm.isfinite():  # on a CPU alone, where asking costs nothing
            self.encoder.take_back_gradient()
        self.adam.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by `place.name`."""
        found = {
            f"{place}.{name}": value
            for place, parameter in enumerate(self.learning)
            for name, value in self.adam.state.get(parameter, {}).items()
        }
        if self.scaler.is_enabled():
            found |= {f"scaler.{name}": torch.tensor(float(value)) for name, value in self.scaler.state_dict().items()}
        return found

    def load(self, state: dict[str, Tensor]) -> None:
        """What `state` gave."""
        scaler = {name[7:]: value.item() for name, value in state.items() if name.startswith("scaler.")}
        if scaler:
            scaler["_growth_tracker"] = int(scaler["_growth_tracker"])
            scaler["growth_interval"] = int(scaler["growth_interval"])
            self.scaler.load_state_dict(scaler)
        for key, value in state.items():
            place, _, name = key.partition(".")
            if place != "scaler":
                parameter = self.learning[int(place)]
                self.adam.state[parameter][name] = value.to(parameter.device)


def _groups(model: MultiTaskModel, config: TrainConfig) -> list[dict[str, object]]:
    """Encoder and heads at their own rates, deeper layers slower; biases and norms (vectors) without decay."""
    encoder, decay = model.encoder, config.freeze.layer_decay
    stack = [encoder.embeddings, *encoder.blocks]
    rates = [config.encoder_lr * decay ** (encoder.n_layers - depth) for depth in range(len(stack))]
    groups: list[dict[str, object]] = []
    for module, rate in zip([*stack, model.heads], [*rates, config.head_lr], strict=True):
        for is_matrix, weight_decay in ((True, config.weight_decay), (False, 0.0)):
            chosen = [p for p in module.parameters() if p.requires_grad and (p.ndim > 1) == is_matrix]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": weight_decay})
    return groups or [{"params": []}]  # the whole network may be frozen


def warm_up() -> None:
    """Has torch load what its optimisers need, which takes a second at their first use in a process."""
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
