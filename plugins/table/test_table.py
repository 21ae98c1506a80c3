import json
import unittest

from reading import Unreadable, read
from summary import summarize


def columns(data, **options):
    return {column.name: column for column in summarize(read(data, **options)).columns}


class Reading(unittest.TestCase):
    def test_quoted_cells_hold_anything(self):
        table = read('name,note\r\n"Ada, Countess","said ""hi""\nand left"\r\n')
        self.assertEqual(table.rows, [["Ada, Countess", 'said "hi"\nand left']])

    def test_ragged_rows_are_mended_with_a_warning(self):
        table = read("a,b,c\n1,2\n1,2,3,4\n\n1,2,3,\n")
        self.assertEqual(table.rows, [["1", "2", None], ["1", "2", "3"], ["1", "2", "3"]])
        self.assertEqual([warning[:16] for warning in table.warnings], ["1 row has fewer ", "1 row has more c"])

    def test_delimiters_are_found(self):
        for delimiter in ",;\t|":
            table = read(f"a{delimiter}b\n1{delimiter}2\n")
            self.assertEqual((table.names, table.rows), (["a", "b"], [["1", "2"]]), delimiter)
        self.assertEqual(read("price;what\n1,5;tea, green\n").names, ["price", "what"])
        self.assertEqual(read("a,b\n1,2\n", delimiter=";").names, ["a,b"])
        self.assertEqual(read("a b\n1 2\n", delimiter=" ").rows, [["1", "2"]])

    def test_names_are_unique(self):
        table = read("\ufeffa,,a,a\n1,2,3,4\n")
        self.assertEqual(table.names, ["a", "column_2", "a_2", "a_3"])
        self.assertEqual(len(table.warnings), 3)

    def test_json_has_two_shapes(self):
        rows = read('[{"a": 1.50, "b": null}, {"a": 2, "c": true}]')
        self.assertEqual((rows.names, rows.rows), (["a", "b", "c"], [["1.50", None, None], ["2", None, "true"]]))
        by_column = read('{"a": [1, 2], "b": ["x"]}')
        self.assertEqual(by_column.rows, [["1", "x"], ["2", None]])
        self.assertTrue(rows.warnings and by_column.warnings)
        brackets = read('[{"a": "' + "[" * 100 + '\\"[", "b": [[1]]}]')
        self.assertEqual(brackets.rows, [["[" * 100 + '"[', '[["1"]]']])

    def test_what_is_no_table_is_refused(self):
        for data in ["", " \n", "[", "[1, 2]", "[]", '{"a": 1}', "[{}]", "[" * 100_000]:
            with self.assertRaises(Unreadable, msg=data[:20]):
                read(data)
        with self.assertRaises(Unreadable):
            read("a\n1\n", delimiter='"')
        with self.assertRaises(Unreadable):
            read("e", delimiter="e")
        with self.assertRaises(Unreadable):
            read(",".join("a" * 201))


class Summarizing(unittest.TestCase):
    def test_kinds(self):
        data = "i,n,d,b,t,e\n1,1.5,2026-05-31,yes,x,\n-2,\"1,000\",2026-05-31T10:00,No,2,NA\n"
        kinds = [column.kind for column in columns(data).values()]
        self.assertEqual(kinds, ["integer", "number", "date", "boolean", "text", "empty"])

    def test_numbers(self):
        column = columns("x\n2\n4\n4\n4\n5\n5\n7\n9\nN/A\n")["x"]
        self.assertEqual((column.count, column.missing, column.distinct), (8, 1, 5))
        self.assertEqual(column.most_frequent[0], ("4", 3))
        numbers = column.numbers
        self.assertEqual((numbers.min, numbers.max, numbers.sum, numbers.mean, numbers.median), (2, 9, 40, 5, 4.5))
        self.assertAlmostEqual(numbers.stddev, 2.138089935)
        self.assertIsNone(columns("x\n2\n")["x"].numbers.stddev)

    def test_what_no_float_can_hold_is_no_number(self):
        self.assertEqual(columns("x\n1e999\n")["x"].kind, "text")
        self.assertIsNone(columns("x\n" + "9" * 400 + "\n")["x"].numbers)
        self.assertIsNone(columns("x\n1e308\n1e308\n")["x"].numbers)

    def test_different_values_have_no_most_frequent_one(self):
        self.assertEqual(columns("x\na\nb\n")["x"].most_frequent, [])

    def test_groups(self):
        summary = summarize(read("team,points\nred,1\nblue,5\nred,3\n,9\n"), "team")
        found = [(group.value, group.rows, group.columns[0].numbers.mean) for group in summary.groups]
        self.assertEqual(found, [("blue", 1, 5), ("red", 2, 2), (None, 1, 9)])

    def test_groups_are_bounded_and_named(self):
        many = read("x\n" + "\n".join(map(str, range(51))))
        for table, name in [(many, "x"), (many, "y")]:
            with self.assertRaises(Unreadable):
                summarize(table, name)

    def test_a_table_without_rows(self):
        self.assertEqual([column.kind for column in summarize(read("a,b\n")).columns], ["empty", "empty"])


if __name__ == "__main__":
    unittest.main()
