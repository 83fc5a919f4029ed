"""A Maven repository with a password, in this directory. It takes no upload without a length. Prints
its port."""

import base64
import os
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

BASIC = "Basic " + base64.b64encode(f"bob:{sys.argv[1]}".encode()).decode()


class Repository(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def admits(self):
        if self.headers.get("Authorization") == BASIC:
            return True
        self.close_connection = True
        self.answer(401, WWW_Authenticate='Basic realm="releases"', Connection="close")
        return False

    # http.server calls this before it gives leave to send a body (Expect: 100-continue).
    def handle_expect_100(self):
        return self.admits() and super().handle_expect_100()

    def do_PUT(self):
        if not self.admits():
            return
        if "Content-Length" not in self.headers:
            return self.answer(411)
        path = self.translate_path(self.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(201)

    def do_GET(self):
        if self.admits():
            super().do_GET()

    def do_HEAD(self):
        if self.admits():
            super().do_HEAD()


server = ThreadingHTTPServer(("127.0.0.1", 0), Repository)
print(server.server_port, flush=True)
server.serve_forever()
