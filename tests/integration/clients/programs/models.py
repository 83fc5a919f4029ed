"""Strict stand-ins for the model APIs of Anthropic, OpenAI and Google: `models.py KEY`.

They want KEY where each API wants it, and refuse a request of another shape. The first answer calls the
tool `look` that the assistant offers; the next one repeats what the tool said.
"""

import http.server
import json
import sys

KEY = sys.argv[1]


class Refused(Exception):
    pass


def require(holds, status, what):
    if not holds:
        raise Refused(status, what)


def tool_named(tools, name_of):
    """The tool by the name under which the assistant offers it."""
    for tool in tools:
        name = name_of(tool)
        if name and name.endswith("look"):
            return name
    return None


def text_of(content):
    """All text in an answer of a tool, however it is nested."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        kept = [value for name, value in content.items() if name in ("text", "output", "content", "response")]
        return "".join(text_of(value) for value in kept)
    return "".join(text_of(part) for part in content)


def answered(said):
    return "The tool said: " + said


class Anthropic:
    """https://docs.anthropic.com/en/api/messages"""

    @staticmethod
    def messages(headers, body):
        require(headers["x-api-key"] == KEY, 401, "x-api-key is not the key")
        require(headers["anthropic-version"], 400, "no anthropic-version")
        for name in ("model", "messages", "max_tokens"):
            require(name in body, 400, name + " is missing")
        parts = [part for message in body["messages"] for part in blocks(message["content"])]
        results = [part for part in parts if part["type"] == "tool_result"]
        tool = tool_named(body.get("tools", []), lambda tool: tool.get("name"))
        if results:
            return anthropic(body, {"type": "text", "text": answered(text_of(results[-1]["content"]))})
        if tool:
            return anthropic(body, {"type": "tool_use", "id": "toolu_01", "name": tool, "input": {"what": "weather"}})
        return anthropic(body, {"type": "text", "text": "{}"})


def blocks(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def anthropic(body, block):
    stop = "tool_use" if block["type"] == "tool_use" else "end_turn"
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_01", "type": "message", "role": "assistant", "model": body["model"], "content": [block],
               "stop_reason": stop, "stop_sequence": None, "usage": usage}
    if not body.get("stream"):
        return message
    if block["type"] == "tool_use":
        begun = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    else:
        begun = {**block, "text": ""}
        delta = {"type": "text_delta", "text": block["text"]}
    return [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]


class OpenAi:
    """https://platform.openai.com/docs/api-reference/responses"""

    @staticmethod
    def responses(headers, body):
        require(headers["authorization"] == "Bearer " + KEY, 401, "the bearer is not the key")
        require("model" in body and "input" in body, 400, "model or input is missing")
        require(body.get("stream") is True, 400, "only streams")
        results = [item for item in body["input"] if item.get("type") == "function_call_output"]
        tools = []
        for tool in body.get("tools", []):
            within = tool.get("tools", []) if tool.get("type") == "namespace" else []
            tools += [{**inner, "namespace": tool["name"]} for inner in within] or [tool]
        offered = [tool for tool in tools if tool_named([tool], lambda tool: tool.get("name"))]
        item = {"type": "message", "id": "msg_01", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "{}", "annotations": []}]}
        if results:
            item["content"][0]["text"] = answered(text_of(results[-1]["output"]))
        elif offered:
            item = {"type": "function_call", "id": "fc_01", "call_id": "call_01", "name": offered[0]["name"],
                    "arguments": json.dumps({"what": "weather"}), "status": "completed"}
            if "namespace" in offered[0]:
                item["namespace"] = offered[0]["namespace"]
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
                 "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        response = {"id": "resp_01", "object": "response", "created_at": 1, "model": body["model"]}
        return [
            {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed",
             "response": {**response, "status": "completed", "output": [item], "usage": usage}},
        ]


class Google:
    """https://ai.google.dev/api/generate-content"""

    @staticmethod
    def generate(headers, body):
        require(headers["x-goog-api-key"] == KEY, 401, "x-goog-api-key is not the key")
        require("contents" in body, 400, "contents is missing")
        parts = [part for content in body["contents"] for part in content["parts"]]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        declared = [tool for tools in body.get("tools", []) for tool in tools.get("functionDeclarations", [])]
        tool = tool_named(declared, lambda tool: tool.get("name"))
        if results:
            part = {"text": answered(text_of(results[-1]["response"]))}
        elif tool:
            part = {"functionCall": {"name": tool, "args": {"what": "weather"}}}
        else:
            part = {"text": "{}"}
        content = {"role": "model", "parts": [part]}
        return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}}


def framed(event):
    """An event of a stream. Google's have no names."""
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.startswith("/v1/responses"):
            # Codex tries a WebSocket first, and does without after this.
            return self.refuse(426, "no WebSocket")
        self.refuse(404, "no such path")

    def do_POST(self):
        try:
            self.converse()
        except Refused as reason:
            self.refuse(*reason.args)

    def converse(self):
        require("content-length" in self.headers, 411, "no length")
        body = self.rfile.read(int(self.headers["content-length"]))
        path, _, query = self.path.partition("?")
        require(self.headers.get("content-encoding") is None, 415, "compressed")
        require(self.headers.get_content_type() == "application/json", 415, "no JSON")
        body = json.loads(body)
        if path == "/v1/messages":
            said = Anthropic.messages(self.headers, body)
        elif path == "/v1/responses":
            said = OpenAi.responses(self.headers, body)
        elif path.startswith("/v1beta/models/") and path.endswith(("GenerateContent", ":generateContent")):
            said = Google.generate(self.headers, body)
            if "alt=sse" in query:
                said = [said]
        else:
            raise Refused(404, "no such path")
        if isinstance(said, dict):
            return self.answer(200, "application/json", json.dumps(said).encode())
        self.answer(200, "text/event-stream", "".join(map(framed, said)).encode())

    def refuse(self, status, why):
        error = {"type": "error", "error": {"type": "refused", "code": status, "message": why}}
        # What was not read of the request would be taken for the next one.
        self.close_connection = True
        self.answer(status, "application/json", json.dumps(error).encode())

    def answer(self, status, media_type, body):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
