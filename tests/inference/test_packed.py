"""The packed path says what the plain one says, sees every change of a weight, and steps back where it cannot serve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import DistilBertConfig, DistilBertModel

from mtl.inference import packed_layers, workers
from mtl.inference.attention import attention_plan
from mtl.inference.packed import PackedModel, can_pack, difference, pack
from mtl.inference.packed_layers import Neighbourhood
from mtl.inference.predictor import Predictor
from mtl.inference.workers import in_parallel
from mtl.model.encoder import Encoder
from mtl.tasks import Classification, NamedEntities
from mtl.types import Encoding, Tokens
from tests.conftest import MakePredictor

needs_operators = pytest.mark.skipif(not can_pack(torch.float32), reason="this torch has no mkldnn operators")
needs_bf16 = pytest.mark.skipif(
    not can_pack(torch.bfloat16) or not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bf16 here"
)
TYPES = [
    pytest.param(torch.float32, 2e-5, marks=needs_operators),
    pytest.param(torch.bfloat16, 0.03, marks=needs_bf16),
]
TEXTS = ["The cat sat.", "", "a", "U.S. law in Rome " * 5, "cat " * 60, "👍🏽", "the cat sat.", "x" * 14, "y" * 14]
HEADS = (
    Classification(name="topic", labels=("food", "law", "sport"), hidden=8),
    NamedEntities(name="all", labels=("PER", "LOC"), hidden=16, context=(1, 2)),
    NamedEntities(name="mix", labels=("PER",), hidden=16, layers="mix", word_shape=0),
    NamedEntities(name="last", labels=("PER",), hidden=0, layers="last"),
)


def tokens(predictor: Predictor, texts: Sequence[str] = TEXTS) -> Tokens:
    return predictor.tokenizer(texts)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_states_vectors_and_logits_are_those_of_the_plain_model(
    make_predictor: MakePredictor, dtype: torch.dtype, tolerance: float, pooling: str
) -> None:
    predictor = make_predictor(HEADS, pooling=pooling)
    plain, packed = predictor.model.eval(), PackedModel(predictor.model, dtype)
    given = tokens(predictor)
    with torch.no_grad():
        wanted = plain.encode(given)
        logits = plain.read(wanted, [task.name for task in HEADS])
    found = packed.encode(given)
    assert len(found.layers) == len(wanted.layers) == 3
    for ours, theirs in zip(found.layers, wanted.layers, strict=True):
        assert ours.dtype == dtype
        assert (ours.float() - theirs).abs().max() < tolerance * theirs.abs().max()
    torch.testing.assert_close(found.sentence, wanted.sentence, rtol=tolerance, atol=tolerance)
    for name, ours in packed.read(found, [task.name for task in HEADS]).items():
        torch.testing.assert_close(ours.float(), logits[name], rtol=tolerance, atol=2 * tolerance)


@needs_operators
def test_only_the_last_layer_is_kept_where_no_head_reads_more(make_predictor: MakePredictor) -> None:
    predictor = make_predictor(HEADS)
    packed = PackedModel(predictor.model, torch.float32)
    assert len(packed.encode(tokens(predictor), ["topic", "last"]).layers) == 1
    assert len(packed.encode(tokens(predictor), ["topic", "mix"]).layers) == 3


@needs_operators
def test_a_text_reads_the_same_alone_and_among_others(predictor: Predictor) -> None:
    packed = PackedModel(predictor.model.eval(), torch.float32)
    together = packed.encode(tokens(predictor)).sentence
    for place, text in enumerate(TEXTS):
        alone = packed.encode(tokens(predictor, [text])).sentence[0]
        torch.testing.assert_close(alone, together[place], rtol=1e-5, atol=1e-5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.sampled_from([torch.float32, torch.bfloat16]))
def test_grids_hold_every_token_of_every_head_once_and_mask_the_rest(lengths: list[int], dtype: torch.dtype) -> None:
    plan, n_tokens = attention_plan(lengths, 2, dtype), sum(lengths)
    assert sum(grid.rows for grid in plan.grids) == len(lengths)
    assert plan.places.tolist() == [place for length in lengths for place in range(length)]
    queries = torch.cat([grid.gather.view(3, -1)[0] for grid in plan.grids])
    assert queries[plan.back].tolist() == [6 * token + head for token in range(n_tokens) for head in range(2)]
    for grid in plan.grids:
        query, key, value = grid.gather.view(3, -1)
        assert torch.equal(key, query + 2)
        assert torch.equal(value, query + 4)
        cells = grid.rows * grid.columns
        held = {int(vector) // 6 for vector in query}
        empty = 0 if grid.mask is None else int((grid.mask[::2] < 0).sum())
        assert cells - empty == len(held)
        if grid.mask is not None:
            assert torch.equal(grid.mask[::2], grid.mask[1::2])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4))
def test_neighbours_are_those_of_a_dilated_convolution(lengths: list[int], dilation: int) -> None:
    torch.manual_seed(0)
    convolution = torch.nn.Conv1d(5, 4, 3, padding=dilation, dilation=dilation)
    states = torch.randn(sum(lengths), 5)
    with torch.no_grad():
        wanted = torch.cat([convolution(part.T[None])[0].T for part in torch.split(states, lengths)])
        near = Neighbourhood(torch.tensor(lengths), len(states))(states, dilation)
        found = near @ convolution.weight.permute(0, 2, 1).flatten(1).T + convolution.bias
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def _a_step(predictor: Predictor) -> None:
    parameters = list(predictor.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    torch.optim.AdamW(parameters, lr=1e-2, fused=True).step()


def _through_data(predictor: Predictor) -> None:
    for parameter in predictor.model.encoder.parameters():
        parameter.data.mul_(1.3)


def _other_weights(predictor: Predictor) -> None:
    state = {name: value * 1.3 for name, value in predictor.model.state_dict().items()}
    predictor.model.load_state_dict(state)


def _a_head(predictor: Predictor) -> None:
    with torch.no_grad():
        predictor.model.heads["entities"].network[1].weight.add_(1.0)


def _another_tensor(predictor: Predictor) -> None:
    linear = predictor.model.encoder.blocks[0].intermediate.dense
    linear.weight = torch.nn.Parameter(linear.weight.detach() * 1.5)


@needs_operators
@pytest.mark.parametrize("change", [_a_step, _through_data, _other_weights, _a_head, _another_tensor])
def test_every_change_of_a_weight_is_seen(predictor: Predictor, change) -> None:
    before = predictor.analyze(["the cat"])[0]
    change(predictor)
    after = predictor.analyze(["the cat"])[0]
    plain = Predictor(
        predictor.model,
        predictor.tokenizer,
        predictor.tasks,
        tokenizer_files={},
        precision="fp32",
        packed=False,
    ).analyze(["the cat"])[0]
    np.testing.assert_allclose(after.vector, plain.vector, atol=1e-5)
    assert after["topic"].scores == pytest.approx(plain["topic"].scores, abs=1e-5)
    assert [s.label for s in after["entities"]] == [s.label for s in plain["entities"]]
    moved = not np.allclose(before.vector, after.vector, atol=1e-6)
    assert moved == (change is not _a_head)


@needs_operators
def test_weights_that_stay_are_packed_once(predictor: Predictor, monkeypatch) -> None:
    made: list[int] = []
    usual = pack
    monkeypatch.setattr("mtl.inference.predictor.pack", lambda *words, **more: made.append(1) or usual(*words, **more))
    for _ in range(3):
        predictor.analyze(TEXTS)
    assert made == [1]


@needs_operators
def test_a_packed_model_that_differs_does_not_serve(predictor: Predictor, monkeypatch, caplog) -> None:
    usual = packed_layers.linear
    monkeypatch.setattr(
        packed_layers, "linear", lambda weight, bias, *more, **options: usual(weight, bias + 1, *more, **options)
    )
    assert pack(predictor.model, torch.float32) is None
    assert "differs from the plain one" in caplog.text
    wrong = PackedModel(predictor.model, torch.float32)
    assert difference(predictor.model, wrong) > 1e-3
    plain = predictor.copy()
    plain.packed = False
    np.testing.assert_array_equal(predictor.encode(TEXTS), plain.encode(TEXTS))


class Pairs(nn.Module):
    """A head that reads two texts at a time, as a task type of one's own may."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = nn.Linear(2 * width, 3)

    def forward(self, encoding: Encoding) -> torch.Tensor:
        return self.network(torch.cat(encoding.sentence.chunk(2), dim=-1))


