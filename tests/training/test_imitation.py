"""Other models as teachers: their mean answer on every row, learned beside the labels or without them."""

from __future__ import annotations

import pytest
import torch

from mtl.data.batches import Source
from mtl.errors import ConfigError
from mtl.inference.predictor import Predictor
from mtl.tasks import Classification
from mtl.training.config import TrainConfig
from mtl.training.events import StepEnded
from mtl.training.imitation import Ensemble
from mtl.training.trainer import train
from mtl.types import Example
from tests.conftest import TASKS, MakePredictor

TEXTS = ["the cat in Rome", "a", "", "it is a law"]
PLAIN = Source("topics", [Example((f"soup {i}",), {"topic": "food"}) for i in range(8)])


def with_other_heads(make_predictor: MakePredictor, seed: int) -> Predictor:
    predictor = make_predictor()
    torch.manual_seed(seed)
    for task in TASKS:
        predictor.add_task(task)
    return predictor


def test_targets_are_the_mean_of_the_teachers(make_predictor: MakePredictor) -> None:
    teachers = [with_other_heads(make_predictor, seed) for seed in (1, 2)]
    soft = Ensemble(teachers, make_predictor()).targets(TEXTS)
    found = [teacher.analyze(TEXTS) for teacher in teachers]
    for place in range(len(TEXTS)):
        expected = [sum(f[place]["topic"].scores[label] for f in found) / 2 for label in ("food", "law", "sport")]
        assert soft["topic"][place].tolist() == pytest.approx(expected, abs=1e-3)
    assert set(soft) == {"topic", "entities"}


def test_only_the_first_token_of_a_word_is_taught(make_predictor: MakePredictor) -> None:
    student = make_predictor()
    tokens = student.tokenizer(TEXTS)
    soft = Ensemble([with_other_heads(make_predictor, 1)], student).targets(TEXTS)["entities"]
    firsts = [
        i
        for i, (word, before) in enumerate(zip(tokens.words, [-1, *tokens.words[:-1]], strict=True))
        if word >= 0 and word != before
    ]
    known = ~soft.isnan().any(-1)
    assert known.nonzero().flatten().tolist() == firsts
    torch.testing.assert_close(soft[known].sum(-1), torch.ones(len(firsts)), atol=2e-3, rtol=0)


def test_a_text_is_asked_about_once_and_in_any_order(make_predictor: MakePredictor) -> None:
    ensemble = Ensemble([with_other_heads(make_predictor, 1)], make_predictor())
    first = ensemble.targets(TEXTS)["topic"]
    ensemble.teachers = ()  # nobody is left to be asked
    torch.testing.assert_close(ensemble.targets(TEXTS[::-1])["topic"], first.flip(0))


def test_imitation_is_zero_for_an_equal_answer_and_positive_for_another(make_predictor: MakePredictor) -> None:
    teacher = with_other_heads(make_predictor, 1)
    ensemble = Ensemble([teacher], make_predictor())
    with torch.inference_mode():
        tokens = teacher.tokenizer(TEXTS)
        outputs = teacher.model.read(teacher.model.encode(tokens), ["topic", "entities"])
    for name, soft in ensemble.targets(TEXTS).items():
        task = teacher.task(name)
        assert float(task.imitate(outputs[name], soft)) == pytest.approx(0, abs=1e-3)
        assert float(task.imitate(outputs[name] * -3, soft)) > 0.01


def test_a_head_without_data_learns_from_a_teacher(make_predictor: MakePredictor) -> None:
    teacher, student = with_other_heads(make_predictor, 1), make_predictor()
    ensemble = Ensemble([teacher], student)
    texts = [row.texts[0] for row in PLAIN.examples]
    wanted = ensemble.targets(texts)["entities"]

    def apart() -> float:
        with torch.inference_mode():
            output = student.model.read(student.model.encode(student.tokenizer(texts)), ["entities"])["entities"]
        return float(student.task("entities").imitate(output, wanted))

    before = apart()
    config = TrainConfig(steps=40, batch_rows=8, precision="fp32", retention=None, imitation=0.8, head_lr=1e-2)
    events = list(train(student, [PLAIN], (), config, ensemble=ensemble))
    assert apart() < 0.3 * before
    said = [event.imitation for event in events if isinstance(event, StepEnded)]
    assert said[0] is not None
    assert said[-1] is not None
    assert said[-1] < said[0]


def test_with_weight_0_teachers_change_nothing(make_predictor: MakePredictor) -> None:
    losses = []
    for taught in (False, True):
        student = make_predictor()
        for module in student.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # one more head that draws a mask would shift every later draw
        ensemble = Ensemble([with_other_heads(make_predictor, 1)], student) if taught else None
        config = TrainConfig(steps=5, batch_rows=4, precision="fp32", retention=None, imitation=0.0)
        events = list(train(student, [PLAIN], (), config, ensemble=ensemble))
        losses.append([event.losses["topic"] for event in events if isinstance(event, StepEnded)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_teacher_that_knows_none_of_the_tasks_is_refused(make_predictor: MakePredictor) -> None:
    other = make_predictor((Classification(name="topic", labels=("x", "y")),))
    with pytest.raises(ConfigError, match="no teacher has a task"):
        Ensemble([other], make_predictor())


def test_a_teacher_with_another_tokenizer_is_refused(make_predictor: MakePredictor) -> None:
    with pytest.raises(ConfigError, match="another tokenizer"):
        Ensemble([make_predictor(max_tokens=16)], make_predictor())
