"""Anthropic's SDK for Python, unmodified, against `cofferdam simulate`.

    python tests/sdk/test_anthropic.py target/debug/cofferdam

Needs the packages of requirements.txt. Every test starts a simulator of its own with a script, and stops it.
"""

import asyncio
import time
import unittest

import anthropic
from simulator import Simulator as AnySimulator
from simulator import run_tests

MODEL = "claude-sonnet-5-5"
CALCULATE = {
    "name": "calculate",
    "description": "Evaluates an expression",
    "input_schema": {"type": "object", "properties": {"expression": {"type": "string"}}},
}
QUESTION = {"role": "user", "content": "What is 25 * 17?"}


class Simulator(AnySimulator):
    def client(self, kind=anthropic.Anthropic, **options):
        return kind(api_key="sk-ant-test", base_url=self.url, **options)


def ask(client, **fields):
    """One question, with defaults for what a test doesn't care about."""
    return client.messages.create(**{"model": MODEL, "max_tokens": 1000, "messages": [QUESTION], **fields})


def collect(client, **fields):
    """The same, streamed, as the SDK assembles it."""
    with client.messages.stream(**{"model": MODEL, "max_tokens": 1000, "messages": [QUESTION], **fields}) as stream:
        return stream.get_final_message()


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

    def test_events(self):
        """The stream as it is, without the helper that assembles it."""
        with Simulator('[[answer]]\ntext = "Hello."\n') as simulator, simulator.client() as client:
            events = list(ask(client, stream=True))
        kinds = [event.type for event in events]
        self.assertEqual(kinds[:2], ["message_start", "content_block_start"])
        self.assertEqual(kinds[-2:], ["message_delta", "message_stop"])
        self.assertEqual(events[-2].delta.stop_reason, "end_turn")
        self.assertGreater(events[-2].usage.output_tokens, 0)

    def test_asynchronous(self):
        request = {"model": MODEL, "max_tokens": 1000, "messages": [QUESTION]}

        async def run(simulator):
            async with simulator.client(anthropic.AsyncAnthropic) as client:
                whole = await client.messages.create(**request)
                async with client.messages.stream(**request) as stream:
                    pieces = [piece async for piece in stream.text_stream]
                return whole.content[0].text, "".join(pieces)

        with Simulator('[[answer]]\nrepeat = 2\ntext = "Hello."\n') as simulator:
            self.assertEqual(asyncio.run(run(simulator)), ("Hello.", "Hello."))

    def test_parallel_tools(self):
        """Two calls in one answer, and both results in one message, whole and streamed."""
        script = """
            [[answer]]
            when = { has_tool_result = "calculate" }
            repeat = "forever"
            text = "It is {{last_tool_results}}."

            [[answer]]
            repeat = "forever"
            tools = [
              { name = "calculate", input = { expression = "25 * 17" } },
              { name = "calculate", input = { expression = "1 / 0" } },
            ]
            stream = { chunk = 3 }
        """
        with Simulator(script) as simulator, simulator.client() as client:
            for answer in (ask, collect):
                with self.subTest(answer.__name__):
                    first = answer(client, tools=[CALCULATE], tool_choice={"type": "auto"})
                    self.assertEqual([call.input["expression"] for call in first.content], ["25 * 17", "1 / 0"])
                    results = [
                        {"type": "tool_result", "tool_use_id": call.id, "content": content, "is_error": is_error}
                        for call, (content, is_error) in zip(first.content, [("425", False), ("no number", True)])
                    ]
                    said = {"role": "assistant", "content": first.content}
                    messages = [QUESTION, said, {"role": "user", "content": results}]
                    second = answer(client, tools=[CALCULATE], messages=messages)
                    self.assertEqual(second.content[0].text, "It is 425\nno number.")

    def test_reasons_for_the_end(self):
        reasons = ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded"]
        for reason in reasons:
            script = f"[[answer]]\nrepeat = 2\ntext = 'x'\nstop_reason = '{reason}'\n"
            with self.subTest(reason), Simulator(script) as simulator, simulator.client() as client:
                self.assertEqual((ask(client).stop_reason, collect(client).stop_reason), (reason, reason))

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

    def test_tools_are_searched_for(self):
        script = '[[answer]]\ntools = [{ name = "calculate", input = {} }]\n[[answer]]\ntext = "425"\n'
        search = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
        tools = [CALCULATE | {"defer_loading": True}, search]
        with Simulator(script) as simulator, simulator.client() as client:
            first = collect(client, tools=tools)
            call = first.content[-1]
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "425"}
            turn = [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
            second = ask(client, tools=tools, messages=[QUESTION, *turn])
            with self.assertRaises(anthropic.BadRequestError):
                ask(client, tools=tools[:1])
        kinds = [block.type for block in first.content]
        self.assertEqual(kinds, ["server_tool_use", "tool_search_tool_result", "tool_use"])
        found = first.content[1].content.tool_references
        self.assertEqual([reference.tool_name for reference in found], ["calculate"])
        self.assertEqual(second.content[0].text, "425")

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
            bare = client.messages.count_tokens(model=MODEL, messages=[QUESTION])
            full = client.messages.count_tokens(model=MODEL, messages=[QUESTION], tools=[CALCULATE], system="be brief")
            self.assertGreater(full.input_tokens, bare.input_tokens)
            # It refuses what a request for an answer is refused for, and takes no answer of the script.
            with self.assertRaises(anthropic.BadRequestError):
                client.messages.count_tokens(model=MODEL, messages=[])
            self.assertEqual(ask(client).stop_reason, "end_turn")

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
            412: anthropic.PreconditionFailedError,
            413: anthropic.ContentTooLargeError,
            422: anthropic.UnprocessableEntityError,
            429: anthropic.RateLimitError,
            431: anthropic.RequestHeaderFieldsTooLargeError,
            499: anthropic.ClientClosedRequestError,
            500: anthropic.InternalServerError,
            501: anthropic.HTTPNotImplementedError,
            502: anthropic.InternalServerError,
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

    def test_a_dropped_connection_has_its_class(self):
        for fault in ("{ kind = 'reset' }", "{ kind = 'close' }", "{ kind = 'garbage', at = 'request' }"):
            script = f"[[answer]]\nfault = {fault}\n"
            with self.subTest(fault), Simulator(script) as simulator, simulator.client(max_retries=0) as client:
                with self.assertRaises(anthropic.APIConnectionError):
                    ask(client)
        with Simulator("[[answer]]\nfault = { kind = 'stall' }\n") as simulator:
            with simulator.client(max_retries=0, timeout=0.2) as client, self.assertRaises(anthropic.APITimeoutError):
                ask(client)

    def test_retry_after_is_waited_for(self):
        script = "[[answer]]\nerror = { status = 429 }\nheaders = { retry-after = '1' }\n\n[[answer]]\ntext = 'late'\n"
        with Simulator(script) as simulator, simulator.client(max_retries=1) as client:
            began = time.monotonic()
            self.assertEqual(ask(client).content[0].text, "late")
            self.assertGreaterEqual(time.monotonic() - began, 1)

    def test_rate_limits_are_announced_and_waited_for(self):
        script = "rate_limits = { requests = 1, per = '1s' }\n[[answer]]\ntext = 'ok'\nrepeat = 'forever'\n"
        with Simulator(script) as simulator, simulator.client() as client:
            first = client.messages.with_raw_response.create(model=MODEL, max_tokens=10, messages=[QUESTION])
            self.assertEqual(first.headers["anthropic-ratelimit-requests-limit"], "1")
            self.assertEqual(first.headers["anthropic-ratelimit-requests-remaining"], "0")
            with self.assertRaises(anthropic.RateLimitError) as refused:
                ask(client.with_options(max_retries=0))
            self.assertEqual(refused.exception.response.headers["retry-after"], "1")
            began = time.monotonic()
            ask(client.with_options(max_retries=1))
            self.assertGreaterEqual(time.monotonic() - began, 0.8)

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
    run_tests(anthropic)