@needs_operators
def test_a_model_with_a_head_of_pairs_is_packed(make_predictor: MakePredictor, caplog) -> None:
    model = make_predictor(HEADS).model
    model.heads["pairs"] = Pairs(model.encoder.width)
    packed = pack(model.eval(), torch.float32)
    assert packed is not None, caplog.text
    texts = tokens(make_predictor(HEADS), TEXTS[:4])
    with torch.no_grad():
        wanted = model.read(model.encode(texts), ["pairs"])["pairs"]
    torch.testing.assert_close(packed.read(packed.encode(texts), ["pairs"])["pairs"], wanted, atol=1e-4, rtol=1e-4)


@needs_operators
def test_where_an_operator_fails_the_plain_model_serves(predictor: Predictor, monkeypatch, caplog) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(packed_layers, "linear", broken)
    assert pack(predictor.model, torch.float32) is None
    assert "could not create a primitive" in caplog.text
    assert np.isfinite(predictor.encode(TEXTS)).all()


def test_other_encoders_and_types_are_read_plainly(predictor: Predictor) -> None:
    assert pack(predictor.model, torch.float16) is None
    distil = DistilBertModel(DistilBertConfig(vocab_size=90, dim=32, n_layers=2, n_heads=2, hidden_dim=64))
    predictor.model.encoder = Encoder(distil)
    assert pack(predictor.model.eval(), torch.float32) is None


