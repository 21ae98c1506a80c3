import unittest

from letters import count_letter


class CountLetter(unittest.TestCase):
    def test_case_makes_no_difference(self):
        self.assertEqual(count_letter("Strawberry R", "r"), 4)

    def test_two_letters_are_refused(self):
        for letter in ("", "ab"):
            with self.assertRaises(ValueError):
                count_letter("text", letter)


if __name__ == "__main__":
    unittest.main()
