"""Whatever bytes are called a table: rows come out, or one sentence; in bounded memory, and never a fault."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl.data import tables
from mtl.errors import DataError, SessionError
from mtl.service.capsule import read_request
from mtl.service.corpora import Corpora
from mtl.settings import ROOT, Settings
from mtl.tasks import Classification, NamedEntities

TASKS = (Classification(name="topic", labels=("a", "b")), NamedEntities(name="things", labels=("PER",)))
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".conll", ".iob2", ".marked", ".txt")
CELLS = st.one_of(
    st.sampled_from(["text", "label", "spans", "tags", "tokens", "a", "PER", '"', ",", ";", "\t", "\n", "\r", "\x00",
                     "[x](PER)", "B-PER", "O", '[{"start": 0, "end": 1, "label": "PER"}]', "1e999", "NaN",
                     "\ufeff", "=1+1"]),
    st.text(max_size=6),
)  # fmt: skip
TEXTS = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=8).map("\n".join).map(str.encode)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELLS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(CELLS, inner, max_size=3)),
    max_leaves=8,
)


def lines(values: list[object]) -> bytes:
    import json

    return "\n".join(json.dumps(value) for value in values).encode()


def parquet(rows: list[dict[str, object]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows or [{"text": "x"}]), out)
    return out.getvalue()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real Parquet file with some bytes changed or cut."""
    whole = bytearray(parquet([{"text": "one", "label": "a"}, {"text": "two", "label": None}]))
    for _ in range(draw(st.integers(0, 3))):
        whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    return bytes(whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole)


FILES = st.one_of(st.binary(max_size=60), TEXTS, st.lists(JSON, max_size=4).map(lines), damaged())


def tried(folder: Path, content: bytes, ending: str, packed: bool) -> None:
    path = folder / f"table{ending}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    for read in (_examples, _corpus, _columns):
        said = _refusal(read, path)
        assert said is None or said.startswith(("table", "The list", "Text"))
        assert len(said or "") < 5000


def _refusal(read: Callable[[Path], None], path: Path) -> str | None:
    try:
        read(path)
    except (DataError, SessionError) as error:
        return str(error)
    return None


def _examples(path: Path) -> None:
    table = tables.read(path, limit=100, max_bytes=1_000_000)
    for example in tables.examples(table, TASKS, labelled=False):
        (text,) = example.texts
        text.encode()
        for span in example.targets.get("things", ()):
            assert 0 <= span.start < span.end <= len(text)


def _corpus(path: Path) -> None:
    corpus = Corpora(Settings()).from_file(path)
    assert len(corpus.texts) > 0
    assert all(len(values) == len(corpus.texts) for values in corpus.columns.values())


def _columns(path: Path) -> None:
    found = Corpora(Settings()).guess(path)
    assert found.text in found.columns


ANYTHING = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(suppress_health_check=ANYTHING, max_examples=150)
@given(content=FILES, ending=st.sampled_from(ENDINGS), packed=st.booleans())
def test_any_bytes_are_rows_or_a_sentence(tmp_path: Path, content: bytes, ending: str, packed: bool) -> None:
    tried(tmp_path, content, ending, packed)


@pytest.mark.long
@settings(suppress_health_check=ANYTHING, max_examples=6000)
@given(content=FILES, ending=st.sampled_from(ENDINGS), packed=st.booleans())
def test_any_bytes_are_rows_or_a_sentence_for_long(tmp_path: Path, content: bytes, ending: str, packed: bool) -> None:
    tried(tmp_path, content, ending, packed)


READ = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from mtl.data import tables
from mtl.errors import MtlError
from mtl.service.capsule import read_request
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    if sys.argv[2].endswith(".zip"):
        read_request(sys.argv[2])
    else:
        tables.read(sys.argv[2], limit=5001, max_bytes=100_000_000)
    print("read")
except MtlError as error:
    print(str(error)[:300])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def _varint(number: int) -> bytes:
    """As Parquet's footer writes a whole number."""
    number, out = number << 1, bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def bombs(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files of at most a few megabytes that would be large, or deep, and what is said of them."""
    packed = folder / "zeros.csv.gz"
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.write(b"text\n")
        for _ in range(1000):
            file.write(b"0" * 1_000_000)
    yield packed, "larger than 100 MB"
    deep = folder / "deep.jsonl"
    deep.write_bytes(b"[" * 3_000_000)
    yield deep, "not JSON"
    repeated = folder / "repeated.parquet"
    cell = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array(["x" * 5_000_000]))
    pq.write_table(pa.table({"text": cell}), repeated, compression="zstd")
    yield repeated, "larger than 100 MB"
    cells = folder / "cells.parquet"
    pq.write_table(pa.table({"text": ["x" * 1_000_000] * 400}), cells, compression="zstd", use_dictionary=False)
    yield cells, "larger than 100 MB"
    liar = folder / "liar.parquet"  # its footer says that it is small
    cell = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array(["x" * 20_000_000]))
    pq.write_table(pa.table({"text": cell}), liar, compression="zstd")
    size = pq.ParquetFile(liar).metadata.row_group(0).column(0).total_uncompressed_size
    assert size > 10_000_000
    whole = liar.read_bytes()
    lied = whole.replace(_varint(size), _varint(100 + (1 << 21)).ljust(len(_varint(size)), b"\x00"))
    assert lied != whole
    assert pq.ParquetFile(pa.BufferReader(lied)).metadata.row_group(0).column(0).total_uncompressed_size < size
    liar.write_bytes(lied)
    yield liar, "larger than 100 MB"
    nested = folder / "nested.jsonl"
    nested.write_bytes((b'{"text": "a", "x": [' + b"[]," * 3_000_000 + b"[]]}\n") * 2)
    yield nested, "larger than 100 MB"
    line = folder / "line.jsonl"
    line.write_bytes(b'{"text": "a", "x": [' + b"[]," * 4_000_000 + b"[]]}\n")
    yield line, "the limit is 10,000,000"
    wide = folder / "wide.csv"
    wide.write_bytes(b"text\n" + b'"' + b"x" * 20_000_000 + b'"\n')
    yield wide, "field larger than"
    hidden = folder / "hidden.zip"  # says that it has one file
    with zipfile.ZipFile(hidden, "w") as archive:
        for number in range(5000):
            archive.writestr(f"{number}", "")
    whole = bytearray(hidden.read_bytes())
    end = whole.rfind(b"PK\x05\x06")
    whole[end + 8 : end + 12] = b"\x01\x00\x01\x00"
    hidden.write_bytes(whole)
    yield hidden, "holds no settings.json"
    many = folder / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(5000):
            archive.writestr(f"{number}", "")
    yield many, "holds no settings.json"
    hollow = folder / "hollow.zip"
    with zipfile.ZipFile(hollow, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("settings.json", b"[" * 200_000_000)
    yield hollow, "holds no settings.json"


def test_bombs_are_refused_in_bounded_memory_and_time(tmp_path: Path) -> None:
    for path, said in bombs(tmp_path):
        assert path.stat().st_size < 25_000_000
        begun = time.monotonic()
        words = [sys.executable, "-c", READ, str(ROOT), str(path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        sentence, megabytes = done.stdout.splitlines()
        assert said in sentence, (path.name, sentence)
        assert int(megabytes) < 700, (path.name, megabytes)
        assert time.monotonic() - begun < 60


def test_a_zip_of_more_files_than_a_capsule_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("settings.json", "{}")
        for number in range(3000):
            archive.writestr(str(number), "")
    with pytest.raises(SessionError, match="holds no settings"):
        read_request(path)
