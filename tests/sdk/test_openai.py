"""OpenAI's SDK for Python, unmodified, against `cofferdam simulate`: `chat.completions` and `models`.

    python tests/sdk/test_openai.py target/debug/cofferdam

Needs the packages of requirements.txt. Every test starts a simulator of its own with a script, and stops it.
"""

import asyncio
import json
import time
import unittest

import openai
from simulator import Simulator as AnySimulator
from simulator import run_tests

MODEL = "claude-sonnet-5-5"
PARAMETERS = {"type": "object", "properties": {"expression": {"type": "string"}}}
CALCULATE = {
    "type": "function",
    "function": {"name": "calculate", "description": "Evaluates an expression", "parameters": PARAMETERS},
}
QUESTION = {"role": "user", "content": "What is 25 * 17?"}


class Simulator(AnySimulator):
    def client(self, kind=openai.OpenAI, **options):
        return kind(api_key="sk-test", base_url=self.url + "/v1", **options)


def ask(client, **fields):
    """One question, with defaults for what a test doesn't care about."""
    return client.chat.completions.create(**{"model": MODEL, "messages": [QUESTION], **fields})


def collect(client, **fields):
    """The answer to one question, streamed, as the SDK assembles it."""
    with client.chat.completions.stream(**{"model": MODEL, "messages": [QUESTION], **fields}) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion()


