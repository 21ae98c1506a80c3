"""Describes the tools to the host, and connects them with the logic. `wit_world` is generated when the component is built."""

import json

from componentize_py_types import Err

import letters
from wit_world import exports
from wit_world.exports import tools

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "The text to search."},
        "letter": {"type": "string", "description": "The letter to count, such as `r`."},
    },
    "required": ["text", "letter"],
    "additionalProperties": False,
}


class Tools(exports.Tools):
    def list_tools(self) -> list[tools.Tool]:
        return [
            tools.Tool(
                name="count_letter",
                description="Counts how often a letter occurs in a text. Upper and lower case are the same letter.",
                input_schema=json.dumps(SCHEMA),
                annotations=tools.Annotations(read_only=True, idempotent=True, destructive=False),
            )
        ]

    def call_tool(self, name: str, input: str) -> list[tools.Content]:
        # The host has checked the input against the schema.
        arguments = json.loads(input)
        try:
            count = letters.count_letter(arguments["text"], arguments["letter"])
        except ValueError as error:
            raise Err(tools.Error_InvalidInput(str(error)))
        return [tools.Content_Json(json.dumps({"count": count}))]
