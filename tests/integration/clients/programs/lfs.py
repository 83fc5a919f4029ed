"""A Git LFS server with the batch API and basic transfers. Prints its port.

Its batch answer holds the credentials for each object, as Gitea's does, and it takes no upload
without a length."""

import base64
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EXPECTED = "Basic " + base64.b64encode(f"bob:{sys.argv[1]}".encode()).decode()
ORIGIN = "https://api.example.test"
objects = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", fields=()):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def is_known(self):
        if self.headers.get("Authorization") == EXPECTED:
            return True
        self.answer(401, b"{}", [("LFS-Authenticate", 'Basic realm="lfs"')])
        return False

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.is_known():
            return
        if self.path.endswith("/locks/verify"):
            return self.answer(200, b'{"ours":[],"theirs":[]}')
        if self.path.endswith("/objects/batch"):
            return self.answer(200, json.dumps(batch(json.loads(body))).encode())
        self.answer(200, b"{}")

    def do_PUT(self):
        length = self.headers.get("Content-Length")
        if length is None:
            return self.answer(411)
        body = self.rfile.read(int(length))
        if not self.is_known():
            return
        name = self.path.rsplit("/", 1)[1]
        if hashlib.sha256(body).hexdigest() != name:
            return self.answer(422)
        objects[name] = body
        self.answer(200)

    def do_GET(self):
        if not self.is_known():
            return
        body = objects.get(self.path.rsplit("/", 1)[1])
        self.answer(404 if body is None else 200, body or b"")


def batch(asked):
    operation = asked["operation"]
    return {"transfer": "basic", "objects": [described(o, operation) for o in asked["objects"]]}


def described(wanted, operation):
    header = {"Authorization": EXPECTED}
    actions = {operation: {"href": f"{ORIGIN}/objects/{wanted['oid']}", "header": header}}
    if operation == "upload":
        actions["verify"] = {"href": f"{ORIGIN}/lfs/verify", "header": header}
    return {**wanted, "authenticated": True, "actions": actions}


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
