"""A client of `cofferdam mcp` over stdio that has many calls in flight. Needs nothing but Python."""

import itertools
import json
import subprocess
import threading
from concurrent.futures import Future


class Answer:
    """The result of one tool call."""

    def __init__(self, result):
        meta = result["_meta"]
        self.text = "".join(part.get("text", "") for part in result["content"])
        self.is_error = result.get("isError", False)
        self.outcome = meta["cofferdam/outcome"]
        self.fuel = meta["cofferdam/fuel"]
        self.peak_memory = meta["cofferdam/peak_memory_bytes"]

    def __repr__(self):
        return f"{self.outcome}: {self.text[:500]} (fuel {self.fuel}, peak memory {self.peak_memory})"


class Client:
    """A server of its own, which ends with the `with` block."""

    def __init__(self, binary, arguments, folder, env):
        self.server = subprocess.Popen(
            [binary, "mcp", "--quiet", *arguments],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ids = itertools.count(1)
        self.waiting = {}
        self.lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()
        about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "conformance", "version": "1"}}
        self._request("initialize", about).result(timeout=300)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        try:
            self.server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()

    def tools(self):
        return self._request("tools/list", {}).result(timeout=60)["tools"]

    def start(self, tool, arguments):
        """Starts a call. The server takes at most 64 at a time."""
        return self._request("tools/call", {"name": tool, "arguments": arguments})

    def call(self, tool, **arguments):
        return Answer(self.start(tool, arguments).result(timeout=120))

    def _request(self, method, params):
        number, future = next(self.ids), Future()
        with self.lock:
            self.waiting[number] = future
        self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return future

    def _write(self, message):
        with self.lock:
            self.server.stdin.write(json.dumps(message) + "\n")
            self.server.stdin.flush()

    def _read(self):
        for line in self.server.stdout:
            message = json.loads(line)
            with self.lock:
                future = self.waiting.pop(message.get("id"), None)
            if future is None:
                continue
            if "error" in message:
                future.set_exception(AssertionError(message["error"]))
            else:
                future.set_result(message["result"])
        with self.lock:
            waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            future.set_exception(AssertionError("the server ended"))
