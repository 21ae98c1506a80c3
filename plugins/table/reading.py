"""From text to a table: names, rows of cells and warnings. A cell is a text, or None where the value is missing."""

import csv
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field

DELIMITERS = [",", ";", "\t", "|"]
MISSING = {"", "na", "n/a", "nan", "null", "none", "-"}
MAX_COLUMNS = 200
# The parser calls itself for every level, and a call's stack is limited.
MAX_DEPTH = 64

STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


class Unreadable(ValueError):
    """What is wrong with the input, for its author."""


@dataclass
class Table:
    names: list[str]
    rows: list[list[str | None]]
    warnings: list[str] = field(default_factory=list)


def read(data: str, is_json: bool | None = None, delimiter: str | None = None) -> Table:
    data = data.removeprefix("\ufeff")
    if not data.strip():
        raise Unreadable("the table is empty")
    if is_json is None:
        is_json = delimiter is None and data.lstrip()[0] in "[{"
    table = read_json(data) if is_json else read_csv(data, delimiter)
    if len(table.names) > MAX_COLUMNS:
        raise Unreadable(f"the table has {len(table.names)} columns; at most {MAX_COLUMNS} can be summarized")
    return table


# --- CSV


def read_csv(data: str, delimiter: str | None) -> Table:
    if delimiter is not None and (delimiter in '"\r\n' or not delimiter.isprintable() and delimiter != "\t"):
        raise Unreadable(f"{delimiter!r} can't separate cells")
    # Larger than any input that the host lets pass.
    csv.field_size_limit(1 << 30)
    reader = rows_of(data, delimiter or find_delimiter(data))
    try:
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise Unreadable(f"line {reader.line_num} isn't CSV: {error}") from error
    if not lines:
        raise Unreadable("the table has no row with a value")
    head, body = lines[0], lines[1:]
    names, warnings = unique_names(head)
    rows, short, long = [], 0, 0
    for line in body:
        short += len(line) < len(names)
        # Blank cells at the end of a row are no loss.
        long += any(cell.strip() for cell in line[len(names) :])
        cells = line[: len(names)] + [""] * (len(names) - len(line))
        rows.append([cell_value(cell) for cell in cells])
    if short:
        warnings.append(f"{rows_count(short)} fewer cells than the first row; the rest count as missing")
    if long:
        warnings.append(f"{rows_count(long)} more cells than the first row; the rest were ignored")
    return Table(names, rows, warnings)


def rows_of(data: str, delimiter: str):
    # Blanks that separate cells can't be skipped as well.
    return csv.reader(io.StringIO(data, newline=""), delimiter=delimiter, skipinitialspace=delimiter != " ")


def rows_count(number: int) -> str:
    return "1 row has" if number == 1 else f"{number} rows have"


def find_delimiter(data: str) -> str:
    """The delimiter that makes most rows as long as the first one."""

    def fit(delimiter):
        lines = rows_of(data[:20_000], delimiter)
        try:
            lengths = [len(line) for line, _ in zip(lines, range(50)) if line]
        except csv.Error:
            return (0, 0)
        same = sum(length == lengths[0] for length in lengths) if lengths and lengths[0] > 1 else 0
        return (same, lengths[0] if lengths else 0)

    return max(DELIMITERS, key=fit)


def unique_names(head: list[str]) -> tuple[list[str], list[str]]:
    names, warnings = [], []
    for position, cell in enumerate(head, start=1):
        name = cell.strip() or f"column_{position}"
        if not cell.strip():
            warnings.append(f"column {position} has no name; it is called `{name}`")
        if name in names:
            number = 2
            while f"{name}_{number}" in names:
                number += 1
            warnings.append(f"the name `{name}` occurs twice; column {position} is called `{name}_{number}`")
            name = f"{name}_{number}"
        names.append(name)
    return names, warnings


def cell_value(cell: str) -> str | None:
    cell = cell.strip()
    return None if cell.lower() in MISSING else cell


# --- JSON


def read_json(data: str) -> Table:
    if depth(data) > MAX_DEPTH:
        raise Unreadable(f"the JSON is nested more than {MAX_DEPTH} deep")
    try:
        # Numbers stay as they are written.
        value = json.loads(data, parse_int=str, parse_float=str, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise Unreadable(f"line {error.lineno}, column {error.colno} isn't JSON: {error.msg}") from error
    if isinstance(value, dict):
        return from_columns(value)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return from_objects(value)
    raise Unreadable("the JSON must be an array of objects, one for each row, or an object of arrays, one for each column")


def depth(data: str) -> int:
    """How many brackets of the JSON are open at most."""
    level = deepest = 0
    for match in STRINGS_AND_BRACKETS.finditer(data):
        level += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        deepest = max(deepest, level)
    return deepest


def from_objects(objects: list[dict]) -> Table:
    names = list(dict.fromkeys(name for item in objects for name in item))
    if not names:
        raise Unreadable("the objects have no properties")
    rows = [[json_cell(item.get(name)) for name in names] for item in objects]
    partial = sum(len(item) < len(names) for item in objects)
    warnings = [f"{partial} of {len(objects)} objects lack some properties; they count as missing"] if partial else []
    return Table(names, rows, warnings)


def from_columns(columns: dict) -> Table:
    if not columns or not all(isinstance(cells, list) for cells in columns.values()):
        raise Unreadable("an object must hold an array for each column; for a single row, write an array of one object")
    length = max(map(len, columns.values()))
    rows = [[json_cell(cells[row]) if row < len(cells) else None for cells in columns.values()] for row in range(length)]
    lengths = Counter(map(len, columns.values()))
    warnings = ["the columns differ in length; the shorter ones end with missing values"] if len(lengths) > 1 else []
    return Table(list(columns), rows, warnings)


def json_cell(value) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return cell_value(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
