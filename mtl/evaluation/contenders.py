"""What a benchmark sets side by side, one in each process: `python -m mtl.evaluation.contenders NAME ...`.

Prints one JSON object. Each contender is loaded, warmed up and timed alone; texts come as a JSON list.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtl.data.batches import by_length
from mtl.data.tokenization import TextTokenizer
from mtl.inference import projection
from mtl.inference.batching import MicroBatcher
from mtl.inference.packed import can_pack
from mtl.inference.packed_layers import linear
from mtl.inference.predictor import Predictor, load
from mtl.model.precision import Precision, cpu_has_bf16

Encode = Callable[[Sequence[str]], object]

BATCH = 32
CALLERS = 32
STARTED = ("import gradio", "mtl, the page")
"""Contenders that are processes of their own."""


@dataclass(frozen=True)
class Timed:
    """What one process measured; what does not apply is None.

    texts_per_s  of the whole list at once, the best of three
    p50_ms       of one text after the other
    answer_ms    of an app: from its page to its first answer
    quality      of a map: trustworthiness
    """

    texts_per_s: float | None = None
    p50_ms: float | None = None
    seconds: float | None = None
    answer_ms: float | None = None
    quality: float | None = None
    gflops: float | None = None


def mtl_encode(checkpoint: Path, *, precision: Precision = "auto", packed: bool = True) -> Encode:
    """Our sentence vectors."""
    return load(checkpoint, device="cpu", precision=precision, packed=packed).encode


def sentence_transformers_encode(checkpoint: Path) -> Encode:
    """`SentenceTransformer.encode` as people call it: float32, 32 texts a batch."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(checkpoint), device="cpu")
    return lambda texts: model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)


def onnx_encode(checkpoint: Path, *, engine: str) -> Encode:
    """The encoder alone as an ONNX graph, 32 texts alike in length a batch; `engine` onnx, onnx-int8 or openvino."""
    from mtl.inference.onnx_export import export_onnx

    folder = Path(tempfile.mkdtemp())
    whole = load(checkpoint, device="cpu", precision="fp32", packed=False)
    export_onnx(Predictor(whole.model, whole.tokenizer, (), tokenizer_files=whole.tokenizer_files), folder)
    path = folder / "model.onnx"
    tokenizer = TextTokenizer.from_file(checkpoint / "tokenizer.json", max_tokens=whole.tokenizer.max_tokens)
    run = _openvino(path) if engine == "openvino" else _onnxruntime(path, int8=engine == "onnx-int8")

    def encode(texts: Sequence[str]) -> None:
        readings = tokenizer.read(texts, spans=False)
        for places in by_length([len(r) for r in readings], max_tokens=1 << 30, max_rows=BATCH):
            longest = max(len(readings[p]) for p in places)
            ids = np.zeros((len(places), longest), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, place in enumerate(places):
                ids[row, : len(readings[place])] = readings[place].ids
                mask[row, : len(readings[place])] = 1
            run(ids, mask)

    return encode


def _onnxruntime(path: Path, *, int8: bool) -> Callable[[np.ndarray, np.ndarray], object]:
    import onnxruntime

    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantised = path.with_name("int8.onnx")
        quantize_dynamic(path, quantised, weight_type=QuantType.QInt8)
        path = quantised
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}

    def run(ids: np.ndarray, mask: np.ndarray) -> object:
        given = {"input_ids": ids, "attention_mask": mask, "word_shape": np.zeros((*ids.shape, 8), dtype=np.float32)}
        return session.run(None, {name: value for name, value in given.items() if name in names})

    return run


def _openvino(path: Path) -> Callable[[np.ndarray, np.ndarray], object]:
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU")
    request = compiled.create_infer_request()
    names = [node.get_any_name() for node in compiled.inputs]

    def run(ids: np.ndarray, mask: np.ndarray) -> object:
        given = {"input_ids": ids, "attention_mask": mask}
        return request.infer({name: given[name] for name in names if name in given})

    return run


def pipelines(checkpoint: Path) -> Encode:
    """Two classifiers and an entity tagger as three `transformers.pipeline`s of the same encoder, 32 texts a batch."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        logging,
        pipeline,
    )

    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    made = []
    for kind, model in (
        ("text-classification", AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=8)),
        ("text-classification", AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)),
        ("token-classification", AutoModelForTokenClassification.from_pretrained(checkpoint, num_labels=7)),
    ):
        options = {"top_k": None} if kind == "text-classification" else {}
        made.append((pipeline(kind, model=model, tokenizer=tokenizer, device="cpu", batch_size=BATCH), options))
    return lambda texts: [run(list(texts), **options) for run, options in made]


def of_texts(encode: Encode, texts: Sequence[str], *, singles: int = 100) -> Timed:
    """Throughput of the list, then the latency of its first texts one by one."""
    encode(texts[: 4 * BATCH])
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        encode(texts)
        rates.append(len(texts) / (time.perf_counter() - start))
    waits = []
    for text in texts[:singles]:
        start = time.perf_counter()
        encode([text])
        waits.append(1000 * (time.perf_counter() - start))
    return Timed(texts_per_s=max(rates), p50_ms=statistics.median(waits))


def of_callers(ask: Encode, texts: Sequence[str]) -> Timed:
    """32 threads that ask about one text after the other, each when it has the last answer."""
    waits: list[float] = []
    here = threading.Barrier(CALLERS)

    def caller(mine: Sequence[str]) -> None:
        here.wait()
        for text in mine:
            start = time.perf_counter()
            ask([text])
            waits.append(1000 * (time.perf_counter() - start))

    for text in texts[:20]:
        ask([text])
    with ThreadPoolExecutor(CALLERS) as pool:
        start = time.perf_counter()
        list(pool.map(caller, [texts[i::CALLERS] for i in range(CALLERS)]))
        seconds = time.perf_counter() - start
    return Timed(texts_per_s=len(texts) / seconds, p50_ms=statistics.median(waits))


def of_map(place: Callable[[np.ndarray], np.ndarray], vectors: np.ndarray) -> Timed:
    """Seconds for a map, the best of three after a first one that has everything compiled."""
    place(vectors[:500])
    seconds, points = [], vectors[:, :2]
    for _ in range(3):
        start = time.perf_counter()
        points = place(vectors)
        seconds.append(time.perf_counter() - start)
    return Timed(seconds=min(seconds), quality=projection.trustworthiness(vectors, points))


def of_import() -> Timed:
    """Seconds of a fresh process that imports gradio and nothing else; no page can be there sooner."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import gradio"], check=True)
    return Timed(seconds=time.perf_counter() - start)


