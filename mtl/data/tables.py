"""Files -> rows -> examples. Reads CSV, TSV, JSONL, Parquet, CoNLL columns and marked text, each also .gz.

Knows tasks only by their contract: which columns hold a target and how a row is parsed. Bad rows are
collected: the first ten come back in one `DataError`, each with row, column, value and what was expected.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl.data.tokenization import without_surrogates
from mtl.errors import ConfigError, DataError
from mtl.tasks.base import Row, Task, text_of
from mtl.tasks.bio import is_tag
from mtl.tasks.ner import as_list
from mtl.types import Example, Target

MAX_PROBLEMS = 10
_MARK = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")


@dataclass(frozen=True)
class Table:
    """The rows of a file and the columns that it has."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
) -> Table:
    """Reads a table by its ending. `columns` says what the file calls our columns: {"label": "intent"}.

    `limit` rows are read; a file that is more than `max_bytes` when unpacked is refused.

    Raises:
        DataError: for a missing file, an unknown ending, bytes that are not UTF-8, ragged or broken rows,
            a column that is not there, or a file without rows.
    """
    path = Path(path)
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{path.name}: unknown ending {suffix!r}; use one of {', '.join(READERS)}, each also .gz")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(-1 if max_bytes is None else max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path.name}: cannot be unpacked ({error}); the file may be cut short, copy it again"
        ) from error
    if max_bytes is not None and len(data) > max_bytes:
        raise DataError(f"{path.name}: is larger than {max_bytes // 1_000_000} MB when unpacked; split it")
    problems = Problems(path.name)
    rows = []
    for row in READERS[suffix](data, problems):
        rows.append(row)
        if limit is not None and len(rows) >= limit:
            break
    problems.raise_any()
    if not rows or not any(row.values for row in rows):
        raise DataError(f"{path.name}: has no rows")
    table = Table(path, tuple(dict.fromkeys(name for row in rows for name in row.values)), tuple(rows))
    return renamed_columns(table, columns or {})


def renamed_columns(table: Table, columns: Mapping[str, str]) -> Table:
    """The same table with its columns under our names: {ours: theirs}.

    Raises:
        DataError: where the table has no such column.
    """
    absent = [theirs for theirs in columns.values() if theirs not in table.columns]
    if absent:
        raise DataError(f"{table.path.name}: has no column {absent[0]!r}; it has {', '.join(table.columns)}")
    ours = {theirs: mine for mine, theirs in columns.items()}
    rows = tuple(
        Row(row.number, {ours.get(k, k): v for k, v in row.values.items() if k in ours or k not in columns})
        for row in table.rows
    )
    return Table(table.path, tuple(ours.get(name, name) for name in table.columns), rows)


def examples(
    table: Table, tasks: Sequence[Task], *, rename: Mapping[str, str] | None = None, labelled: bool = True
) -> list[Example]:
    """Rows -> examples with the targets that each row has for `tasks` (all of one text or all of two).

    `rename` maps labels of the data to labels of the task. With `labelled`, a table without any column
    for one of the tasks is an error; a row without a target never is.

    Raises:
        DataError: the first ten bad rows, or missing columns.
    """
    if len({task.n_texts for task in tasks}) > 1:
        raise ConfigError(f"{table.path.name}: tasks of one text and tasks of two cannot share a table")
    for task in tasks if labelled else ():
        if not set(task.columns) & set(table.columns):
            needed = " or ".join(repr(column) for column in task.columns)
            raise DataError(
                f"{table.path.name}: task {task.name!r} needs a column {needed}; "
                f"the file has {', '.join(table.columns)}"
            )
    problems = Problems(table.path.name)
    found: list[Example] = []
    for row in table.rows:
        known = _renamed_labels(row, rename or {})
        targets: dict[str, Target] = {}
        try:
            texts = texts_of(known, tasks[0].n_texts if tasks else 1)
            for task in tasks:
                if task.has_target(known):
                    targets[task.name] = task.parse(known)
        except DataError as error:
            problems.add(str(error))
            continue
        found.append(Example(texts, targets))
    problems.raise_any()
    return found


def texts_of(row: Row, n_texts: int) -> tuple[str, ...]:
    """The text of a row (`text`, or `tokens` joined by spaces), or its `sentence1` and `sentence2`.

    Raises:
        DataError: where there is none.
    """
    if n_texts == 1 and row.get("text") is None:
        tokens = as_list(row.get("tokens"))
        if not tokens:
            raise row.problem("text", "a text (or a list of words in 'tokens')")
        return (without_surrogates(" ".join(str(token) for token in tokens)),)
    names = ("text",) if n_texts == 1 else ("sentence1", "sentence2")
    for name in names:
        if row.get(name) is None or not isinstance(row.get(name), (str, int, float)):
            raise row.problem(name, "a text")
    return tuple(without_surrogates(str(row.values[name])) for name in names)


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


def _renamed_labels(row: Row, rename: Mapping[str, str]) -> Row:
    """The row with its labels renamed; a cell that cannot be read stays as it is, for `parse` to refuse."""
    if not rename:
        return row
    values = dict(row.values)
    if row.get("label") is not None:
        label = text_of(values["label"])
        values["label"] = rename.get(label, label)
    tags = as_list(row.get("tags"))
    if tags is not None:
        values["tags"] = [f"{t[:2]}{rename.get(t[2:], t[2:])}" if "-" in t else t for t in map(str, tags)]
    spans = as_list(row.get("spans"))
    if spans is not None and all(isinstance(span, dict) and isinstance(span.get("label"), str) for span in spans):
        values["spans"] = [{**span, "label": rename.get(span["label"], span["label"])} for span in spans]  # type: ignore[dict-item, index]
    return Row(row.number, values)


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
    return _delimited(data, problems, ",")


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
}
