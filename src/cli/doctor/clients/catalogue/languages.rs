//! What languages and their libraries send requests with.

use crate::cli::doctor::clients::client::{Client, NOTHING, Proof};
use crate::cli::doctor::clients::outcome::Outcome;

const URLLIB: &str = "import sys, urllib.request as r\n\
    r.urlopen(r.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}), timeout=20).read()";
const REQUESTS: &str = "import sys, requests\n\
    requests.get(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}, timeout=20)";
const HTTPX: &str = "import sys, httpx\n\
    httpx.get(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}, timeout=20)";
const URLLIB3: &str = "import sys, urllib3\n\
    urllib3.PoolManager().request('GET', sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}, \
    timeout=20, retries=False)";
const AIOHTTP: &str = "import sys, asyncio, aiohttp\n\
async def main():\n    \
    async with aiohttp.ClientSession() as s:\n        \
        async with s.get(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}) as a:\n            \
            await a.read()\n\
asyncio.run(asyncio.wait_for(main(), 20))";
const FETCH: &str = "fetch(process.argv[1], {headers: {authorization: 'Bearer ' + process.argv[2]}, \
    signal: AbortSignal.timeout(20000)}).then(a => a.text()).catch(() => process.exit(1))";
const HTTPS: &str = "require('https').get(process.argv[1], {headers: {authorization: 'Bearer ' + \
    process.argv[2]}, timeout: 20000}, a => a.resume()).on('error', () => process.exit(1))";
const UNDICI: &str = "require('undici').request(process.argv[1], {headers: {authorization: 'Bearer ' + \
    process.argv[2]}, headersTimeout: 20000}).then(a => a.body.dump()).catch(() => process.exit(1))";
const AXIOS: &str = "require('axios').get(process.argv[1], {headers: {authorization: 'Bearer ' + \
    process.argv[2]}, timeout: 20000}).catch(() => process.exit(1))";
const BOTO3: &str = "import sys, boto3\n\
from botocore import UNSIGNED\n\
from botocore.config import Config\n\
c = Config(signature_version=UNSIGNED, retries={'max_attempts': 0}, connect_timeout=20, read_timeout=20)\n\
boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', config=c).list_buckets()";
const GO: &str = "package main\n\
import (\n\"io\"\n\"net/http\"\n\"os\"\n\"time\"\n)\n\
func main() {\n\
    q, _ := http.NewRequest(\"GET\", os.Args[1], nil)\n\
    q.Header.Set(\"Authorization\", \"Bearer \"+os.Args[2])\n\
    c := http.Client{Timeout: 20 * time.Second}\n\
    a, err := c.Do(q)\n\
    if err != nil {\n        os.Exit(1)\n    }\n\
    io.Copy(io.Discard, a.Body)\n}\n";
const JAVA: &str = "import java.net.URI;\nimport java.net.http.*;\nimport java.time.Duration;\n\
class Main {\n\
    public static void main(String[] a) throws Exception {\n\
        var q = HttpRequest.newBuilder(URI.create(a[0])).header(\"Authorization\", \"Bearer \" + a[1])\
            .timeout(Duration.ofSeconds(20)).build();\n\
        HttpClient.newHttpClient().send(q, HttpResponse.BodyHandlers.ofString());\n    }\n}\n";
const JAVA_URL: &str = "import java.net.*;\nclass Main {\n\
    public static void main(String[] a) throws Exception {\n\
        var c = URI.create(a[0]).toURL().openConnection();\n\
        c.setConnectTimeout(20000);\n        c.setReadTimeout(20000);\n\
        c.setRequestProperty(\"Authorization\", \"Bearer \" + a[1]);\n\
        c.getInputStream().readAllBytes();\n    }\n}\n";
const PERL: &str = "use HTTP::Tiny; my $a = HTTP::Tiny->new(verify_SSL => 1, timeout => 20)->get($ARGV[0], \
    {headers => {Authorization => \"Bearer $ARGV[1]\"}}); exit($a->{success} ? 0 : 1)";
const RUBY: &str = "require 'net/http'; u = URI(ARGV[0]); q = Net::HTTP::Get.new(u); \
    q['Authorization'] = 'Bearer ' + ARGV[1]; \
    Net::HTTP.start(u.host, u.port, use_ssl: true, read_timeout: 20) { |h| h.request(q) }";
const PHP: &str = "$c = curl_init($argv[1]); curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, \
    CURLOPT_TIMEOUT => 20, CURLOPT_HTTPHEADER => ['Authorization: Bearer ' . $argv[2]]]); \
    exit(curl_exec($c) === false ? 1 : 0);";

