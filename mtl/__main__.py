"""The command line: `python -m mtl train | evaluate | compare | predict | embed | export | benchmark`."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mtl.errors import ConfigError, MtlError

if TYPE_CHECKING:
    from mtl.data.batches import Source
    from mtl.inference.bulk import Verb
    from mtl.training.events import RunEvent
    from mtl.training.probes import Probe
    from mtl.training.recipe import Recipe

app = typer.Typer(
    name="python -m mtl",
    help="One sentence encoder, many tasks, one pass.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Checkpoint = Annotated[Path, typer.Argument(help="Folder of an mtl checkpoint.")]
# typer reads these annotations at run time, on Python 3.10 too: hence Optional and not `| None`
Names = Annotated[Optional[str], typer.Option(help="Labels between commas.")]


Engine = Annotated[str, typer.Option(help="local, or ray: on the cluster that RAY_ADDRESS names, or all cores here.")]


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.")],
    output: Annotated[Optional[Path], typer.Option(help="Folder for the checkpoint.")] = None,
    data_root: Annotated[Path, typer.Option(help="Folder that the recipe's files are relative to.")] = Path(),
    set_: Annotated[Optional[list[str]], typer.Option("--set", help="NAME=VALUE, such as training.epochs=1.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last snapshot of this run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check recipe and rows, show the mix, train nothing.")] = (
        False
    ),
) -> None:
    """Train a model by a recipe and write its checkpoint. Ctrl-C stops and keeps the best so far.

    Several processes train one model: accelerate launch -m mtl train ...
    """
    from mtl.training.recipe import load_recipe

    wanted = load_recipe(recipe, set_ or ())
    if dry_run:
        from mtl.training.dry_run import dry_run as check
        from mtl.training.dry_run import in_words

        typer.echo("\n".join(in_words(check(wanted, data_root, device=device))))
        return
    if output is None:
        raise ConfigError("--output is missing; name a folder for the checkpoint, or say --dry-run")
    _train(wanted, data_root, output, device, resume=resume)


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    task: Annotated[str, typer.Option(help="A task of the checkpoint.")],
    data: Annotated[Path, typer.Option(help="A labelled file.")],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    among: Names = None,
    map_: Annotated[Optional[str], typer.Option("--map", help="Renames gold labels: old=new,old=new.")] = None,
) -> None:
    """Score one task of a checkpoint on a labelled file. `--among a,b` restricts the head's choice."""
    from mtl.data import tables
    from mtl.evaluation.evaluate import evaluate as score
    from mtl.inference.predictor import load

    predictor = load(checkpoint)
    rows = tables.examples(tables.read(data), [predictor.task(task)], rename=_pairs(map_))
    found = score(predictor, task, rows, labels=among.split(",") if among else None)
    if json_:
        typer.echo(
            json.dumps({"task": found.task, "kind": found.kind, "examples": found.examples, "metrics": found.metrics})
        )
        return
    typer.echo(f"{found.task} ({found.kind}), {found.examples} examples")
    for name, value in found.metrics.items():
        typer.echo(f"  {name:10} {value:.4f}")


