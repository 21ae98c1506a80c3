"""The official MCP client against the real binary: `python test_client.py PATH_TO_COFFERDAM`.

Every test runs over stdio and HTTP, with the newest revision of the protocol, with the two before it, and with the one that the
client finds out.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import mcp.client.session
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

BINARY = sys.argv[1]
TOKEN = "a-token-of-this-test"
PLUGINS = ["--plugin", "builtin:calculator", "--plugin", "builtin:faulty"]
OLDER = ["2025-11-25", "2025-06-18"]
MODES = ["2026-07-28", *OLDER, "auto"]


@contextlib.asynccontextmanager
async def connected(transport, mode, **options):
    """Of the older revisions, the client offers its newest one. What it calls that can be changed, and is what it then speaks."""
    if mode in OLDER:
        mcp.client.session.LATEST_HANDSHAKE_VERSION = mode
    async with Client(transport, mode="legacy" if mode in OLDER else mode, **options) as client:
        assert mode in ("auto", client.protocol_version), (mode, client.protocol_version)
        yield client


@contextlib.asynccontextmanager
async def over_stdio(mode, arguments=PLUGINS, **options):
    parameters = StdioServerParameters(command=BINARY, args=["mcp", "--quiet", *arguments], env=dict(os.environ))
    async with connected(stdio_client(parameters), mode, **options) as client:
        yield client


@contextlib.asynccontextmanager
async def http_server(*arguments):
    server = await asyncio.create_subprocess_exec(
        BINARY, "mcp", "--quiet", "--http", "127.0.0.1:0", "--token-env", "TEST_TOKEN", *(arguments or PLUGINS),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "TEST_TOKEN": TOKEN})
    try:
        yield (await server.stdout.readline()).decode().strip()
    finally:
        server.terminate()
        assert await server.wait() == 0


@contextlib.asynccontextmanager
async def over_http(mode, arguments=PLUGINS, **options):
    import httpx2 as httpx

    async with http_server(*arguments) as url:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http:
            async with connected(streamable_http_client(url, http_client=http), mode, **options) as client:
                yield client


def text(result):
    return "".join(part.text for part in result.content if part.type == "text")


def meta(result, name):
    return (result.meta or {}).get(f"cofferdam/{name}")


async def lists_and_calls(client):
    tools = (await client.list_tools()).tools
    names = [tool.name for tool in tools]
    assert "calculate" in names, names
    assert names == [tool.name for tool in (await client.list_tools()).tools]
    calculate = next(tool for tool in tools if tool.name == "calculate")
    assert calculate.input_schema["type"] == "object" and calculate.description
    assert calculate.annotations.read_only_hint is True
    result = await client.call_tool("calculate", {"expression": "25 * 17"})
    assert not result.is_error and text(result) == "425", result
    assert meta(result, "outcome") == "ok" and meta(result, "fuel") > 0 and meta(result, "peak_memory_bytes") > 0


async def failures_are_results_and_unknown_tools_are_errors(client):
    for name, arguments, outcome, words in [
        ("calculate", {"expression": 7}, "invalid_input", "expression"),
        ("calculate", {}, "invalid_input", "expression"),
        ("panic", {}, "trapped", "crashed"),
    ]:
        result = await client.call_tool(name, arguments)
        assert result.is_error and meta(result, "outcome") == outcome and words in text(result), result
    try:
        await client.call_tool("no_such_tool", {})
    except MCPError as error:
        assert error.error.code == -32602 and "no_such_tool" in error.error.message, error.error
    else:
        raise AssertionError("an unknown tool is a protocol error")


async def many_calls_are_in_flight(client):
    calls = [client.call_tool("calculate", {"expression": f"{number} + 1"}) for number in range(48)]
    assert [text(result) for result in await asyncio.gather(*calls)] == [str(number + 1) for number in range(48)]


async def a_cancelled_call_ends_and_the_next_one_works(client):
    call = asyncio.create_task(client.call_tool("loop_forever", {}))
    await asyncio.sleep(0.3)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    started = time.monotonic()
    assert text(await client.call_tool("calculate", {"expression": "1 + 1"})) == "2"
    assert time.monotonic() - started < 5


TESTS = [
    lists_and_calls,
    failures_are_results_and_unknown_tools_are_errors,
    many_calls_are_in_flight,
    a_cancelled_call_ends_and_the_next_one_works,
]


async def a_reloaded_component_changes_the_list():
    """A client of either era is notified, and calls the new tool."""
    for mode in MODES:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "cofferdam.toml")
            config.write_text('[plugins.calculator]\ncomponent = "builtin:calculator"\n')
            notified = asyncio.Event()

            async def on_message(message):
                if "tools/list_changed" in repr(message) or "ToolListChanged" in repr(message):
                    notified.set()

            async with over_stdio(mode, ["--config", str(config), "--watch"], message_handler=on_message) as client:
                async def change():
                    config.write_text('[plugins.calculator]\ncomponent = "builtin:calculator"\n'
                                      '[plugins.faulty]\ncomponent = "builtin:faulty"\n')

                if mode in OLDER:
                    await change()
                    await asyncio.wait_for(notified.wait(), 30)
                else:
                    async with client.listen(tools_list_changed=True) as changes:
                        await change()
                        async with asyncio.timeout(30):
                            async for _ in changes:
                                break
                names = [tool.name for tool in (await client.list_tools(cache_mode="bypass")).tools]
                assert "panic" in names and "calculate" in names, names


async def raw(process, *messages):
    for message in messages:
        process.stdin.write((message if isinstance(message, str) else json.dumps(message)).encode() + b"\n")
    await process.stdin.drain()


async def what_is_no_message_is_answered():
    process = await asyncio.create_subprocess_exec(
        BINARY, "mcp", "--quiet", *PLUGINS, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        limit=64 * 1024 * 1024)
    read = lambda: asyncio.wait_for(process.stdout.readline(), 30)
    for line, code in [("{garbage", -32700), ("[]", -32600), ('{"jsonrpc": "2.0", "id": 1}', -32600),
                       ("x" * (17 * 1024 * 1024), -32600)]:
        await raw(process, line)
        answer = json.loads(await read())
        assert answer["error"]["code"] == code, (line[:30], answer)
    await raw(process, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "1999-01-01", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}})
    answer = json.loads(await read())
    assert re.match(r"20\d\d-", answer["result"]["protocolVersion"]), answer
    # A client that leaves while a call runs leaves nothing behind.
    await raw(process, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "loop_forever", "arguments": {}}})
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def only_clients_with_leave_are_served_over_http():
    import httpx2 as httpx

    async with http_server() as url:
        base = url.removesuffix("/mcp")
        leave = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient() as http:
            for expected, method, path, headers in [
                (200, "GET", "/healthz", leave),
                (401, "GET", "/healthz", {}),
                (401, "POST", "/mcp", {"Authorization": "Bearer wrong"}),
                (403, "GET", "/healthz", {**leave, "Host": "attacker.example"}),
                (403, "GET", "/healthz", {**leave, "Origin": "https://attacker.example"}),
                (404, "GET", "/", leave),
                (406, "POST", "/mcp", {**leave, "Accept": "text/html"}),
                (415, "POST", "/mcp", leave),
            ]:
                answer = await http.request(method, base + path, headers=headers)
                assert answer.status_code == expected, (expected, method, path, headers, answer.status_code, answer.text)


async def main():
    for connect in [over_stdio, over_http]:
        for mode in MODES:
            for test in TESTS:
                started = time.monotonic()
                async with connect(mode) as client:
                    await test(client)
                print(f"ok {time.monotonic() - started:5.2f} s  {connect.__name__} {mode} {test.__name__}", flush=True)
    for test in [a_reloaded_component_changes_the_list, what_is_no_message_is_answered,
                 only_clients_with_leave_are_served_over_http]:
        started = time.monotonic()
        await test()
        print(f"ok {time.monotonic() - started:5.2f} s  {test.__name__}", flush=True)


asyncio.run(main())
