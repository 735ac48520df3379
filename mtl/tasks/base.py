"""The contract of a task type: how a row becomes a target, a head an answer, and an answer a score.

A new task type is one file that fulfils `Task` and one line in `mtl.tasks.TASK_TYPES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mtl.errors import ConfigError, DataError
from mtl.types import Prediction, Target, Tokens

Value = TypeVar("Value")

MISSING = -100
"""The index of a target that is not there; losses pass it over."""


@dataclass(frozen=True)
class Row:
    """One row of a table: its place as a person counts (the first row of data is 1) and its cells."""

    number: int
    values: Mapping[str, object]

    def get(self, column: str) -> object:
        """The cell, or None where it is absent, null, NaN or blank."""
        value = self.values.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        return None if isinstance(value, float) and np.isnan(value) else value

    def problem(self, column: str, expected: str) -> DataError:
        """An error that names this row, the column, the value and what was expected."""
        shown = repr(self.values.get(column))
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return DataError(f"row {self.number}, column {column!r}: {shown}; expected {expected}")


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """What every task type knows. Instances are values: equal settings, equal tasks.

    kind     the name of the type in recipes and in checkpoints
    columns  the columns that hold its target; one of them suffices
    n_texts  1 for a text, 2 for a pair
    primary  the metric that stands for the task in a comparison of models
    metrics  all that it is scored by
    reads_words  whether it marks words: it then needs their characters, and reads long texts in pieces
    metric   the one of them that stands for it while it is trained; `primary` where it is empty
    """

    kind: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    n_texts: ClassVar[int]
    primary: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    reads_words: ClassVar[bool] = False

    name: str
    labels: tuple[str, ...] = ()
    metric: str = ""

    def __post_init__(self) -> None:
        if not self.name.replace("_", "").replace("-", "").isalnum():
            raise ConfigError(f"task name {self.name!r}: use letters, digits, '_' and '-' only")
        if hasattr(nn.ModuleDict(), self.name):
            raise ConfigError(f"task name {self.name!r} is a word that PyTorch keeps for itself; choose another one")
        given: object = self.labels  # a recipe or an mtl.json may hold anything
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ConfigError(f"task {self.name!r}: labels is {given!r}; it must be a list")
        object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
        if len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"task {self.name!r}: a label stands twice in {', '.join(self.labels)}")
        if self.metric not in ("", *self.metrics):
            raise ConfigError(f"task {self.name!r}: metric is {self.metric!r}; say one of {', '.join(self.metrics)}")

    def has_target(self, row: Row) -> bool:
        """Whether the row says anything for this task; a row that does not is not an error."""
        return any(row.get(column) is not None for column in self.columns)

    @abstractmethod
    def parse(self, row: Row) -> Target:
        """The target in a row for which `has_target` holds.

        Raises:
            DataError: naming row, column, value and what was expected.
        """

    @classmethod
    def labels_in(cls, rows: Sequence[Row]) -> tuple[str, ...]:  # noqa: ARG003
        """The labels that rows hold, sorted, for tasks whose labels come from the data.

        Raises:
            DataError: for a cell that cannot be read.
        """
        return ()

    @abstractmethod
    def build_head(self, width: int, n_layers: int) -> nn.Module:
        """A fresh head for an encoder of `width` H and `n_layers`, which reads an `Encoding`."""

    @abstractmethod
    def encode_targets(self, targets: Sequence[Target | None], tokens: Tokens) -> Tensor:
        """Targets as the tensor that `loss` takes; None is a missing target and weighs nothing."""

    @abstractmethod
    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Scalar, a mean over what has a target."""

    def soft_targets(self, outputs: Sequence[Tensor], tokens: Tokens) -> Tensor | None:
        """The mean probabilities (n, L) that several heads give, NaN where nothing is to be learned; None for
        a task without classes."""
        return None

    def imitate(self, output: Tensor, soft: Tensor) -> Tensor:
        """Scalar: how far an output is from the `soft_targets` of others; 0 where it equals them.

        Knowledge distillation (Hinton et al. 2015) at temperature 1.
        """
        known = ~soft.isnan().any(-1)
        wanted = soft.float().nan_to_num(0.0)
        divergence = functional.kl_div(output.float().log_softmax(-1), wanted, reduction="none").sum(-1)
        return divergence.masked_fill(~known, 0).sum() / known.sum().clamp_min(1)

    @abstractmethod
    def decode(self, output: Tensor, tokens: Tokens) -> list[Prediction]:
        """One prediction for each text, or for each pair."""

    @abstractmethod
    def statistics(self, predicted: Sequence[Prediction], gold: Sequence[Target]) -> NDArray[np.float64]:
        """(rows, S): what `summarise` needs to know of each row, so that rows can be drawn again."""

    @abstractmethod
    def summarise(
        self, statistics: NDArray[np.float64], *, whole: NDArray[np.float64] | None = None
    ) -> dict[str, float]:
        """Metrics by name, of any selection of rows; holds `primary`.

        `whole` is the set that the rows were drawn from, where a metric asks what occurs in it.
        """

    def primary_value(self, statistics: NDArray[np.float64]) -> float:
        """The metric `primary` alone; a type overrides it where that is quicker, for rows drawn a thousand times."""
        return self.summarise(statistics)[self.primary]

    def score(self, predicted: Sequence[Prediction], gold: Sequence[Target]) -> dict[str, float]:
        """Metrics by name; holds `primary`."""
        return self.summarise(self.statistics(predicted, gold))

    def to_spec(self) -> dict[str, object]:
        """Settings as plain values for `mtl.json`; `mtl.tasks.from_spec` reads them back."""
        return {"type": self.kind, **asdict(self)}


