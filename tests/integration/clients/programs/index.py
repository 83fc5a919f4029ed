"""A package index with a password, and a package to upload. Prints its port.

The package's description and one of its files hold what looks like placeholders."""

import os
import sys
import zipfile
from wsgiref.simple_server import WSGIRequestHandler, make_server

from passlib.apache import HtpasswdFile
import pypiserver

os.makedirs("dist")
os.makedirs("packages")
users = HtpasswdFile("htpasswd", new=True)
users.set_password("bob", sys.argv[1])
users.save()
info = "demo_pkg-1.0.dist-info"
with zipfile.ZipFile("dist/demo_pkg-1.0-py3-none-any.whl", "w") as package:
    package.writestr("demo_pkg/__init__.py", "HELP = 'cat <<EOF'\n")
    package.writestr("demo_pkg/large.bin", os.urandom(2_500_000))
    package.writestr(
        f"{info}/METADATA",
        "Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0\n\nRead it with `cat <<EOF`.\n",
    )
    package.writestr(
        f"{info}/WHEEL",
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    )
    package.writestr(f"{info}/RECORD", "")


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


index = pypiserver.app(
    roots=["packages"], password_file="htpasswd", authenticate=["update", "download", "list"]
)
server = make_server("127.0.0.1", 0, index, handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
