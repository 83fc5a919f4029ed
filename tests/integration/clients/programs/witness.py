"""A strict stand-in for a witness (c2sp.org/tlog-witness): `witness.py DIR NAME`.

It knows the ledger whose verifier key is in DIR/log, and writes its own key to DIR/key and its port to
DIR/port. With a file DIR/down it answers 503, with DIR/lose it signs and answers 500, with DIR/forge its
cosignatures are made with another key.
"""

import base64
import hashlib
import http.server
import json
import os
import sys
import threading
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT, NAME = sys.argv[1:3]
LOCK = threading.Lock()


def path(name):
    return os.path.join(ROOT, name)


def key_id(name, kind, key):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


def raw(private):
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


PRIVATE = Ed25519PrivateKey.generate()
ID = key_id(NAME, 4, raw(PRIVATE))


class Refused(Exception):
    def __init__(self, status, body="", kind="text/plain"):
        super().__init__(status)
        self.status, self.body, self.kind = status, body, kind


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_consistent(old_size, old_root, size, root, proof):
    """RFC 9162 section 2.1.4.2."""
    if old_size == 0:
        return not proof
    if old_size == size:
        return not proof and old_root == root
    if not proof:
        return False
    if old_size & (old_size - 1) == 0:
        proof = [old_root, *proof]
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for hash in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(hash, fr), node(hash, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, hash)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == root


def decimal(text):
    if not text.isascii() or not text.isdigit() or (text != "0" and text[0] == "0"):
        raise Refused(400)
    return int(text)


def signed_text(note):
    text, marker, signatures = note.rpartition("\n\n")
    if not marker or not signatures.endswith("\n"):
        raise Refused(400)
    text += "\n"
    if not os.path.exists(path("log")):
        raise Refused(404)
    name, _, key = open(path("log")).read().strip().split("+", 2)
    key = base64.b64decode(key)
    if text.split("\n")[0] != name:
        raise Refused(404)
    for line in signatures.rstrip("\n").split("\n"):
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if dash != "\u2014":
            raise Refused(400)
        if signer != name or signature[:4] != key_id(name, key[0], key[1:]):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], text.encode())
            return name, text
        except InvalidSignature:
            raise Refused(403)
    raise Refused(403)


def add_checkpoint(body):
    head, marker, note = body.partition("\n\n")
    old, *lines = head.split("\n")
    if not marker or not old.startswith("old ") or len(lines) > 63:
        raise Refused(400)
    old = decimal(old[4:])
    proof = [base64.b64decode(line, validate=True) for line in lines]
    if any(len(hash) != 32 for hash in proof):
        raise Refused(400)
    name, text = signed_text(note)
    size, root = text.split("\n")[1:3]
    size, root = decimal(size), base64.b64decode(root, validate=True)
    if old > size:
        raise Refused(400)
    state = {"size": 0, "root": ""}
    if os.path.exists(path("state")):
        state = json.load(open(path("state")))
    if old != state["size"]:
        raise Refused(409, "%d\n" % state["size"], "text/x.tlog.size")
    before = base64.b64decode(state["root"])
    if old == size and old and before != root:
        raise Refused(409)
    if not is_consistent(old, before, size, root, proof):
        raise Refused(422)
    with open(path("state.new"), "w") as new:
        json.dump({"size": size, "root": base64.b64encode(root).decode()}, new)
    os.replace(path("state.new"), path("state"))
    if os.path.exists(path("lose")):
        raise Refused(500)
    now = int(time.time())
    message = "cosignature/v1\ntime %d\n%s" % (now, text)
    private = Ed25519PrivateKey.generate() if os.path.exists(path("forge")) else PRIVATE
    signature = ID + now.to_bytes(8, "big") + private.sign(message.encode())
    other = b"else" + now.to_bytes(8, "big") + bytes(64)
    return "".join(
        "\u2014 %s %s\n" % (signer, base64.b64encode(made).decode())
        for signer, made in (("other.example/w", other), (NAME, signature))
    )


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            if os.path.exists(path("down")):
                raise Refused(503)
            if self.path != "/prefix/add-checkpoint":
                raise Refused(405)
            with LOCK:
                self.answer(200, add_checkpoint(body.decode()), "text/plain; charset=utf-8")
        except Refused as refused:
            self.answer(refused.status, refused.body, refused.kind)

    def answer(self, status, text, kind):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(path("key"), "w") as file:
    file.write("%s+%s+%s" % (NAME, ID.hex(), base64.b64encode(b"\x04" + raw(PRIVATE)).decode()))
with open(path("port.new"), "w") as file:
    file.write(str(server.server_address[1]))
os.replace(path("port.new"), path("port"))
server.serve_forever()
