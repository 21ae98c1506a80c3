"""The vendor's SDK for Python, unmodified, against `cofferdam simulate`.

    python tests/sdk/test_sdk.py target/debug/cofferdam

Needs the packages of requirements.txt. Every test starts a simulator of its own with a script, and stops it.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

import anthropic

BINARY = ""
MODEL = "claude-sonnet-5-5"
CALCULATE = {
    "name": "calculate",
    "description": "Evaluates an expression",
    "input_schema": {"type": "object", "properties": {"expression": {"type": "string"}}},
}
QUESTION = {"role": "user", "content": "What is 25 * 17?"}


class Simulator:
    """A running simulator, and the SDK's options for reaching it."""

    def __init__(self, script, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "script.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)
        self.process = subprocess.Popen(
            [BINARY, "simulate", path, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http://127.0.0.1:"):
            self.process.kill()
            raise AssertionError(f"no address: {self.url!r} {self.process.stderr.read()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
        self.process.stderr.close()
        self.folder.cleanup()

    def client(self, kind=anthropic.Anthropic, **options):
        return kind(api_key="sk-ant-test", base_url=self.url, **options)


def ask(client, **fields):
    """One question, with defaults for what a test doesn't care about."""
    return client.messages.create(**{"model": MODEL, "max_tokens": 1000, "messages": [QUESTION], **fields})


class Answers(unittest.TestCase):
    def test_create(self):
        script = '[[answer]]\ntext = "Hello."\nusage = { input_tokens = 7, output_tokens = 3 }\n'
        with Simulator(script) as simulator, simulator.client() as client:
            message = ask(client, system="be brief")
        self.assertEqual([block.text for block in message.content], ["Hello."])
        self.assertEqual((message.model, message.stop_reason), (MODEL, "end_turn"))
        self.assertEqual((message.usage.input_tokens, message.usage.output_tokens), (7, 3))
        self.assertEqual(message._request_id, "req_sim_000001")

    def test_stream(self):
        script = '[[answer]]\nthinking = "hm"\ntext = "Hello, world."\nstream = { chunk = 3, unknown_events = true }\n'
        with Simulator(script) as simulator, simulator.client() as client:
            with client.messages.stream(model=MODEL, max_tokens=1000, messages=[QUESTION]) as stream:
                pieces = list(stream.text_stream)
                message = stream.get_final_message()
        self.assertEqual((len(pieces), "".join(pieces)), (5, "Hello, world."))
        self.assertEqual([block.type for block in message.content], ["thinking", "text"])
        self.assertTrue(message.content[0].signature)
        self.assertEqual(message.usage.output_tokens_details.thinking_tokens, 1)

    def test_asynchronous(self):
        async def run(simulator):
            async with simulator.client(anthropic.AsyncAnthropic) as client:
                return await client.messages.create(model=MODEL, max_tokens=1000, messages=[QUESTION])

        with Simulator('[[answer]]\ntext = "Hello."\n') as simulator:
            self.assertEqual(asyncio.run(run(simulator)).content[0].text, "Hello.")

    def test_tools(self):
        """A call and its result, whole and streamed, with thinking sent back as it came."""
        script = """
            [[answer]]
            when = { has_tool_result = "calculate" }
            repeat = "forever"
            text = "It is {{result:calculate}}."

            [[answer]]
            repeat = "forever"
            thinking = "a calculator"
            text = "Let me see."
            tools = [{ name = "calculate", input = { expression = "25 * 17" } }]
        """
        with Simulator(script) as simulator, simulator.client() as client:
            for streams in (False, True):
                request = {"model": MODEL, "max_tokens": 1000, "tools": [CALCULATE], "messages": [QUESTION]}

                def answer():
                    if not streams:
                        return client.messages.create(**request)
                    with client.messages.stream(**request) as stream:
                        return stream.get_final_message()

                first = answer()
                self.assertEqual(first.stop_reason, "tool_use")
                call = next(block for block in first.content if block.type == "tool_use")
                self.assertEqual(call.input, {"expression": "25 * 17"})
                result = {"type": "tool_result", "tool_use_id": call.id, "content": "425"}
                request["messages"] = [
                    QUESTION,
                    {"role": "assistant", "content": first.content},
                    {"role": "user", "content": [result]},
                ]
                self.assertEqual(answer().content[0].text, "It is 425.")

    def test_an_unknown_beta(self):
        script = '[[answer]]\ntext = "Hello."\n'
        with Simulator(script) as simulator, simulator.client() as client:
            message = client.beta.messages.create(
                model=MODEL, max_tokens=1000, messages=[QUESTION], betas=["tomorrow-2027-01-01"]
            )
        self.assertEqual(message.content[0].text, "Hello.")

    def test_a_key_in_the_other_header(self):
        script = '[[answer]]\ntext = "Hello."\n'
        headers = {"x-api-key": "k", "authorization": anthropic.Omit(), "anthropic-version": "2023-06-01"}
        with Simulator(script) as simulator, simulator.client(default_headers=headers) as client:
            self.assertEqual(ask(client).content[0].text, "Hello.")


class Catalogue(unittest.TestCase):
    def test_tokens_are_counted(self):
        with Simulator('[[answer]]\ntext = ""\n') as simulator, simulator.client() as client:
            counted = client.messages.count_tokens(model=MODEL, messages=[QUESTION], tools=[CALCULATE])
        self.assertGreater(counted.input_tokens, 20)

    def test_models(self):
        with Simulator('[[answer]]\ntext = ""\n') as simulator, simulator.client() as client:
            models = list(client.models.list(limit=5))
            model = client.models.retrieve(MODEL)
            with self.assertRaises(anthropic.NotFoundError):
                client.models.retrieve("nobody")
        ids = [model.id for model in models]
        self.assertTrue(len(ids) > 15 and len(set(ids)) == len(ids) and MODEL in ids, ids)
        self.assertEqual((model.line, model.lifecycle, model.max_tokens), ("sonnet", "active", 128_000))
        types = model.capabilities.thinking.types
        self.assertTrue(types.adaptive.supported and types.between_tools.supported and not types.enabled.supported)
        self.assertTrue(model.capabilities.effort.xhigh.supported)


class Errors(unittest.TestCase):
    def test_every_status_has_its_class(self):
        classes = {
            400: anthropic.BadRequestError,
            401: anthropic.AuthenticationError,
            402: anthropic.PaymentRequiredError,
            403: anthropic.PermissionDeniedError,
            404: anthropic.NotFoundError,
            408: anthropic.RequestTimeoutError,
            409: anthropic.ConflictError,
            413: anthropic.ContentTooLargeError,
            422: anthropic.UnprocessableEntityError,
            429: anthropic.RateLimitError,
            500: anthropic.InternalServerError,
            503: anthropic.ServiceUnavailableError,
            504: anthropic.GatewayTimeoutError,
            529: anthropic.OverloadedError,
        }
        script = "".join(f"[[answer]]\nerror = {{ status = {status} }}\n" for status in classes)
        with Simulator(script) as simulator, simulator.client(max_retries=0) as client:
            for status, kind in classes.items():
                with self.assertRaises(anthropic.APIStatusError) as raised:
                    ask(client)
                self.assertIs(type(raised.exception), kind, status)
                self.assertEqual(raised.exception.status_code, status)
                self.assertTrue(raised.exception.request_id.startswith("req_sim_"))

    def test_codes_and_details(self):
        script = """
            [[answer]]
            error = { error_code = "enforced_spend_limit_reached" }

            [[answer]]
            error = { error_code = "image_dimensions_too_large", details = { max_side_length_pixels = 8000 } }
        """
        with Simulator(script) as simulator, simulator.client(max_retries=0) as client:
            with self.assertRaises(anthropic.RateLimitError) as spent:
                ask(client)
            with self.assertRaises(anthropic.BadRequestError) as large:
                ask(client)
        self.assertEqual(spent.exception.body["error"]["details"]["error_code"], "enforced_spend_limit_reached")
        self.assertEqual(large.exception.body["error"]["details"]["max_side_length_pixels"], 8000)

    def test_retries_are_counted(self):
        """Three attempts where the status or the header says so, one where not. The next answer tells how many."""
        for answer, attempts in [
            ("error = { status = 429 }\nheaders = { retry-after-ms = '1' }", 3),
            ("error = { status = 529 }\nheaders = { retry-after = '0.01' }", 3),
            ("error = { status = 400 }\nheaders = { x-should-retry = 'true', retry-after-ms = '1' }", 3),
            ("raw = { status = 502, body = '<html>' }\nheaders = { retry-after-ms = '1' }", 3),
            ("fault = { kind = 'reset' }", 3),
            ("error = { status = 400 }", 1),
            ("error = { status = 404 }", 1),
            ("error = { status = 500 }\nheaders = { x-should-retry = 'false' }", 1),
        ]:
            script = f"[[answer]]\nrepeat = {attempts}\n{answer}\n\n[[answer]]\ntext = 'after it'\n"
            with self.subTest(answer), Simulator(script) as simulator, simulator.client(max_retries=2) as client:
                with self.assertRaises(anthropic.APIError):
                    ask(client)
                self.assertEqual(ask(client).content[0].text, "after it")

    def test_retry_after_is_waited_for(self):
        script = "[[answer]]\nerror = { status = 429 }\nheaders = { retry-after = '1' }\n\n[[answer]]\ntext = 'late'\n"
        with Simulator(script) as simulator, simulator.client(max_retries=1) as client:
            began = time.monotonic()
            self.assertEqual(ask(client).content[0].text, "late")
            self.assertGreaterEqual(time.monotonic() - began, 1)

    def test_errors_in_a_stream(self):
        script = """
            [[answer]]
            text = "never finished"
            fault = { kind = "error_event", after_events = 4 }

            [[answer]]
            text = "never finished"
            fault = { kind = "close", after_events = 4 }
        """
        with Simulator(script) as simulator, simulator.client() as client:
            for kind in (anthropic.APIStatusError, Exception):
                with self.assertRaises(kind) as raised:
                    with client.messages.stream(model=MODEL, max_tokens=1000, messages=[QUESTION]) as stream:
                        stream.get_final_message()
                if kind is anthropic.APIStatusError:
                    self.assertEqual(raised.exception.body["error"]["type"], "overloaded_error")

    def test_what_the_api_refuses_is_refused(self):
        unanswered = [
            QUESTION,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "calculate", "input": {}}]},
            QUESTION,
        ]
        with Simulator("[[answer]]\ntext = 'ok'\n") as simulator, simulator.client() as client:
            for fields, words in [
                ({"extra_body": {"temperature": 1.0}}, "temperature: Extra inputs are not permitted"),
                ({"extra_body": {"reasoning": "high"}}, "reasoning: Extra inputs are not permitted"),
                ({"thinking": {"type": "disabled"}}, '"thinking.type.disabled" is not supported'),
                ({"messages": [QUESTION, {"role": "assistant", "content": "It"}]}, "assistant message prefill"),
                ({"messages": unanswered}, "without `tool_result` blocks immediately after: a"),
                ({"messages": []}, "at least one message is required"),
                (
                    {"tools": [CALCULATE], "tool_choice": {"type": "any"}},
                    'type "tool" and "any" are not supported for this model',
                ),
                ({"max_tokens": 200_000, "timeout": 9}, "max_tokens: 200000 > 128000"),
            ]:
                with self.subTest(words), self.assertRaises(anthropic.BadRequestError) as raised:
                    ask(client, **fields)
                self.assertIn(words, raised.exception.body["error"]["message"])
            with self.assertRaises(anthropic.AuthenticationError):
                ask(client, extra_headers={"authorization": anthropic.Omit()})
            self.assertEqual(ask(client).content[0].text, "ok", "a refusal spends no answer")


class Server(unittest.TestCase):
    def test_a_full_server_says_so(self):
        with Simulator("[[answer]]\ntext = 'ok'\n", "--max-connections", "1") as simulator:
            with simulator.client() as client:
                ask(client)
                while "all 1 connections are in use" not in (line := simulator.process.stderr.readline()):
                    self.assertTrue(line, "the log ended")


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    # Neither the user's key nor a profile on disk takes part.
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        os.environ["XDG_CONFIG_HOME"] = home
        print(f"anthropic {anthropic.__version__}", json.dumps({"python": sys.version.split()[0]}))
        unittest.main(verbosity=2)