def of_app(checkpoint: Path) -> Timed:
    """Seconds from the start of `app.py` to its page, and from there to an answer."""
    root = Path(__file__).resolve().parents[2]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "MTL_CHECKPOINT": str(checkpoint)}
    code = f"import os, sys; os.environ.update({settings!r}); import app; sys.exit(app.main())"
    page = f"http://127.0.0.1:{port}/"
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=sys.stderr) as process:
        try:
            while not _fetched(page) and process.poll() is None:
                time.sleep(0.01)
            seconds = time.perf_counter() - start
            call = f"{page}gradio_api/call/compare"
            asked = json.loads(_fetched(call, {"data": ["", "default", "A cat sleeps.", "A dog barks."]}))
            if b"event: complete" not in _fetched(f"{call}/{asked['event_id']}"):
                raise RuntimeError("the app did not answer")
            return Timed(seconds=seconds, answer_ms=1000 * (time.perf_counter() - start - seconds))
        finally:
            process.kill()


def _fetched(url: str, data: object = None) -> bytes:
    """What lies at an address of this machine; nothing where nobody answers yet."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: bytes = answer.read()
            return found
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return b""
        raise


def of_machine() -> Timed:
    """The fastest large matrix product that this CPU was seen to do, in GFLOP/s."""
    dtype = torch.bfloat16 if cpu_has_bf16() and can_pack(torch.bfloat16) else torch.float32
    n = 2048
    product = linear(torch.randn(n, n), torch.randn(n), dtype)
    states = torch.randn(n, n).to(dtype)
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        product(states)
        seconds.append(time.perf_counter() - start)
    return Timed(gflops=2 * n**3 / min(seconds) / 1e9)


def measure(name: str, checkpoint: Path, texts: Sequence[str]) -> Timed:
    """What the contender of that name does with these texts.

    Raises:
        ImportError: where a package that it needs is missing.
    """
    encoders: dict[str, Callable[[], Encode]] = {
        "sentence-transformers": lambda: sentence_transformers_encode(checkpoint),
        "onnxruntime fp32": lambda: onnx_encode(checkpoint, engine="onnx"),
        "onnxruntime int8": lambda: onnx_encode(checkpoint, engine="onnx-int8"),
        "OpenVINO": lambda: onnx_encode(checkpoint, engine="openvino"),
        "mtl, plain path": lambda: mtl_encode(checkpoint, packed=False),
        "mtl fp32": lambda: mtl_encode(checkpoint, precision="fp32"),
        "mtl": lambda: mtl_encode(checkpoint),
        "three pipelines": lambda: pipelines(checkpoint),
        "mtl, every task": lambda: load(checkpoint, device="cpu").analyze,
    }
    if name in encoders:
        return of_texts(encoders[name](), texts)
    if name == "matrix peak":
        return of_machine()
    if name in STARTED:
        return of_import() if name == STARTED[0] else of_app(checkpoint)
    predictor = load(checkpoint, device="cpu")
    if name in ("one by one", "micro-batches"):
        return of_callers(predictor.analyze if name == "one by one" else MicroBatcher(predictor).analyze, texts)
    vectors = predictor.encode(texts)
    ways = {"umap-learn": projection.umap_by_default, "mtl, PCA": projection.pca, "mtl, UMAP": projection.umap}
    return of_map(ways[name], vectors)


def peak_memory(*, started: bool = False) -> float:
    """The most memory that this process held, or one that it `started`, MB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0.0
    whose = resource.RUSAGE_CHILDREN if started else resource.RUSAGE_SELF
    return resource.getrusage(whose).ru_maxrss / 1024


def main() -> None:
    """Measures one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("texts", type=Path)
    given = parser.parse_args()
    found = measure(given.name, given.checkpoint, json.loads(given.texts.read_text(encoding="utf-8")))
    memory = peak_memory(started=given.name in STARTED)
    print(json.dumps({**found.__dict__, "memory_mb": memory}))  # noqa: T201


if __name__ == "__main__":
    main()
