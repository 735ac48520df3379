"""The formats: an open file -> rows, one after the other.

Knows no task; what is wrong with a row is gathered, not raised at once.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import BinaryIO

from mtl.errors import DataError
from mtl.tasks.base import Row
from mtl.tasks.bio import is_tag

MAX_PROBLEMS = 10
MOST_UNPACKED = 100_000_000
FEW_ROWS = 16
"""Rows of a Parquet file that a stranger sent are unpacked so few at once, and in so many bytes: what its own footer
says of its size may be a lie, and a cell may be repeated by reference."""
MOST_OF_A_LINE = 10_000_000
"""Bytes of a line of JSON; a cell of CSV has the same limit."""
_MARK = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")


class Problems:
    """Gathers what is wrong with a file, ten lines of it, and raises them together."""

    def __init__(self, name: str, *, trusted: bool = True) -> None:
        """`trusted`: whether the file is of the person's own machine, and may be as large as it is."""
        self.name, self.trusted = name, trusted
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


def _lines(file: BinaryIO, problems: Problems, *, newline: str = "\n") -> Iterator[str]:
    """Lines with their ends, one after the other; `newline` as in `open`."""
    start = file.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{problems.name}: is UTF-16; save it as UTF-8 and try again")
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline=newline)
    try:
        yield from text
    except UnicodeDecodeError as error:
        raise _not_utf8(text.detach(), problems) from error
    text.detach()  # or the file would be closed with the wrapper


def _not_utf8(file: BinaryIO, problems: Problems) -> DataError:
    file.seek(0)
    for number, line in enumerate(file, start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return DataError(
                f"{problems.name}: line {number} is not UTF-8 (byte 0x{line[error.start]:02x}); "
                "save the file as UTF-8 and try again"
            )
    return DataError(f"{problems.name}: is not UTF-8; save the file as UTF-8 and try again")


def _filled(file: BinaryIO, problems: Problems) -> Iterator[str]:
    """Lines that hold something, without their ends; other separators of Unicode are part of the text."""
    for line in _lines(file, problems):
        bare = line.removesuffix("\n").removesuffix("\r")
        if bare.strip():
            yield bare


def _delimited(file: BinaryIO, problems: Problems, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(10_000_000)
    reader = csv.reader(_lines(file, problems, newline=""), delimiter=delimiter, strict=True)
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


def _csv(file: BinaryIO, problems: Problems) -> Iterator[Row]:
    """Commas, or what the first line has in their place: some spreadsheets write semicolons or tabs."""
    first = file.readline()
    file.seek(0)
    found = next((mark for mark in (",", ";", "\t") if mark.encode() in first), ",")
    return _delimited(file, problems, found)


def _txt(file: BinaryIO, problems: Problems) -> Iterator[Row]:
    """One text a line."""
    return (Row(number, {"text": text}) for number, text in enumerate(_filled(file, problems), start=1))


def _tsv(file: BinaryIO, problems: Problems) -> Iterator[Row]:
    return _delimited(file, problems, "\t")


def _jsonl(file: BinaryIO, problems: Problems) -> Iterator[Row]:
    for number, line in enumerate(_filled(file, problems), start=1):
        if not problems.trusted and len(line) > MOST_OF_A_LINE:
            problems.add(f"row {number}: has {len(line):,} characters; the limit is {MOST_OF_A_LINE:,}")
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(f"row {number}: not JSON ({error}); expected one object a line")
            continue
        if not isinstance(values, dict):
            problems.add(f'row {number}: {line[:40]!r}; expected an object such as {{"text": "..."}}')
            continue
        yield Row(number, values)


def _parquet(file: BinaryIO, problems: Problems) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        table = pq.ParquetFile(file)
        at_once = 4096 if problems.trusted else FEW_ROWS
        for batch in table.iter_batches(batch_size=at_once):
            if not problems.trusted and batch.nbytes > MOST_UNPACKED:
                raise DataError(
                    f"{problems.name}: is larger than {MOST_UNPACKED // 1_000_000} MB when unpacked; split it"
                )
            for values in batch.to_pylist():
                number += 1
                yield Row(number, values)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{problems.name}: is no Parquet file, or one that cannot be read ({error})") from error


def _conll(file: BinaryIO, problems: Problems) -> Iterator[Row]:
    """Word first, tag last, blank line between sentences; -DOCSTART- lines and # comments are passed over."""
    number = 0
    tokens: list[str] = []
    tags: list[str] = []
    for place, raw in enumerate(chain(_lines(file, problems), [""]), start=1):
        line = raw.removesuffix("\n").removesuffix("\r")
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


def _marked(file: BinaryIO, problems: Problems) -> Iterator[Row]:
    """A label, a tab, and a text whose entities are marked [like this](TYPE); the label may be left out."""
    for number, line in enumerate(_filled(file, problems), start=1):
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


READERS: dict[str, Callable[[BinaryIO, Problems], Iterator[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    ".conll": _conll,
    ".iob2": _conll,
    ".marked": _marked,
    ".txt": _txt,
}