def there(targets: Tensor) -> Tensor:
    """Which of the encoded targets are not missing, (n,) of bool."""
    return ~targets.isnan() if targets.is_floating_point() else targets != MISSING


def masked_cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: float, class_weights: Sequence[float] = ()
) -> Tensor:
    """Mean cross entropy of (n, L) logits over the targets that are not `MISSING`; 0 where all are.

    With `class_weights` (L) each term is multiplied by the weight of its label; the mean stays one over targets.
    """
    weight = torch.tensor(class_weights, device=logits.device) if class_weights else None
    total = functional.cross_entropy(
        logits.float(), targets, weight=weight, ignore_index=MISSING, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / there(targets).sum().clamp_min(1)


def mean_probabilities(outputs: Sequence[Tensor]) -> Tensor:
    """(n, L) logits of several models -> (n, L)."""
    return torch.stack([output.float().softmax(-1) for output in outputs]).mean(0)


def check_head(name: str, *, hidden: int, dropout: float, label_smoothing: float) -> None:
    """Refuses what no head can be built or trained with.

    Raises:
        ConfigError: naming the task, the setting and its limits.
    """
    if type(hidden) is not int or hidden < 0:
        raise ConfigError(f"task {name!r}: hidden is {hidden!r}; it must be a whole number, 0 or more")
    for setting, value in (("dropout", dropout), ("label_smoothing", label_smoothing)):
        if not 0 <= value < 1:
            raise ConfigError(f"task {name!r}: {setting} is {value}; it must be from 0 to under 1")


def of_kind(predicted: Sequence[Prediction], kind: type[Value]) -> list[Value]:
    """The same list with its element type checked.

    Raises:
        TypeError: where a prediction is of another kind.
    """
    values: list[Value] = [value for value in predicted if isinstance(value, kind)]
    if len(values) != len(predicted):
        raise TypeError(f"expected predictions of kind {kind.__name__}")
    return values


def text_of(value: object) -> str:
    """A cell as a label: 3 and 3.0 are both "3"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def choices(labels: Sequence[str]) -> str:
    """Labels as a readable list, cut after twenty."""
    shown = ", ".join(labels[:20])
    return shown if len(labels) <= 20 else f"{shown} and {len(labels) - 20} more"