class Answers(unittest.TestCase):
    def test_create(self):
        script = """
            [[answer]]
            text = "Hello."
            usage = { input_tokens = 7, output_tokens = 3, cache_read_input_tokens = 2 }
        """
        with Simulator(script) as simulator, simulator.client() as client:
            answer = ask(client, messages=[{"role": "developer", "content": "be brief"}, QUESTION])
        (choice,) = answer.choices
        self.assertEqual((choice.message.role, choice.message.content), ("assistant", "Hello."))
        self.assertEqual((choice.index, choice.finish_reason, choice.message.tool_calls), (0, "stop", None))
        self.assertEqual((answer.object, answer.model), ("chat.completion", MODEL))
        self.assertGreater(answer.created, 0)
        usage = answer.usage
        self.assertEqual((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (9, 3, 12))
        self.assertEqual(usage.prompt_tokens_details.cached_tokens, 2)
        self.assertEqual(answer._request_id, "req_sim_000001")

    def test_stream(self):
        script = """
            [[answer]]
            repeat = "forever"
            thinking = "hm"
            text = "Hello, world."
            usage = { input_tokens = 7, output_tokens = 3 }
            stream = { chunk = 3, unknown_events = true, ping_every = 2 }
        """
        with Simulator(script) as simulator, simulator.client() as client:
            chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
            without_usage = list(ask(client, stream=True))
        self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        self.assertEqual(deltas[0].role, "assistant")
        self.assertEqual("".join(delta.content or "" for delta in deltas), "Hello, world.")
        self.assertEqual("".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas), "hm")
        reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
        self.assertEqual((reasons[-1], set(reasons[:-1])), ("stop", {None}))
        # Usage comes in a chunk of its own, at the end, and only where it was requested.
        self.assertEqual((chunks[-1].choices, chunks[-1].usage.total_tokens), ([], 10))
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1] + without_usage))
        self.assertEqual(len(without_usage), len(chunks) - 1)

    def test_the_helper_for_streams(self):
        script = '[[answer]]\ntext = "Hello, world."\nstream = { chunk = 3 }\n'
        with Simulator(script) as simulator, simulator.client() as client:
            answer = collect(client, stream_options={"include_usage": True})
        self.assertEqual(answer.choices[0].message.content, "Hello, world.")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertGreater(answer.usage.prompt_tokens, 10)

    def test_asynchronous(self):
        async def run(simulator):
            async with simulator.client(openai.AsyncOpenAI) as client:
                whole = await client.chat.completions.create(model=MODEL, messages=[QUESTION])
                stream = await client.chat.completions.create(model=MODEL, messages=[QUESTION], stream=True)
                pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
                return whole.choices[0].message.content, "".join(pieces)

        with Simulator('[[answer]]\nrepeat = 2\ntext = "Hello."\n') as simulator:
            self.assertEqual(asyncio.run(run(simulator)), ("Hello.", "Hello."))

    def test_tools(self):
        """Parallel calls and their results, whole and streamed."""
        script = """
            [[answer]]
            when = { has_tool_result = "calculate" }
            repeat = "forever"
            text = "It is {{last_tool_results}}."

            [[answer]]
            repeat = "forever"
            text = "Let me see."
            tools = [
              { name = "calculate", input = { expression = "25 * 17" } },
              { name = "calculate", input = { expression = "2 * 3" } },
            ]
            stream = { chunk = 4 }
        """
        with Simulator(script) as simulator, simulator.client() as client:
            for answer in (ask, collect):
                with self.subTest(answer.__name__):
                    options = {"tools": [CALCULATE], "parallel_tool_calls": True, "tool_choice": "auto"}
                    first = answer(client, **options).choices[0]
                    self.assertEqual((first.finish_reason, first.message.content), ("tool_calls", "Let me see."))
                    calls = first.message.tool_calls
                    self.assertEqual([call.type for call in calls], ["function"] * 2)
                    self.assertEqual(len({call.id for call in calls}), 2)
                    self.assertEqual([call.function.name for call in calls], ["calculate"] * 2)
                    inputs = [json.loads(call.function.arguments)["expression"] for call in calls]
                    self.assertEqual(inputs, ["25 * 17", "2 * 3"])
                    results = [
                        {"role": "tool", "tool_call_id": call.id, "content": result}
                        for call, result in zip(calls, ["425", "6"])
                    ]
                    # The SDK's own object is what programs send back.
                    second = answer(client, **options, messages=[QUESTION, first.message, *results])
                    self.assertEqual(second.choices[0].message.content, "It is 425\n6.")

    def test_reasons_for_the_end(self):
        for stop_reason, finish_reason in [
            ("end_turn", "stop"),
            ("max_tokens", "length"),
            ("refusal", "content_filter"),
        ]:
            script = f"[[answer]]\nrepeat = 2\ntext = 'x'\nstop_reason = '{stop_reason}'\n"
            with self.subTest(stop_reason), Simulator(script) as simulator, simulator.client() as client:
                self.assertEqual(ask(client).choices[0].finish_reason, finish_reason)
                self.assertEqual(list(ask(client, stream=True))[-1].choices[0].finish_reason, finish_reason)

    def test_every_parameter_is_accepted(self):
        """Those that its reference documents for models of text."""
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
        named = {"type": "function", "function": {"name": "calculate"}}
        schema = {"name": "answer", "strict": True, "schema": {"type": "object", "properties": {}}}
        with Simulator("[[answer]]\nrepeat = 'forever'\ntext = 'ok'\n") as simulator, simulator.client() as client:
            for fields in [
                {"temperature": 1.5, "top_p": 0.5, "seed": 7, "n": 1, "stop": ["\n"], "user": "u"},
                {"frequency_penalty": 1, "presence_penalty": -1, "logit_bias": {"1": 1}, "store": False},
                {"logprobs": True, "top_logprobs": 2},
                {"max_completion_tokens": 9, "reasoning_effort": "low", "verbosity": "low", "metadata": {"a": "b"}},
                {"max_tokens": 9, "service_tier": "auto", "safety_identifier": "s", "modalities": ["text"]},
                {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "web_search_options": {}},
                {"response_format": {"type": "json_schema", "json_schema": schema}},
                {"response_format": {"type": "json_object"}, "prediction": {"type": "content", "content": "x"}},
                {"tools": [CALCULATE], "tool_choice": named},
                {"tools": [CALCULATE], "tool_choice": "required", "stream": True},
                {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]},
                {"messages": [QUESTION, {"role": "assistant", "content": None, "refusal": "No."}, QUESTION]},
                {"messages": [{"role": "system", "content": [{"type": "text", "text": "be brief"}]}, QUESTION]},
                {"messages": [{"role": "user", "content": "hi", "name": "me"}]},
            ]:
                with self.subTest(fields):
                    answer = ask(client, **fields)
                    self.assertTrue(list(answer) if "stream" in fields else answer.choices[0].message.content)