pub(super) const ALL: &[Client] = &[
    Client {
        name: "Python urllib",
        program: "python3",
        arguments: &["-c", URLLIB, "{url}", "{placeholder}"],
        ..NOTHING
    },
    Client {
        name: "Python requests",
        program: "python3",
        arguments: &["-c", REQUESTS, "{url}", "{placeholder}"],
        check: Some(&["-c", "import requests"]),
        ..NOTHING
    },
    Client {
        name: "Python httpx",
        program: "python3",
        arguments: &["-c", HTTPX, "{url}", "{placeholder}"],
        check: Some(&["-c", "import httpx"]),
        ..NOTHING
    },
    Client {
        name: "Python aiohttp",
        program: "python3",
        arguments: &["-c", AIOHTTP, "{url}", "{placeholder}"],
        check: Some(&["-c", "import aiohttp"]),
        remedies: &[(
            Outcome::GoesRoundTheProxy,
            "make its session with ClientSession(trust_env=True), or use `egret run --isolate`",
        )],
        ..NOTHING
    },
    Client {
        name: "Python urllib3",
        program: "python3",
        arguments: &["-c", URLLIB3, "{url}", "{placeholder}"],
        check: Some(&["-c", "import urllib3"]),
        remedies: &[(
            Outcome::GoesRoundTheProxy,
            "use urllib3.ProxyManager(os.environ['HTTPS_PROXY']), or `egret run --isolate`",
        )],
        ..NOTHING
    },
    Client {
        name: "Python boto3",
        program: "python3",
        arguments: &["-c", BOTO3, "{url}"],
        check: Some(&["-c", "import boto3"]),
        // It signs with its keys, and has no place for a placeholder.
        proof: Proof::Request,
        ..NOTHING
    },
    Client {
        name: "Node fetch",
        program: "node",
        arguments: &["-e", FETCH, "{url}", "{placeholder}"],
        check: Some(&["-e", "fetch"]),
        remedies: &[(
            Outcome::GoesRoundTheProxy,
            "Node reads the variables from 22.21 and 24 on; use that, or `egret run --isolate`",
        )],
        ..NOTHING
    },
    Client {
        name: "Node https",
        program: "node",
        arguments: &["-e", HTTPS, "{url}", "{placeholder}"],
        remedies: &[(
            Outcome::GoesRoundTheProxy,
            "Node reads the variables from 22.21 and 24.5 on; use that, or `egret run --isolate`",
        )],
        ..NOTHING
    },
    Client {
        name: "Node undici",
        program: "node",
        arguments: &["-e", UNDICI, "{url}", "{placeholder}"],
        check: Some(&["-e", "require('undici')"]),
        remedies: &[(
            Outcome::GoesRoundTheProxy,
            "use its EnvHttpProxyAgent with setGlobalDispatcher, or `egret run --isolate`",
        )],
        ..NOTHING
    },
    Client {
        name: "Node axios",
        program: "node",
        arguments: &["-e", AXIOS, "{url}", "{placeholder}"],
        check: Some(&["-e", "require('axios')"]),
        ..NOTHING
    },
    Client {
        name: "Deno",
        program: "deno",
        arguments: &[
            "eval",
            "await (await fetch(Deno.args[0], {headers: {authorization: 'Bearer ' + Deno.args[1]}})).text()",
            "{url}",
            "{placeholder}",
        ],
        ..NOTHING
    },
    Client {
        name: "Bun",
        program: "bun",
        arguments: &["-e", FETCH, "{url}", "{placeholder}"],
        ..NOTHING
    },
    Client {
        name: "Go net/http",
        program: "go",
        arguments: &["run", "main.go", "{url}", "{placeholder}"],
        variables: &[
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GO111MODULE", "off"),
        ],
        file: Some(("main.go", GO)),
        ..NOTHING
    },
    Client {
        name: "Java HttpClient",
        program: "java",
        arguments: &["Main.java", "{url}", "{placeholder}"],
        file: Some(("Main.java", JAVA)),
        ..NOTHING
    },
    Client {
        name: "Java HttpURLConnection",
        program: "java",
        arguments: &["Main.java", "{url}", "{placeholder}"],
        file: Some(("Main.java", JAVA_URL)),
        ..NOTHING
    },
    Client {
        name: "Perl HTTP::Tiny",
        program: "perl",
        arguments: &["-e", PERL, "{url}", "{placeholder}"],
        check: Some(&["-MIO::Socket::SSL", "-MNet::SSLeay", "-e", "1"]),
        ..NOTHING
    },
    Client {
        name: "Ruby Net::HTTP",
        program: "ruby",
        arguments: &["-e", RUBY, "{url}", "{placeholder}"],
        ..NOTHING
    },
    Client {
        name: "PHP curl",
        program: "php",
        arguments: &["-r", PHP, "{url}", "{placeholder}"],
        check: Some(&["-r", "exit(function_exists('curl_init') ? 0 : 1);"]),
        ..NOTHING
    },
];
