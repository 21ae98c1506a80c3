"""Connects the logic with the functions of `wit/world.wit`. `wit_world` is generated when the component is built."""

from componentize_py_types import Err

import letters
import wit_world


class WitWorld(wit_world.WitWorld):
    def count_letter(self, text: str, letter: str) -> int:
        try:
            return letters.count_letter(text, letter)
        except ValueError as error:
            raise Err(str(error))