class Catalogue(unittest.TestCase):
    def test_models(self):
        with Simulator('[[answer]]\ntext = ""\n') as simulator, simulator.client() as client:
            models = list(client.models.list())
            model = client.models.retrieve(MODEL)
            with self.assertRaises(openai.NotFoundError) as raised:
                client.models.retrieve("nobody")
        ids = [model.id for model in models]
        self.assertTrue(len(ids) > 15 and len(set(ids)) == len(ids) and MODEL in ids, ids)
        self.assertEqual((model.id, model.object, model.owned_by), (MODEL, "model", "simulator"))
        self.assertGreater(model.created, 1_700_000_000)
        self.assertIn(model, models)
        self.assertEqual(raised.exception.code, "model_not_found")

    def test_the_responses_api_isnt_there(self):
        with Simulator('[[answer]]\ntext = "ok"\n') as simulator, simulator.client() as client:
            with self.assertRaises(openai.NotFoundError) as raised:
                client.responses.create(model=MODEL, input="What is 25 * 17?")
            self.assertIn("only /v1/chat/completions is simulated, not /v1/responses", raised.exception.message)
            with self.assertRaises(openai.NotFoundError) as raised:
                client.responses.retrieve("resp_1")
            self.assertIn("only /v1/chat/completions is simulated", raised.exception.message)
            self.assertEqual(ask(client).choices[0].message.content, "ok", "a refusal spends no answer")


