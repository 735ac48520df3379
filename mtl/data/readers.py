"""The formats: bytes of a file -> rows. Knows no task; what is wrong with a row is gathered, not raised at once."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator

from mtl.errors import DataError
from mtl.tasks.base import Row
from mtl.tasks.bio import is_tag

MAX_PROBLEMS = 10
_MARK = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")


class Problems:
    """Gathers what is wrong with a file, ten lines of it, and raises them together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.count = 0

    def add(self, line: str) -> None:
        self.count += 1
        if len(self.lines) < MAX_PROBLEMS:
            self.lines.append(line)

    def raise_any(self) -> None:
        """Raises DataError if anything was added."""
        if self.count == 1:
            raise DataError(f"{self.name}: {self.lines[0]}")
        if self.count:
            first = f"the first {MAX_PROBLEMS} of {self.count}" if self.count > MAX_PROBLEMS else str(self.count)
            raise DataError("\n".join([f"{self.name}: {first} bad rows", *self.lines]))


def _text(data: bytes, problems: Problems) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{problems.name}: is UTF-16; save it as UTF-8 and try again")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{problems.name}: line {line} is not UTF-8 (byte 0x{data[error.start]:02x}); "
            "save the file as UTF-8 and try again"
        ) from error


def _lines(data: bytes, problems: Problems) -> list[str]:
    """Lines as files have them; other separators of Unicode are part of the text."""
    return _text(data, problems).replace("\r\n", "\n").split("\n")


def _delimited(data: bytes, problems: Problems, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(10_000_000)
    reader = csv.reader(io.StringIO(_text(data, problems), newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) != len(header):
            raise DataError(f"{problems.name}: a column name stands twice in the first line: {', '.join(header)}")
        number = 0
        for cells in reader:
            if not cells:
                continue
            number += 1
            if len(cells) != len(header):
                problems.add(
                    f"row {number} (line {reader.line_num}): has {len(cells)} cells; "
                    f"expected {len(header)}, one for each of {', '.join(header)}"
                )
                continue
            yield Row(number, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise DataError(
            f"{problems.name}: line {reader.line_num} cannot be read ({error}); check its quotes"
        ) from error


def _csv(data: bytes, problems: Problems) -> Iterator[Row]:
    """Commas, or what the first line has in their place: some spreadsheets write semicolons or tabs."""
    first = data.split(b"\n", 1)[0]
    found = next((mark for mark in (",", ";", "\t") if mark.encode() in first), ",")
    return _delimited(data, problems, found)


def _txt(data: bytes, problems: Problems) -> Iterator[Row]:
    """One text a line."""
    texts = [line for line in _lines(data, problems) if line.strip()]
    return (Row(number, {"text": text}) for number, text in enumerate(texts, start=1))


def _tsv(data: bytes, problems: Problems) -> Iterator[Row]:
    return _delimited(data, problems, "\t")


def _jsonl(data: bytes, problems: Problems) -> Iterator[Row]:
    number = 0
    for line in _lines(data, problems):
        if not line.strip():
            continue
        number += 1
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(f"row {number}: not JSON ({error}); expected one object a line")
            continue
        if not isinstance(values, dict):
            problems.add(f'row {number}: {line[:40]!r}; expected an object such as {{"text": "..."}}')
            continue
        yield Row(number, values)


def _parquet(data: bytes, problems: Problems) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(io.BytesIO(data)).to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{problems.name}: is no Parquet file, or one that cannot be read ({error})") from error
    for number, values in enumerate(rows, start=1):
        yield Row(number, values)


def _conll(data: bytes, problems: Problems) -> Iterator[Row]:
    """Word first, tag last, blank line between sentences; -DOCSTART- lines and # comments are passed over."""
    number = 0
    tokens: list[str] = []
    tags: list[str] = []
    for place, line in enumerate([*_lines(data, problems), ""], start=1):
        cells = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("-DOCSTART-"):
            if tokens:
                number += 1
                yield Row(number, {"tokens": tokens, "tags": tags})
                tokens, tags = [], []
        elif line.startswith("#") and not is_tag(cells[-1].strip()):
            continue
        elif len(cells) >= 2:
            tokens.append(cells[0])
            tags.append(cells[-1].strip())
        else:
            problems.add(f"row {number + 1} (line {place}): {line[:40]!r}; expected a word and a tag")


def _marked(data: bytes, problems: Problems) -> Iterator[Row]:
    """A label, a tab, and a text whose entities are marked [like this](TYPE); the label may be left out."""
    number = 0
    for line in _lines(data, problems):
        if not line.strip():
            continue
        number += 1
        label, tab, marked = line.partition("\t")
        text, spans = parse_marks(marked if tab else label)
        yield Row(number, {"text": text, "spans": spans, "label": label if tab else None})


def parse_marks(marked: str) -> tuple[str, list[dict[str, object]]]:
    """`ask [Ana](PER)` -> `ask Ana` and its spans, with offsets in the text without marks."""
    text, spans, place = "", [], 0
    for mark in _MARK.finditer(marked):
        text += marked[place : mark.start()]
        spans.append({"start": len(text), "end": len(text) + len(mark[1]), "label": mark[2]})
        text += mark[1]
        place = mark.end()
    return text + marked[place:], spans


READERS: dict[str, Callable[[bytes, Problems], Iterator[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    ".conll": _conll,
    ".iob2": _conll,
    ".marked": _marked,
    ".txt": _txt,
}