@needs_operators
def test_batches_side_by_side_come_back_in_order(predictor: Predictor, monkeypatch) -> None:
    monkeypatch.setattr("mtl.inference.passes.PACKED_TOKENS", 32)
    texts = [f"{'cat ' * (i % 9)}{i}" for i in range(60)]
    alone = predictor.encode(texts)
    torch.set_num_threads(2)
    together = predictor.encode(texts)
    assert torch.get_num_threads() == 2
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_jobs_run_on_threads_of_one_core_each_and_one_job_where_it_is() -> None:
    torch.set_num_threads(2)
    import threading

    here = threading.get_ident()
    found = in_parallel(lambda job: (job, threading.get_ident(), torch.get_num_threads()), range(6))
    assert [job for job, _, _ in found] == list(range(6))
    assert {threads for _, _, threads in found} == {1}
    assert here not in {thread for _, thread, _ in found}
    assert in_parallel(lambda _: threading.get_ident(), [0]) == [here]
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda job: 1 // job, [1, 0])


def test_memory_is_given_back_where_the_c_library_can_and_nothing_happens_elsewhere(monkeypatch) -> None:
    workers.give_back_memory()
    workers._malloc_trim.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: (_ for _ in ()).throw(OSError("no such library")))
    assert workers._malloc_trim() is None
    workers.give_back_memory()
    workers._malloc_trim.cache_clear()


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
@pytest.mark.parametrize("n", [63, 64, 65, 79, 80, 81, 200])
def test_rows_that_round_a_batch_up_change_nothing(
    make_predictor: MakePredictor, dtype: torch.dtype, tolerance: float, n: int
) -> None:
    predictor = make_predictor(HEADS)
    texts = ["a " * 20] * (n // 22) + ["b " * (n % 22 - 2)] * (n % 22 > 2)
    read = tokens(predictor, texts)
    packed = PackedModel(predictor.model.eval(), dtype)
    found = packed.encode(read)
    said = packed.read(found, [task.name for task in HEADS])
    with torch.no_grad():
        wanted = predictor.model.encode(read)
        logits = predictor.model.read(wanted, [task.name for task in HEADS])
    assert len(found.layers[-1]) == len(read.ids)
    torch.testing.assert_close(found.sentence, wanted.sentence, rtol=tolerance, atol=tolerance)
    for name, ours in said.items():
        assert ours.shape == logits[name].shape
        torch.testing.assert_close(ours, logits[name], rtol=tolerance, atol=2 * tolerance)


@given(st.integers(1, 5000))
def test_few_sizes_are_multiplied(n: int) -> None:
    size = packed_layers.rounded(n)
    assert n <= size < n + 16
    assert size == n or (size % 16 == 0 and n > packed_layers.FEW)