class Errors(unittest.TestCase):
    def test_every_status_has_its_class(self):
        classes = {
            400: (openai.BadRequestError, "invalid_request_error", None),
            401: (openai.AuthenticationError, "invalid_request_error", "invalid_api_key"),
            402: (openai.APIStatusError, "insufficient_quota", "insufficient_quota"),
            403: (openai.PermissionDeniedError, "invalid_request_error", None),
            404: (openai.NotFoundError, "invalid_request_error", None),
            408: (openai.APIStatusError, "invalid_request_error", None),
            409: (openai.ConflictError, "invalid_request_error", None),
            413: (openai.APIStatusError, "invalid_request_error", None),
            422: (openai.UnprocessableEntityError, "invalid_request_error", None),
            429: (openai.RateLimitError, "requests", "rate_limit_exceeded"),
            500: (openai.InternalServerError, "server_error", None),
            502: (openai.InternalServerError, "server_error", None),
            503: (openai.InternalServerError, "server_error", None),
            504: (openai.InternalServerError, "server_error", None),
        }
        script = "".join(f"[[answer]]\nerror = {{ status = {status} }}\n" for status in classes)
        with Simulator(script) as simulator, simulator.client(max_retries=0) as client:
            for status, (kind, error_type, code) in classes.items():
                with self.subTest(status), self.assertRaises(openai.APIStatusError) as raised:
                    ask(client)
                error = raised.exception
                self.assertIs(type(error), kind, status)
                self.assertEqual((error.status_code, error.type, error.code), (status, error_type, code))
                self.assertTrue(error.request_id.startswith("req_sim_"))
                self.assertTrue(error.body["message"])

    def test_codes(self):
        script = """
            [[answer]]
            error = { status = 429, type = "insufficient_quota", error_code = "insufficient_quota" }

            [[answer]]
            error = { status = 400, error_code = "context_length_exceeded", message = "It is too long." }
        """
        with Simulator(script) as simulator, simulator.client(max_retries=0) as client:
            with self.assertRaises(openai.RateLimitError) as spent:
                ask(client)
            with self.assertRaises(openai.BadRequestError) as long:
                ask(client)
        self.assertEqual((spent.exception.type, spent.exception.code), ("insufficient_quota",) * 2)
        self.assertEqual(long.exception.code, "context_length_exceeded")
        self.assertEqual(long.exception.body["message"], "It is too long.")

    def test_retries_are_counted(self):
        """Three attempts where the status or the header says so, one where not. The next answer tells how many."""
        for answer, attempts in [
            ("error = { status = 429 }\nheaders = { retry-after-ms = '1' }", 3),
            ("error = { status = 500 }\nheaders = { retry-after = '0.01' }", 3),
            ("error = { status = 408 }\nheaders = { retry-after-ms = '1' }", 3),
            ("error = { status = 409 }\nheaders = { retry-after-ms = '1' }", 3),
            ("error = { status = 400 }\nheaders = { x-should-retry = 'true', retry-after-ms = '1' }", 3),
            ("raw = { status = 502, body = '<html>' }\nheaders = { retry-after-ms = '1' }", 3),
            ("fault = { kind = 'reset' }", 3),
            ("fault = { kind = 'close', after_head_bytes = 20 }", 3),
            ("error = { status = 400 }", 1),
            ("error = { status = 404 }", 1),
            ("error = { status = 500 }\nheaders = { x-should-retry = 'false' }", 1),
        ]:
            script = f"[[answer]]\nrepeat = {attempts}\n{answer}\n\n[[answer]]\ntext = 'after it'\n"
            with self.subTest(answer), Simulator(script) as simulator, simulator.client(max_retries=2) as client:
                with self.assertRaises(openai.APIError):
                    ask(client)
                self.assertEqual(ask(client).choices[0].message.content, "after it")

    def test_a_dropped_connection_has_its_class(self):
        for fault in ("{ kind = 'reset' }", "{ kind = 'close' }", "{ kind = 'garbage', at = 'request' }"):
            script = f"[[answer]]\nfault = {fault}\n"
            with self.subTest(fault), Simulator(script) as simulator, simulator.client(max_retries=0) as client:
                with self.assertRaises(openai.APIConnectionError):
                    ask(client)
        with Simulator("[[answer]]\nfault = { kind = 'stall' }\n") as simulator:
            with simulator.client(max_retries=0, timeout=0.2) as client, self.assertRaises(openai.APITimeoutError):
                ask(client)

    def test_retry_after_is_waited_for(self):
        script = "[[answer]]\nerror = { status = 429 }\nheaders = { retry-after = '1' }\n\n[[answer]]\ntext = 'late'\n"
        with Simulator(script) as simulator, simulator.client(max_retries=1) as client:
            began = time.monotonic()
            self.assertEqual(ask(client).choices[0].message.content, "late")
            self.assertGreaterEqual(time.monotonic() - began, 1)

    def test_errors_in_a_stream(self):
        script = """
            [[answer]]
            text = "never finished"
            fault = { kind = "error_event", after_events = 2 }

            [[answer]]
            text = "never finished"
            fault = { kind = "close", after_events = 2 }
        """
        with Simulator(script) as simulator, simulator.client() as client:
            with self.assertRaises(openai.APIError) as raised:
                list(ask(client, stream=True))
            self.assertEqual((raised.exception.message, raised.exception.type), ("Overloaded", "server_error"))
            with self.assertRaises(openai.APIConnectionError):
                list(ask(client, stream=True))

    def test_what_the_api_refuses_is_refused(self):
        call = {"id": "a", "type": "function", "function": {"name": "calculate", "arguments": "{}"}}
        answer = {"role": "assistant", "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": "a", "content": "425"}
        long = {**call, "id": "a" * 41}
        with Simulator("[[answer]]\ntext = 'ok'\n") as simulator, simulator.client() as client:
            for fields, words, param in [
                ({"extra_body": {"thinking": {}}}, "Unknown parameter: 'thinking'", "thinking"),
                ({"messages": []}, "'messages'", "messages"),
                ({"messages": [QUESTION, answer, QUESTION]}, "did not have response messages: a", "messages.[2].role"),
                ({"messages": [QUESTION, result]}, "must be a response to a preceeding message", "messages.[1].role"),
                (
                    {"messages": [QUESTION, {**answer, "tool_calls": [long]}, {**result, "tool_call_id": "a" * 41}]},
                    "string too long. Expected a string with maximum length 40, but got a string with length 41",
                    "messages[1].tool_calls[0].id",
                ),
                ({"max_tokens": 9, "max_completion_tokens": 9}, "at the same time", None),
                ({"max_tokens": 0}, "max_tokens", "max_tokens"),
                ({"temperature": 2.5}, "temperature", "temperature"),
                ({"tool_choice": "auto"}, "'tool_choice' is only allowed when 'tools' are specified", "tool_choice"),
                ({"stream_options": {"include_usage": True}}, "stream_options", "stream_options"),
                (
                    {"tools": [{**CALCULATE, "function": {"name": "a b"}}]},
                    "does not match pattern",
                    "tools[0].function.name",
                ),
            ]:
                with self.subTest(words), self.assertRaises(openai.BadRequestError) as raised:
                    ask(client, **fields)
                self.assertIn(words, raised.exception.body["message"])
                self.assertEqual(raised.exception.param, param)
            self.assertEqual(ask(client).choices[0].message.content, "ok", "a refusal spends no answer")


if __name__ == "__main__":
    run_tests(openai)
