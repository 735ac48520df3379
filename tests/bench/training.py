"""Training in mtl beside Hugging Face Trainer: `python tests/bench/training.py ENCODER --data-root DATA`.

The same encoder, rows, rows a batch, heads and optimiser; each contender in a process of its own (accelerate keeps
its precision for a whole process), in rounds, so that ratios are of runs that lay beside each other. Texts are
tokenized for Trainer before its clock starts; mtl's tokenizing and planning are inside of its own.

    full    everything learns, one epoch of movie_review, seconds in all
    frozen  the encoder is frozen, ten epochs of movie_review, seconds in all; mtl's pass over the encoder is counted
    steps   the same, the median step; for a classification head and for an entity head on all layers (uner_en_ewt)
    gpu     everything learns on a GPU, for this encoder and one of bert-base size: steps and tokens a second, and
            the share of the GPU's peak

Says nothing of quality: tests and `mtl compare` do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BATCH_ROWS = 32
MAX_TOKENS = 256
FROZEN_EPOCHS = 10
PEAK_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "A10G": 70, "L40S": 362, "L4": 121, "T4": 65}
"""Dense bf16 (T4: fp16) of the makers' data sheets."""

FULL = ("trainer-fp32", "trainer-bf16", "trainer-bf16-embeddings", "mtl", "mtl-embeddings")
CASES = {
    "full": FULL,
    "frozen": ("trainer-frozen", "mtl-frozen"),
    "steps": ("trainer-entities", "mtl-entities"),
    "gpu": ("trainer-bf16", "mtl", "trainer-bf16-base", "mtl-base"),
}


@dataclass(frozen=True)
class Ratio:
    """How many times as fast mtl is; `ratio` is the median over rounds of paired ratios."""

    what: str
    theirs: str
    ours: str
    key: str
    target: float


RATIOS = {
    "full": (
        Ratio("full fine-tuning, against Trainer's default (fp32)", "trainer-fp32", "mtl", "seconds", 3.0),
        Ratio("full fine-tuning, against bf16 and length grouping", "trainer-bf16", "mtl", "seconds", 1.1),
        Ratio("the same, mtl with word embeddings frozen", "trainer-bf16", "mtl-embeddings", "seconds", 1.3),
        Ratio("the same, both with embeddings frozen", "trainer-bf16-embeddings", "mtl-embeddings", "seconds", 1.0),
    ),
    "frozen": (
        Ratio("frozen encoder, ten epochs", "trainer-frozen", "mtl-frozen", "seconds", 8.0),
        Ratio("frozen encoder, one step, classification", "trainer-frozen", "mtl-frozen", "step", 50.0),
    ),
    "steps": (Ratio("frozen encoder, one step, entities", "trainer-entities", "mtl-entities", "step", 10.0),),
    "gpu": (
        Ratio("GPU, this encoder", "trainer-bf16", "mtl", "step", 1.0),
        Ratio("GPU, bert-base size", "trainer-bf16-base", "mtl-base", "step", 1.0),
    ),
}


def main() -> None:
    """Runs the cases that are asked for and prints a table."""
    arguments = _arguments()
    if arguments.contender:
        run = _trainer if arguments.contender.startswith("trainer") else _mtl
        print(json.dumps(run(arguments, set(arguments.contender.split("-")))))
        return
    import torch

    cases = arguments.only.split(",") if arguments.only else ["full", "frozen", "steps"]
    if not arguments.only and torch.cuda.is_available():
        cases.append("gpu")
    found: dict[str, object] = {"machine": machine(), "rows": arguments.rows, "rounds": arguments.rounds}
    for case in cases:
        times: dict[str, list[dict[str, float]]] = {name: [] for name in CASES[case]}
        for _ in range(arguments.rounds):
            for name in CASES[case]:
                times[name].append(_in_a_process(arguments, case, name))
        found[case] = {"times": times, "ratios": [_ratio(times, wanted) for wanted in RATIOS[case]]}
        _print(case, times, found[case]["ratios"])  # type: ignore[index]
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found["machine"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="full,frozen,steps,gpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contender", default="", help=argparse.SUPPRESS)
    parser.add_argument("--case", default="full", help=argparse.SUPPRESS)
    return parser.parse_args()


def machine() -> dict[str, object]:
    """What the figures are of."""
    import torch
    import transformers

    sys.path.insert(0, str(ROOT))
    from mtl.evaluation.benchmark import describe_machine

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {**describe_machine(), "gpu": gpu, "transformers": transformers.__version__}


