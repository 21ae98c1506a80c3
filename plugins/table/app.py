"""Connects the logic with the functions of `wit/world.wit`. `wit_world` is generated when the component is built."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import table as wit

from reading import Unreadable, read
from summary import summarize


class Table(exports.Table):
    def summarize(self, data, group_by, format, delimiter):
        is_json = None if format is None else format == wit.Format.JSON
        try:
            summary = summarize(read(data, is_json, delimiter), group_by)
        except Unreadable as error:
            raise Err(wit.Problem_InvalidInput(str(error)))
        groups = [wit.Group(group.value, group.rows, list(map(column, group.columns))) for group in summary.groups]
        return wit.Summary(summary.rows, list(map(column, summary.columns)), groups, summary.warnings)


def column(column):
    numbers = column.numbers and wit.Numbers(**vars(column.numbers))
    most_frequent = [wit.Frequency(value, count) for value, count in column.most_frequent]
    kind = wit.Kind[column.kind.upper()]
    return wit.Column(column.name, kind, column.count, column.missing, column.distinct, numbers, most_frequent)
