"""An MCP server with one tool that asks an API, with a placeholder as its key."""

import httpx
from mcp.server.mcpserver import MCPServer

server = MCPServer("weather")


@server.tool()
def look(what: str) -> str:
    """Says what something is like."""
    answer = httpx.post("https://api.example.test/look", headers={"X-Api-Key": "<<pat>>"}, json={"what": what})
    return f"{answer.status_code} {answer.text}"


server.run()
