"""A strict stand-in for a store that speaks S3: `s3.py serve DIR`, and `s3.py check PORT`, by which the
vendor's client says that the stand-in takes what that client sends, and refuses what it should.

Signatures are computed by botocore, not by what is tested. Objects are files below DIR/objects, each PUT
is a line of DIR/log. With a file DIR/down it answers 503, with DIR/hold it takes an object and never answers,
and with DIR/virtual-host the bucket is in front of the host name `localhost`.
"""

import base64
import datetime
import hashlib
import http.server
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

LOGIN = Credentials("AKIDEXAMPLE", "a/secret+of/the+test")
REGION = "eu-central-1"
STAMP = "%Y%m%dT%H%M%SZ"


class Refused(Exception):
    pass


def require(holds, status, what):
    if not holds:
        raise Refused(status, what)


def signed_request(handler, url, names):
    headers = {name: handler.headers[name] for name in names if name in handler.headers}
    require(len(headers) == len(names), 403, "a signed header is missing")
    require("host" in names, 403, "the host is not signed")
    bare = [name for name in handler.headers if name.lower().startswith("x-amz-") and name.lower() not in names]
    require(not bare, 403, "there were headers present in the request which were not signed: %s" % bare)
    return AWSRequest(method=handler.command, url=url, headers=headers)


def expected_signature(auth, request, stamp):
    request.context["timestamp"] = stamp
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return auth.signature(text, request)


def check_scope(credential, stamp):
    scope = [stamp[:8], REGION, "s3", "aws4_request"]
    require(credential.split("/") == [LOGIN.access_key, *scope], 403, "InvalidAccessKeyId or scope")
    then = datetime.datetime.strptime(stamp, STAMP).replace(tzinfo=datetime.timezone.utc)
    return (datetime.datetime.now(datetime.timezone.utc) - then).total_seconds()


def check_query(handler, parts):
    pairs = urllib.parse.parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    query = dict(pairs)
    require(len(query) == len(pairs), 400, "a parameter comes twice")
    signature = query.pop("X-Amz-Signature", None)
    require(query.get("X-Amz-Algorithm") == "AWS4-HMAC-SHA256", 400, "algorithm")
    expires = int(query["X-Amz-Expires"])
    require(1 <= expires <= 604800, 400, "expires")
    age = check_scope(query["X-Amz-Credential"], query["X-Amz-Date"])
    require(-900 <= age <= expires, 403, "expired")
    rest = "&".join(part for part in parts.query.split("&") if not part.startswith("X-Amz-Signature="))
    url = "http://%s%s?%s" % (handler.headers["host"], parts.path, rest)
    request = signed_request(handler, url, query["X-Amz-SignedHeaders"].split(";"))
    auth = S3SigV4QueryAuth(LOGIN, "s3", REGION, expires)
    require(signature == expected_signature(auth, request, query["X-Amz-Date"]), 403, "SignatureDoesNotMatch")


def check_header(handler, parts):
    kind, _, rest = handler.headers["authorization"].partition(" ")
    require(kind == "AWS4-HMAC-SHA256", 400, "algorithm")
    fields = dict(field.strip().split("=", 1) for field in rest.split(","))
    stamp = handler.headers["x-amz-date"]
    require(abs(check_scope(fields["Credential"], stamp)) <= 900, 403, "RequestTimeTooSkewed")
    url = "http://%s%s" % (handler.headers["host"], handler.path)
    request = signed_request(handler, url, fields["SignedHeaders"].split(";"))
    auth = S3SigV4Auth(LOGIN, "s3", REGION)
    require(fields["Signature"] == expected_signature(auth, request, stamp), 403, "SignatureDoesNotMatch")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        try:
            self.put()
        except Refused as refused:
            self.answer(*refused.args)

    def put(self):
        parts = urllib.parse.urlsplit(self.path)
        require("transfer-encoding" not in self.headers, 501, "NotImplemented")
        require("content-length" in self.headers, 411, "MissingContentLength")
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        require(not os.path.exists(os.path.join(ROOT, "down")), 503, "SlowDown")
        if "authorization" in self.headers:
            check_header(self, parts)
        else:
            check_query(self, parts)
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        require(self.headers["x-amz-checksum-sha256"] == checksum, 400, "BadDigest")
        key = urllib.parse.unquote(parts.path).lstrip("/")
        if os.path.exists(os.path.join(ROOT, "virtual-host")):
            host = self.headers["host"].split(":")[0]
            require(host.endswith(".localhost"), 404, "NoSuchBucket")
            key = "%s/%s" % (host.removesuffix(".localhost"), key)
        require(".." not in key.split("/"), 400, "InvalidURI")
        path = os.path.join(ROOT, "objects", key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".part", "wb") as part:
            part.write(body)
        os.replace(path + ".part", path)
        with open(os.path.join(ROOT, "log"), "a") as log:
            log.write("%s %s\n" % (key, checksum))
        while os.path.exists(os.path.join(ROOT, "hold")):
            time.sleep(0.05)
        self.answer(200, "")

    def answer(self, status, what):
        body = b"<Error><Code>%s</Code></Error>" % what.encode() if what else b""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with open(os.path.join(ROOT, "port.part"), "w") as part:
        part.write(str(server.server_address[1]))
    os.replace(os.path.join(ROOT, "port.part"), os.path.join(ROOT, "port"))
    server.serve_forever()


def status_of(request):
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def check(port):
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    config = Config(
        s3={"addressing_style": "path"},
        signature_version="s3v4",
        retries={"max_attempts": 1},
        request_checksum_calculation="when_required",
    )

    def client(secret):
        return boto3.client(
            "s3",
            endpoint_url="http://127.0.0.1:%s" % port,
            region_name=REGION,
            aws_access_key_id=LOGIN.access_key,
            aws_secret_access_key=secret,
            config=config,
        )

    body = b"from boto3"
    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    asked = {"Bucket": "check", "Key": "a/b c", "ChecksumSHA256": checksum}
    client(LOGIN.secret_key).put_object(Body=body, **asked)
    try:
        client("another").put_object(Body=body, **asked)
        sys.exit("a wrong secret was taken")
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403, error
    url = client(LOGIN.secret_key).generate_presigned_url("put_object", Params=asked, ExpiresIn=60)

    def put(url, body, headers):
        request = urllib.request.Request(url, data=body, method="PUT", headers=headers)
        return status_of(request)

    signed = {"x-amz-checksum-sha256": checksum}
    assert put(url, body, signed) == 200
    assert put(url, b"other body", signed) == 400
    assert put(url, body, {}) == 403
    assert put(url, body, {**signed, "x-amz-acl": "public-read"}) == 403
    assert put(url.replace("a/b", "a/c"), body, signed) == 403
    assert put(url.replace("Expires=60", "Expires=61"), body, signed) == 403
    print("ok")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        ROOT = sys.argv[2]
        serve()
    else:
        check(sys.argv[2])