def _in_a_process(arguments: argparse.Namespace, case: str, name: str) -> dict[str, float]:
    command = [
        sys.executable,
        __file__,
        arguments.encoder,
        "--data-root",
        arguments.data_root,
        "--rows",
        arguments.rows,
    ]
    words = [str(word) for word in [*command, "--contender", name, "--case", case]]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _ratio(times: dict[str, list[dict[str, float]]], wanted: Ratio) -> dict[str, object]:
    pairs = zip(times[wanted.theirs], times[wanted.ours], strict=True)
    ratios = [theirs[wanted.key] / ours[wanted.key] for theirs, ours in pairs]
    return {**asdict(wanted), "ratio": statistics.median(ratios), "rounds": ratios}


def _print(case: str, times: dict[str, list[dict[str, float]]], ratios: list[dict[str, object]]) -> None:
    print(f"{case}:")
    for name, runs in times.items():
        each = "  ".join(f"{run['seconds']:.1f} s ({1000 * run['step']:.2f} ms a step)" for run in runs)
        more = f"  {runs[-1]['tokens_per_s']:,.0f} tokens/s" + f", {runs[-1]['peak']:.1%} of peak" * bool(
            runs[-1]["peak"]
        )
        print(f"  {name:26} {each}{more}")
    for found in ratios:
        met = "met" if float(str(found["ratio"])) >= float(str(found["target"])) else "SHORT"
        print(f"  {found['what']:56} {found['ratio']:7.2f} times  (goal {found['target']}, {met})", flush=True)


def _rows(arguments: argparse.Namespace, words: set[str]):
    """The task and the examples of a contender."""
    from mtl.data import tables
    from mtl.tasks import TASK_TYPES, from_spec

    kind, folder = ("ner", "uner_en_ewt") if "entities" in words else ("classification", "movie_review")
    table = tables.read(arguments.data_root / folder / "train.jsonl.gz")
    labels = TASK_TYPES[kind].labels_in(table.rows)
    spec = {"type": kind, "name": "task", "labels": labels, **({"word_shape": 0} if kind == "ner" else {})}
    task = from_spec(spec)
    return task, tables.examples(table, [task])[: arguments.rows]


def _encoder(arguments: argparse.Namespace, words: set[str]) -> str:
    """The folder of the encoder; of bert-base size with random weights where that is asked for."""
    if "base" not in words:
        return str(arguments.encoder)
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = Path(tempfile.gettempdir()) / "mtl-bench-bert-base"
    if not (folder / "config.json").is_file():
        BertModel(BertConfig()).save_pretrained(folder)
        AutoTokenizer.from_pretrained(arguments.encoder).save_pretrained(folder)
    return str(folder)


def _mtl(arguments: argparse.Namespace, words: set[str]) -> dict[str, float]:
    from mtl.data.batches import Source
    from mtl.inference.predictor import from_encoder
    from mtl.training.config import FreezePolicy, TrainConfig
    from mtl.training.events import StepEnded
    from mtl.training.trainer import train

    task, rows = _rows(arguments, words)
    predictor = from_encoder(_encoder(arguments, words), [task], max_tokens=MAX_TOKENS)
    frozen = bool(words & {"frozen", "entities"})
    config = TrainConfig(
        epochs=FROZEN_EPOCHS if frozen else 1,
        batch_rows=BATCH_ROWS,
        batch_tokens=BATCH_ROWS * MAX_TOKENS,
        freeze=FreezePolicy(encoder=frozen, embeddings="embeddings" in words),
        retention=None,
        conflict=False,
    )
    start = time.perf_counter()
    steps = [e for e in train(predictor, [Source("rows", rows)], [], config) if isinstance(e, StepEnded)]
    seconds = time.perf_counter() - start
    each, tokens = [step.seconds for step in steps], sum(step.tokens for step in steps)
    return _figures(seconds, each, tokens, predictor.model.encoder.backbone)


