"""An echo service without generated code, in the clear on loopback. Prints its port.

Each answer says which metadata arrived; the trailers repeat it.
"""

from concurrent import futures

import grpc


def metadata(context):
    return {key: value for key, value in context.invocation_metadata()}


def unary(request, context):
    sent = metadata(context)
    context.set_trailing_metadata((("x-echo", sent.get("x-api-key", "")),))
    return request + b"|" + sent.get("authorization", "").encode()


def stream(requests, context):
    sent = metadata(context)
    for request in requests:
        yield request + b"|" + sent.get("x-key-bin", b"")
    context.set_trailing_metadata((("x-end", "yes"),))


class Service(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/echo.Echo/Unary":
            return grpc.unary_unary_rpc_method_handler(unary)
        if details.method == "/echo.Echo/Stream":
            return grpc.stream_stream_rpc_method_handler(stream)
        return None


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((Service(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
