"""Calls the echo service through the proxy of the environment. The value comes as an argument."""

import queue
import sys

import grpc

value = sys.argv[1].encode()
target = "api.example.test:443"


def check(what, is_so):
    if not is_so:
        sys.exit(f"not so: {what}")


channel = grpc.secure_channel(target, grpc.ssl_channel_credentials())
unary = channel.unary_unary("/echo.Echo/Unary")
stream = channel.stream_stream("/echo.Echo/Stream")

placed = (("authorization", "Bearer <<pat>>"), ("x-api-key", "<<pat>>"))
answer, call = unary.with_call(b"hello", metadata=placed, timeout=60)
# The value was used, so its echo is taken out of the trailers and of the message, whose length is
# said in front of it.
check(f"message: {answer}", answer == b"hello|Bearer " + b"*" * len(value))
trailers = {key: text for key, text in call.trailing_metadata()}
check(f"trailers: {trailers}", trailers["x-echo"] == "<<pat>>")

# Each message is answered before the next one is sent.
outbox = queue.Queue()
answers = stream(iter(outbox.get, None), metadata=(("x-api-key", "<<pat>>"),), timeout=60)
for number in range(5):
    outbox.put(b"%d" % number)
    got = next(answers)
    check(f"stream: {got}", got == b"%d|" % number)
outbox.put(None)
check("end of stream", next(answers, None) is None)
check("status", answers.code() is grpc.StatusCode.OK)
check("trailers", ("x-end", "yes") in [tuple(pair) for pair in answers.trailing_metadata()])

try:
    unary(b"hello", metadata=(("x-api-key", "<<no-such-key>>"),), timeout=60)
    sys.exit("not refused")
except grpc.RpcError as refused:
    check(f"refused: {refused}", refused.code() is grpc.StatusCode.FAILED_PRECONDITION)
    check(f"refused: {refused}", "No usable credential of that slug" in refused.details())
