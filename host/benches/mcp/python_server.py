"""The calculator as a native tool of the official SDK's server: `python python_server.py stdio|http`."""

import socket
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("calculator")


@server.tool()
def calculate(expression: str) -> str:
    left, right = expression.split("*")
    return str(int(left) * int(right))


if sys.argv[1] == "stdio":
    server.run()
else:
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    app = server.streamable_http_app(stateless_http=True, json_response=True)
    uvicorn.Server(uvicorn.Config(app, log_level="info")).run(sockets=[listener])
