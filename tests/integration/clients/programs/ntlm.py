"""A server that speaks NTLM, and takes a connection that has authenticated for its user's. Prints
its port. It checks the order of the messages and not the password: that is the client's."""

import base64
import struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NEGOTIATE, CHALLENGE, AUTHENTICATE = 1, 2, 3
FLAGS = 0xA2898205


def challenge():
    def pair(kind, text):
        value = text.encode("utf-16le")
        return struct.pack("<HH", kind, len(value)) + value

    target, info = "LAB".encode("utf-16le"), pair(2, "LAB") + pair(1, "SRV") + pair(0, "")
    offset = 56
    message = b"NTLMSSP\0" + struct.pack("<I", CHALLENGE)
    message += struct.pack("<HHI", len(target), len(target), offset)
    message += struct.pack("<I", FLAGS) + b"12345678" + bytes(8)
    message += struct.pack("<HHI", len(info), len(info), offset + len(target))
    message += b"\x0a\0\x63\x45\0\0\0\x0f" + target + info
    return "NTLM " + base64.b64encode(message).decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    step = 0

    def log_message(self, *arguments):
        pass

    def refuse(self, field):
        self.send_response(401)
        self.send_header("WWW-Authenticate", field)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        scheme, _, message = self.headers.get("Authorization", "").partition(" ")
        kind = struct.unpack("<I", base64.b64decode(message)[8:12])[0] if scheme == "NTLM" else 0
        if kind == NEGOTIATE:
            self.step = CHALLENGE
            return self.refuse(challenge())
        if kind == AUTHENTICATE and self.step == CHALLENGE:
            self.step = AUTHENTICATE
        if kind == 0 and self.step != AUTHENTICATE or self.step == 0:
            return self.refuse("NTLM")
        text = f"{len(body)} bytes".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
