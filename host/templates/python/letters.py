"""The tool's logic, in plain Python: `python3 -m unittest` runs it natively."""


def count_letter(text: str, letter: str) -> int:
    """Counts how often a letter occurs in a text. Upper and lower case are the same letter."""
    if len(letter) != 1:
        raise ValueError("`letter` must be one character")
    return text.lower().count(letter.lower())
