"""A Mercurial repository over HTTP for the user `user`: `hg.py REPOSITORY PASSWORD`. Prints its port."""

import base64
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

from mercurial.hgweb import hgweb

application = hgweb(sys.argv[1].encode())
wanted = "Basic " + base64.b64encode(f"user:{sys.argv[2]}".encode()).decode()


def closed(environ, start):
    if environ.get("HTTP_AUTHORIZATION") != wanted:
        start("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="hg"'), ("Content-Length", "0")])
        return [b""]
    return application(environ, start)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


server = make_server("127.0.0.1", 0, closed, handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
