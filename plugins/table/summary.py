"""The statistics: what is known of a table, its columns and its groups."""

# `Counter` imports it when it is first asked for the most common values, and by then it is too late: the component only has the
# modules that were imported when it was built.
import heapq  # noqa: F401
import math
import re
import statistics
from collections import Counter
from dataclasses import dataclass

from reading import Table, Unreadable

MAX_GROUPS = 50
TOP = 5

INTEGER = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+)", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+|(?=\.\d))(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([T ]\d{2}:\d{2}.*)?", re.ASCII)
BOOLEANS = {"true", "false", "yes", "no"}


@dataclass
class Numbers:
    min: float
    max: float
    sum: float
    mean: float
    median: float
    stddev: float | None


@dataclass
class Column:
    name: str
    kind: str
    count: int
    missing: int
    distinct: int
    numbers: Numbers | None
    most_frequent: list[tuple[str, int]]


@dataclass
class Group:
    value: str | None
    rows: int
    columns: list[Column]


@dataclass
class Summary:
    rows: int
    columns: list[Column]
    groups: list[Group]
    warnings: list[str]


def summarize(table: Table, group_by: str | None = None) -> Summary:
    columns = [column(name, [row[position] for row in table.rows]) for position, name in enumerate(table.names)]
    groups = [] if group_by is None else grouped(table, group_by)
    return Summary(len(table.rows), columns, groups, table.warnings)


def grouped(table: Table, group_by: str) -> list[Group]:
    if group_by not in table.names:
        raise Unreadable(f"there is no column `{group_by}`; the columns are {', '.join(f'`{name}`' for name in table.names[:30])}")
    position = table.names.index(group_by)
    rows_by_value = {}
    for row in table.rows:
        rows_by_value.setdefault(row[position], []).append(row)
    if len(rows_by_value) > MAX_GROUPS:
        raise Unreadable(f"`{group_by}` has {len(rows_by_value)} different values; at most {MAX_GROUPS} groups can be made")
    others = [(index, name) for index, name in enumerate(table.names) if index != position]
    # The group of rows without a value comes last.
    ordered = sorted(rows_by_value.items(), key=lambda item: (item[0] is None, item[0]))
    return [
        Group(value, len(rows), [column(name, [row[index] for row in rows]) for index, name in others])
        for value, rows in ordered
    ]


def column(name: str, cells: list[str | None]) -> Column:
    values = [cell for cell in cells if cell is not None]
    kind = kind_of(values)
    counts = Counter(values)
    top = counts.most_common(TOP) if len(counts) < len(values) else []
    numbers = summarize_numbers(values) if kind in ("integer", "number") else None
    return Column(name, kind, len(values), len(cells) - len(values), len(counts), numbers, top)


def kind_of(values: list[str]) -> str:
    if not values:
        return "empty"
    kinds = [
        ("boolean", lambda value: value.lower() in BOOLEANS),
        ("integer", INTEGER.fullmatch),
        ("number", is_number),
        ("date", DATE.fullmatch),
    ]
    return next((kind for kind, fits in kinds if all(map(fits, values))), "text")


def is_number(value: str) -> bool:
    return NUMBER.fullmatch(value) is not None and math.isfinite(number(value))


def number(value: str) -> float:
    return float(value.replace(",", ""))


def summarize_numbers(values: list[str]) -> Numbers | None:
    numbers = [number(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        return None
    try:
        total = math.fsum(numbers)
        stddev = statistics.stdev(numbers) if len(numbers) > 1 else None
        return Numbers(min(numbers), max(numbers), total, total / len(numbers), statistics.median(numbers), stddev)
    except OverflowError:
        return None
