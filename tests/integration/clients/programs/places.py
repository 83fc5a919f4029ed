"""The places of the client table, by the Python client that is named in the first argument.

Prints a line for each place: its name and the status of the answer, or `refused` where the client
itself will not send such a request.
"""

import asyncio
import sys

BASE = "https://api.example.test"
P = "<<pat>>"
USERINFO = f"https://user:{P}@api.example.test/userinfo"


def report(place, status):
    print(place, status, flush=True)


def with_requests():
    import requests

    session = requests.Session()
    yield "header", lambda: session.get(f"{BASE}/header", headers={"X-Api-Key": P})
    yield "typed", lambda: session.get(f"{BASE}/typed?k={P}&b=1")
    yield "query", lambda: session.get(f"{BASE}/query", params={"k": P, "b": "1"})
    yield "path", lambda: session.get(f"{BASE}/path/{P}/x")
    yield "form", lambda: session.post(f"{BASE}/form", data={"k": P, "b": "1"})
    yield "json", lambda: session.post(f"{BASE}/json", json={"k": P, "n": 1})
    yield "basic", lambda: session.get(f"{BASE}/basic", auth=("user", P))
    yield "userinfo", lambda: session.get(USERINFO)
    yield "unknown", lambda: session.get(f"{BASE}/unknown", headers={"X-Api-Key": "<<nope>>"})


def with_httpx(**options):
    import httpx

    client = httpx.Client(timeout=60, **options)
    yield "header", lambda: client.get(f"{BASE}/header", headers={"X-Api-Key": P})
    yield "typed", lambda: client.get(f"{BASE}/typed?k={P}&b=1")
    yield "query", lambda: client.get(f"{BASE}/query", params={"k": P, "b": "1"})
    yield "path", lambda: client.get(f"{BASE}/path/{P}/x")
    yield "form", lambda: client.post(f"{BASE}/form", data={"k": P, "b": "1"})
    yield "json", lambda: client.post(f"{BASE}/json", json={"k": P, "n": 1})
    yield "basic", lambda: client.get(f"{BASE}/basic", auth=("user", P))
    yield "userinfo", lambda: client.get(USERINFO)
    yield "unknown", lambda: client.get(f"{BASE}/unknown", headers={"X-Api-Key": "<<nope>>"})


def with_httpx_h2():
    # It offers both to the proxy, whatever it is told.
    return with_httpx(http2=True)


def with_urllib3():
    import os

    import urllib3

    url = urllib3.util.parse_url(os.environ["HTTPS_PROXY"])
    pool = urllib3.ProxyManager(
        f"http://{url.host}:{url.port}",
        proxy_headers=urllib3.make_headers(proxy_basic_auth=url.auth),
        ca_certs=os.environ["SSL_CERT_FILE"],
        retries=False,
    )
    basic = urllib3.make_headers(basic_auth=f"user:{P}")
    form = {"k": P, "b": "1"}
    yield "header", lambda: pool.request("GET", f"{BASE}/header", headers={"X-Api-Key": P})
    yield "typed", lambda: pool.request("GET", f"{BASE}/typed?k={P}&b=1")
    yield "query", lambda: pool.request("GET", f"{BASE}/query", fields=form)
    yield "path", lambda: pool.request("GET", f"{BASE}/path/{P}/x")
    yield "form", lambda: pool.request("POST", f"{BASE}/form", fields=form, encode_multipart=False)
    yield "json", lambda: pool.request("POST", f"{BASE}/json", json={"k": P, "n": 1})
    yield "basic", lambda: pool.request("GET", f"{BASE}/basic", headers=basic)
    yield "userinfo", lambda: pool.request("GET", USERINFO)
    yield "unknown", lambda: pool.request("GET", f"{BASE}/unknown", headers={"X-Api-Key": "<<nope>>"})


def with_urllib():
    import base64
    import json
    import urllib.error
    import urllib.parse
    import urllib.request

    def ask(path, data=None, base=BASE, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(base + path, data=data, headers=names)
        try:
            return urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            return error

    form = urllib.parse.urlencode({"k": P, "b": "1"})
    basic = "Basic " + base64.b64encode(f"user:{P}".encode()).decode()
    yield "header", lambda: ask("/header", X_Api_Key=P)
    yield "typed", lambda: ask(f"/typed?k={P}&b=1")
    yield "query", lambda: ask(f"/query?{form}")
    yield "path", lambda: ask(f"/path/{P}/x")
    yield "form", lambda: ask("/form", form.encode())
    yield "json", lambda: ask(
        "/json", json.dumps({"k": P, "n": 1}).encode(), Content_Type="application/json"
    )
    yield "basic", lambda: ask("/basic", Authorization=basic)
    yield "userinfo", lambda: ask("", base=USERINFO)
    yield "unknown", lambda: ask("/unknown", X_Api_Key="<<nope>>")


async def with_aiohttp():
    import aiohttp

    basic = {"auth": aiohttp.BasicAuth("user", P)}
    form = {"k": P, "b": "1"}
    places = [
        ("header", "GET", f"{BASE}/header", {"headers": {"X-Api-Key": P}}),
        ("typed", "GET", f"{BASE}/typed?k={P}&b=1", {}),
        ("query", "GET", f"{BASE}/query", {"params": form}),
        ("path", "GET", f"{BASE}/path/{P}/x", {}),
        ("form", "POST", f"{BASE}/form", {"data": form}),
        ("json", "POST", f"{BASE}/json", {"json": {"k": P, "n": 1}}),
        ("basic", "GET", f"{BASE}/basic", basic),
        ("userinfo", "GET", USERINFO, {}),
        ("unknown", "GET", f"{BASE}/unknown", {"headers": {"X-Api-Key": "<<nope>>"}}),
    ]
    async with aiohttp.ClientSession(trust_env=True) as session:
        for place, method, url, options in places:
            async with session.request(method, url, **options) as answer:
                report(place, answer.status)


def main(client):
    if client == "aiohttp":
        return asyncio.run(with_aiohttp())
    for place, ask in globals()[f"with_{client}"]():
        try:
            answer = ask()
        except Exception as refusal:
            print(place, repr(refusal), file=sys.stderr)
            report(place, "refused")
        else:
            if client == "httpx_h2" and answer.http_version != "HTTP/2":
                sys.exit(f"{place} was answered over {answer.http_version}")
            status = getattr(answer, "status_code", None) or answer.status
            report(place, status)


main(sys.argv[1])