@app.command()
def compare(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.")],
    output: Annotated[Path, typer.Option(help="Folder for the results; a second call goes on from there.")],
    data_root: Annotated[Path, typer.Option(help="Folder that the recipe's files are relative to.")] = Path(),
    set_: Annotated[Optional[list[str]], typer.Option("--set", help="NAME=VALUE, such as training.epochs=1.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    cap: Annotated[int, typer.Option(min=0, help="Training rows a task at most; 0 for all.")] = 8000,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Was sharing worth it? The recipe against one specialist a task, frozen probes, and itself without retention."""
    from mtl.inference.predictor import from_encoder
    from mtl.model.checkpoint import make_writable
    from mtl.training import verdict
    from mtl.training.compare import RunResult
    from mtl.training.compare import compare as run
    from mtl.training.recipe import load_recipe, provenance
    from mtl.training.recipe_data import build_tasks, load_sources

    make_writable(output)
    wanted = load_recipe(recipe, set_ or ())
    results = []
    for progress in run(wanted, data_root, output, seeds=range(seeds), cap=cap or None, device=device):
        if isinstance(progress.news, RunResult):
            results.append(progress.news)
            typer.echo(f"[{progress.place}/{progress.total}] {progress.run.name}, seed {progress.run.seed}: done")
        else:
            _report(progress.news)
    tasks = build_tasks(wanted, data_root)
    predictor = from_encoder(wanted.encoder, tasks, pooling=wanted.pooling, max_tokens=wanted.max_tokens, device=device)
    texts = [row.texts[0] for row in load_sources(wanted, tasks, data_root, "test")[0].examples[:256]]
    found = verdict.summarise(
        results,
        tasks,
        encoder=str(provenance(wanted)["encoder"]),
        cap=cap or None,
        one_pass=verdict.measure_one_pass(predictor, texts),
    )
    verdict.write(found, output / verdict.COMPARISON_FILE)
    typer.echo("\n".join([*verdict.in_words(found), f"wrote {output / verdict.COMPARISON_FILE}"]))


@app.command()
def predict(
    checkpoint: Checkpoint,
    file: Annotated[Path, typer.Argument(help="A table with a column 'text'.")],
    output: Annotated[Path, typer.Option(help="A .jsonl, .csv or .parquet file; with --engine ray a folder.")],
    engine: Engine = "local",
) -> None:
    """Add the answer of every single-text task to each row of a table; its other columns stay."""
    _bulk("predict", checkpoint, file, output, engine)


@app.command()
def embed(
    checkpoint: Checkpoint,
    file: Annotated[Path, typer.Argument(help="A table with a column 'text'.")],
    output: Annotated[Path, typer.Option(help="A .parquet, .jsonl or .csv file; with --engine ray a folder.")],
    engine: Engine = "local",
) -> None:
    """Write the sentence vector of each row of a table."""
    _bulk("embed", checkpoint, file, output, engine)


@app.command()
def export(
    checkpoint: Checkpoint,
    output: Annotated[Path, typer.Option(help="Folder for the graph and what is needed to use it.")],
    format_: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
) -> None:
    """Write encoder and heads as one graph, with tokenizer, labels and an example that needs no mtl."""
    from mtl.inference.onnx_export import export_onnx
    from mtl.inference.predictor import load
    from mtl.model.checkpoint import make_writable

    if format_ != "onnx":
        raise ConfigError(f"--format {format_}: unknown; say onnx")
    make_writable(output)
    predictor = load(checkpoint, device="cpu", precision="fp32")
    export_onnx(predictor, output)
    pairs = [task.name for task in predictor.tasks if task.n_texts == 2 and task.labels]
    if pairs:
        typer.echo(f"left out: {', '.join(pairs)}; the graph reads one text at a time")
    typer.echo(f"wrote {output}; try: python {output / 'use.py'} 'Maria opened a shop in Oslo.'")


@app.command()
def benchmark(
    checkpoint: Checkpoint,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender is measured.")] = 3,
    only: Annotated[str, typer.Option(help="Cases between semicolons, such as 'short;mixed'.")] = "",
    texts: Annotated[Optional[Path], typer.Option(help="A table with a column 'text'; else the samples.")] = None,
    output: Annotated[Optional[Path], typer.Option(help="Folder for benchmark.json and benchmark.html.")] = None,
) -> None:
    """Throughput, latency, maps and memory, side by side with what you would pick instead. Takes some minutes."""
    from mtl.data import tables
    from mtl.evaluation import benchmark as bench
    from mtl.model.checkpoint import make_writable
    from mtl.settings import ROOT
    from mtl.ui.plots import benchmark_figure

    if output:
        make_writable(output)
    table = tables.read(texts or ROOT / "assets" / "samples" / "sentences.csv")
    sentences = [row.texts[0] for row in tables.examples(table, [])]
    found = bench.run(
        checkpoint,
        sentences,
        rounds=rounds,
        cases=[case.strip() for case in only.split(";")] if only else tuple(bench.CASES),
        on_measured=lambda case, name, _: typer.echo(f"{case}: {name} measured", err=True),
    )
    typer.echo("\n".join(bench.in_words(found)))
    if output:
        bench.write(found, output / bench.RESULTS_FILE)
        benchmark_figure(found).write_html(output / "benchmark.html", include_plotlyjs="cdn")
        typer.echo(f"wrote {output / bench.RESULTS_FILE}")


def _train(recipe: Recipe, data_root: Path, output: Path, device: str, *, resume: bool) -> None:
    from mtl.model.checkpoint import read_meta
    from mtl.settings import launched_processes
    from mtl.training.fit import Stage, fit
    from mtl.training.probes import read_probes
    from mtl.training.processes import Launched, Processes
    from mtl.training.recipe_data import build_tasks, load_sources

    processes = Processes()
    if launched_processes() > 1:
        launched = Launched(cpu=device == "cpu")
        processes, device = launched, launched.device
    stop: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    try:
        for event in fit(
            recipe,
            data_root,
            output,
            device=device,
            should_stop=lambda: bool(stop),
            resume=resume,
            processes=processes,
        ):
            if not processes.is_main:
                continue
            if not isinstance(event, Stage):
                _report(event)
                continue
            if event.total > 1 or event.done_before:
                typer.echo(f"model {event.place} of {event.total}: {event.folder}{' (there)' * event.done_before}")
    finally:
        signal.signal(signal.SIGINT, usual)
    if not processes.is_main or "test" in read_meta(output):
        return
    scored = any(source.test for source in recipe.sources.values())
    typer.echo(f"wrote {output}" + "; now its test figures" * scored)
    probes = read_probes(Path(recipe.probes)) if recipe.probes else []
    _test(output, load_sources(recipe, build_tasks(recipe, data_root), data_root, "test"), probes, device)
    if stop:
        typer.echo("the run was stopped: the same command with --resume goes on")


def _test(folder: Path, sources: Sequence[Source], probes: Sequence[Probe], device: str) -> None:
    """Scores the weights as they were stored, rounded, and writes the model card."""
    from mtl.inference.predictor import load
    from mtl.training.model_card import score_sources, write_card

    predictor = load(folder, device=device)
    predictor.meta["test"] = score_sources(predictor, sources)
    predictor.save(folder)
    write_card(folder, predictor, probes=probes)


def _bulk(verb: Verb, checkpoint: Path, file: Path, output: Path, engine: str) -> None:
    from tqdm import tqdm

    from mtl.inference import bulk, ray_engine
    from mtl.inference.export import check_output
    from mtl.inference.predictor import load

    if engine not in ("local", "ray"):
        raise ConfigError(f"--engine {engine}: unknown; say local or ray")
    if engine == "local":
        check_output(output)
    found = bulk.survey(file)
    with tqdm(total=found.rows, unit=" rows", disable=None) as bar:
        if engine == "ray":
            ray_engine.run(verb, checkpoint, file, output, advance=bar.update)
        else:
            bulk.run(verb, load(checkpoint), file, output, found, advance=bar.update)
    typer.echo(f"wrote {found.rows} {'rows' if verb == 'predict' else 'vectors'} to {output}")


def _pairs(text: str | None) -> dict[str, str]:
    pairs = {}
    for part in text.split(",") if text else ():
        old, equals, new = part.partition("=")
        if not (old and equals and new):
            raise ConfigError(f"--map {part!r}: say OLD=NEW, several between commas")
        pairs[old] = new
    return pairs


def _report(event: RunEvent) -> None:
    from mtl.training.transcript import lines

    for line in lines(event):
        typer.echo(line)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """What a user caused ends with its sentence on stderr and exit code 2."""
    try:
        yield
    except MtlError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


def main() -> None:
    """Runs the command line."""
    logging.basicConfig(level=logging.WARNING)
    with _one_sentence():
        app()


if __name__ == "__main__":
    main()
