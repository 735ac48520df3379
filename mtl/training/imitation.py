"""Other models as teachers of every row: what they say of a text is learned beside, or without, its labels.

A run that learns from the mean answer of several earlier ones is better than each of them, and every text
teaches every head (Furlanello et al. 2018, "Born-Again Neural Networks"; Clark et al. 2019, "BAM!
Born-Again Multi-Task Networks for Natural Language Understanding").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl.data.batches import by_length
from mtl.errors import ConfigError
from mtl.inference.predictor import Predictor, from_encoder
from mtl.model.precision import autocast
from mtl.types import Tokens


def check_encoders(student: str, teachers: Sequence[str]) -> None:
    """Whether all of them read the same tokens, before any is trained.

    Raises:
        ConfigError: where one has another tokenizer.
        CheckpointError: where an encoder cannot be found or read.
    """
    for other in sorted(set(teachers) - {student}):
        one, two = (from_encoder(name, device="cpu").tokenizer.backend.to_str() for name in (student, other))
        if one != two:
            raise ConfigError(
                f"a teacher's encoder {other!r} has another tokenizer than {student!r}, which learns from it; "
                "take one of the same family"
            )


class Ensemble:
    """Several models, asked once for each text; answers are kept in half precision on the CPU.

    A model speaks for the tasks that it has under the student's names and labels.

    Raises:
        ConfigError: where one reads other tokens than the student, or none has a task of the student's.
    """

    def __init__(self, teachers: Sequence[Predictor], student: Predictor) -> None:
        for teacher in teachers:
            if teacher.tokenizer.backend.to_str() != student.tokenizer.backend.to_str():
                raise ConfigError("a teacher has another tokenizer than the model that learns from it")
        self.tasks = tuple(task for task in student.tasks if task.n_texts == 1)
        self.speakers = {
            task.name: [t for t in teachers if any((o.name, o.labels) == (task.name, task.labels) for o in t.tasks)]
            for task in self.tasks
        }
        if not any(self.speakers.values()):
            raise ConfigError("no teacher has a task of the model that learns from it")
        self.taught = {name for name, speakers in self.speakers.items() if speakers}
        self.teachers = tuple(teachers)
        self.tokenizer = student.tokenizer
        self.known: dict[str, dict[str, Tensor]] = {}

    def targets(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """By task: the soft targets of these texts in their order, float32."""
        self.ask([text for text in dict.fromkeys(texts) if text not in self.known])
        found = [self.known[text] for text in texts]
        return {name: torch.cat([f[name] for f in found]).float() for name in found[0]}

    def ask(self, texts: Sequence[str], *, batch_tokens: int = 4096) -> None:
        """Asks every teacher about texts, long ones first, and remembers the mean."""
        for places in by_length(self.tokenizer.lengths(texts), max_tokens=batch_tokens):
            self._batch([texts[place] for place in places])

    def state(self) -> tuple[dict[str, Tensor], list[str]]:
        """What it remembers: by task the answers end to end and the length of each, and their texts."""
        found: dict[str, Tensor] = {}
        for name in self.taught:
            answers = [known[name] for known in self.known.values()]
            found[f"{name}.answers"] = torch.cat(answers)
            found[f"{name}.lengths"] = torch.tensor([len(answer) for answer in answers])
        return found, list(self.known)

    def load(self, state: Mapping[str, Tensor], texts: Sequence[str]) -> None:
        """What `state` gave."""
        self.known = {text: {} for text in texts}
        for name in self.taught:
            answers = torch.split(state[f"{name}.answers"], state[f"{name}.lengths"].tolist())
            for text, answer in zip(texts, answers, strict=True):
                self.known[text][name] = answer.clone()

    @torch.inference_mode()
    def _batch(self, texts: Sequence[str]) -> None:
        tokens = self.tokenizer(texts)
        outputs: dict[str, list[Tensor]] = {}
        for teacher in self.teachers:
            names = [name for name, speakers in self.speakers.items() if any(s is teacher for s in speakers)]
            for name, output in self._outputs(teacher, tokens, names).items():
                outputs.setdefault(name, []).append(output)
        lengths = tokens.lengths.tolist()
        for text in texts:
            self.known[text] = {}
        for task in self.tasks:
            soft = task.soft_targets(outputs[task.name], tokens) if task.name in outputs else None
            if soft is not None:
                parts = torch.split(soft.half(), [1] * len(texts) if len(soft) == len(texts) else lengths)
                for text, part in zip(texts, parts, strict=True):
                    self.known[text][task.name] = part.clone()

    def _outputs(self, teacher: Predictor, tokens: Tokens, names: Sequence[str]) -> dict[str, Tensor]:
        device = teacher.model.device
        with autocast(device, teacher.precision):
            found = teacher.model.read(teacher.model.encode(tokens.to(device), names), names)
        return {name: output.float().cpu() for name, output in found.items()}