def _trainer(arguments: argparse.Namespace, words: set[str]) -> dict[str, float]:
    import torch
    from transformers import AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

    task, rows = _rows(arguments, words)
    folder = _encoder(arguments, words)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = _tokenized(task, rows, tokenizer, by_token="entities" in words)
    frozen = bool(words & {"frozen", "entities"})
    model = _module(folder, task, by_token="entities" in words)
    model.encoder.requires_grad_(not frozen)
    if "embeddings" in words:
        model.encoder.embeddings.requires_grad_(False)
    each: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            each.append(time.perf_counter() - self.start)

    options = {"bf16": True, **_grouped()} if "bf16" in words else {}
    with tempfile.TemporaryDirectory() as output:
        settings = TrainingArguments(
            output,
            per_device_train_batch_size=BATCH_ROWS,
            num_train_epochs=FROZEN_EPOCHS if frozen else 1,
            report_to="none",
            logging_steps=10**9,
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **options,
        )
        trainer = Trainer(model, settings, train_dataset=data, data_collator=_collator(tokenizer), callbacks=[Clock()])
        start = time.perf_counter()
        trainer.train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    tokens = sum(row["length"] for row in data) * (FROZEN_EPOCHS if frozen else 1)
    return _figures(seconds, each, tokens, model.encoder)


def _grouped() -> dict[str, object]:
    """Length grouping, under the name that this version of transformers has for it."""
    from dataclasses import fields

    from transformers import TrainingArguments

    names = {field.name for field in fields(TrainingArguments)}
    if "train_sampling_strategy" in names:
        return {"train_sampling_strategy": "group_by_length"}
    return {"group_by_length": True}


def _tokenized(task, rows, tokenizer, *, by_token: bool) -> list[dict[str, object]]:
    """What a user's `Dataset.map` would give: ids, mask, labels, length."""
    from mtl.tasks.bio import bio_tags

    found = []
    for row in rows:
        coded = tokenizer(row.texts[0], truncation=True, max_length=MAX_TOKENS, return_offsets_mapping=by_token)
        item = {"input_ids": coded["input_ids"], "attention_mask": coded["attention_mask"]}
        if by_token:
            tags = bio_tags(task.labels)
            labels = [-100 if start == end else 0 for start, end in coded["offset_mapping"]]
            for span in row.targets["task"]:
                for place, (start, end) in enumerate(coded["offset_mapping"]):
                    if start != end and span.start <= start < span.end:
                        labels[place] = tags.index(f"{'B' if start == span.start else 'I'}-{span.label}")
            item["labels"] = labels
        else:
            item["labels"] = task.labels.index(row.targets["task"])
        found.append({**item, "length": len(item["input_ids"])})
    return found


def _collator(tokenizer):
    from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

    def collate(rows: list[dict[str, object]]):
        kept = [{name: value for name, value in row.items() if name != "length"} for row in rows]
        by_token = isinstance(kept[0]["labels"], list)
        return (DataCollatorForTokenClassification if by_token else DataCollatorWithPadding)(tokenizer)(kept)

    return collate


def _module(folder: str, task, *, by_token: bool):
    """The model that a user would write around AutoModel, with heads of the size of mtl's."""
    import torch
    from torch import nn
    from transformers import AutoModel

    from mtl.tasks.bio import bio_tags

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(folder, dtype=torch.float32)
            width, layers = self.encoder.config.hidden_size, self.encoder.config.num_hidden_layers + 1
            if by_token:
                inner = [nn.Linear(width * layers, 256), nn.GELU(), nn.Dropout(0.1)]
                self.head = nn.Sequential(nn.Dropout(0.1), *inner, nn.Linear(256, len(bio_tags(task.labels))))
            else:
                self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, len(task.labels)))

        def forward(self, input_ids, attention_mask, labels, token_type_ids=None):
            read = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=by_token)
            if by_token:
                states = torch.cat(read.hidden_states, dim=-1)
            else:
                mask = attention_mask.unsqueeze(-1)
                states = (read.last_hidden_state * mask).sum(1) / mask.sum(1)
            logits = self.head(states)
            loss = nn.functional.cross_entropy(logits.flatten(0, -2).float(), labels.flatten())
            return {"loss": loss, "logits": logits}

    return Model()


def _figures(seconds: float, each: list[float], tokens: int, backbone) -> dict[str, float]:
    """Seconds in all, the median step, tokens a second, and the share of a GPU's peak (0 where that is not known)."""
    import torch

    peak = 0.0
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        known = next((value for key, value in PEAK_TFLOPS.items() if key in name), 0)
        config = backbone.config
        weights = sum(p.numel() for n, p in backbone.named_parameters() if "embeddings" not in n and "pooler" not in n)
        length = tokens / max(1, len(each) * BATCH_ROWS)
        per_token = 6 * weights + 12 * config.num_hidden_layers * config.hidden_size * length
        peak = per_token * tokens / sum(each) / (known * 1e12) if known else 0.0
    return {"seconds": seconds, "step": statistics.median(each), "tokens_per_s": tokens / sum(each), "peak": peak}


if __name__ == "__main__":
    main()
