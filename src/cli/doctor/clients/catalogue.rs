//! The clients that are tried, and how each sends a request with a credential.
//!
//! `{url}` is where to, `{host}` its host, `{placeholder}` the credential and `{encoded}` the same for a
//! URL; `{work}` is a directory that is removed afterwards.

use super::outcome::Outcome;

/// One client.
pub(super) struct Client {
    /// What people call it.
    pub(super) name: &'static str,
    /// The program.
    pub(super) program: &'static str,
    pub(super) arguments: &'static [&'static str],
    pub(super) variables: &'static [(&'static str, &'static str)],
    /// A file that the program reads.
    pub(super) file: Option<(&'static str, &'static str)>,
    /// Arguments with which the program ends well if everything is there that the client needs.
    pub(super) check: Option<&'static [&'static str]>,
    /// What proves that it works.
    pub(super) proof: Proof,
    /// What corrects it where what helps most clients does not.
    remedies: &'static [(Outcome, &'static str)],
}

/// What has to arrive at the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The value.
    Value,
    /// A request: the client has no place for a key in it.
    Request,
}

const NOTHING: Client = Client {
    name: "",
    program: "",
    arguments: &[],
    variables: &[],
    file: None,
    check: None,
    proof: Proof::Value,
    remedies: &[],
};

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
const TERRAFORM: &str = "terraform {\n  backend \"http\" {}\n}\n";
const PERL: &str = "use HTTP::Tiny; my $a = HTTP::Tiny->new(verify_SSL => 1, timeout => 20)->get($ARGV[0], \
    {headers => {Authorization => \"Bearer $ARGV[1]\"}}); exit($a->{success} ? 0 : 1)";
const RUBY: &str = "require 'net/http'; u = URI(ARGV[0]); q = Net::HTTP::Get.new(u); \
    q['Authorization'] = 'Bearer ' + ARGV[1]; \
    Net::HTTP.start(u.host, u.port, use_ssl: true, read_timeout: 20) { |h| h.request(q) }";
const PHP: &str = "$c = curl_init($argv[1]); curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, \
    CURLOPT_TIMEOUT => 20, CURLOPT_HTTPHEADER => ['Authorization: Bearer ' . $argv[2]]]); \
    exit(curl_exec($c) === false ? 1 : 0);";

const BEARER: &str = "Authorization: Bearer {placeholder}";

pub(super) const ALL: &[Client] = &[
    Client {
        name: "curl",
        program: "curl",
        arguments: &[
            "-sS",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-H",
            BEARER,
            "{url}",
        ],
        ..NOTHING
    },
    Client {
        name: "wget",
        program: "wget",
        arguments: &[
            "-q",
            "-O",
            "/dev/null",
            "--tries=1",
            "--timeout=20",
            "--header=Authorization: Bearer {placeholder}",
            "{url}",
        ],
        remedies: &[(
            Outcome::DoesNotTrustTheCa,
            "give it --ca-certificate=\"$SSL_CERT_FILE\", which `egret run` sets",
        )],
        ..NOTHING
    },
    Client {
        name: "git",
        program: "git",
        arguments: &[
            "-c",
            "http.extraHeader=Authorization: Bearer {placeholder}",
            "ls-remote",
            "{url}",
        ],
        variables: &[("GIT_TERMINAL_PROMPT", "0")],
        ..NOTHING
    },
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
    Client {
        name: "pip",
        program: "pip",
        arguments: &[
            "download",
            "--no-deps",
            "--no-cache-dir",
            "--retries",
            "0",
            "--timeout",
            "20",
            "--disable-pip-version-check",
            "--dest",
            "{work}",
            "--index-url",
            "https://key:{encoded}@{host}/pip",
            "egret-doctor",
        ],
        ..NOTHING
    },
    Client {
        name: "npm",
        program: "npm",
        arguments: &[
            "view",
            "egret-doctor",
            "--registry",
            "{url}/",
            "--fetch-retries=0",
            "--//{host}/npm/:_authToken={placeholder}",
            "--cache",
            "{work}/npm",
        ],
        ..NOTHING
    },
    Client {
        name: "kubectl",
        program: "kubectl",
        arguments: &[
            "get",
            "--raw",
            "/kubectl/doctor",
            "--server=https://{host}",
            "--token={placeholder}",
            "--request-timeout=20s",
        ],
        variables: &[("KUBECONFIG", "{work}/kubeconfig")],
        ..NOTHING
    },
    Client {
        name: "Terraform",
        program: "terraform",
        arguments: &["init", "-input=false", "-no-color"],
        variables: &[
            ("TF_HTTP_ADDRESS", "{url}"),
            ("TF_HTTP_USERNAME", "key"),
            ("TF_HTTP_PASSWORD", "{placeholder}"),
            ("TF_HTTP_RETRY_MAX", "0"),
            ("CHECKPOINT_DISABLE", "1"),
        ],
        file: Some(("main.tf", TERRAFORM)),
        ..NOTHING
    },
    Client {
        name: "AWS CLI",
        program: "aws",
        arguments: &[
            "s3api",
            "list-buckets",
            "--no-sign-request",
            "--endpoint-url={url}",
            "--region=us-east-1",
            "--cli-connect-timeout=20",
            "--cli-read-timeout=20",
        ],
        variables: &[("AWS_MAX_ATTEMPTS", "1")],
        // It signs with its keys, and has no place for a placeholder.
        proof: Proof::Request,
        ..NOTHING
    },
    Client {
        name: "cargo",
        program: "cargo",
        arguments: &["search", "egret-doctor", "--registry", "doctor"],
        variables: &[
            ("CARGO_REGISTRIES_DOCTOR_INDEX", "sparse+{url}/"),
            ("CARGO_NET_RETRY", "0"),
        ],
        // It reads the registry's settings first, and shows no key for them.
        proof: Proof::Request,
        ..NOTHING
    },
];

/// The client of that name.
pub(super) fn find(name: &str) -> Option<&'static Client> {
    ALL.iter().find(|client| client.name == name)
}

impl Client {
    /// The path that its requests begin with.
    pub(super) fn path(&self) -> String {
        let letters = self.name.to_ascii_lowercase();
        letters.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }

    /// Whether a request for this target is one of its requests.
    pub(super) fn asked_for(&self, target: &str) -> bool {
        let path = target.split('?').next().unwrap_or(target);
        path.split('/').nth(1) == Some(&*self.path())
    }

    /// Arguments with which the program says its version, and connects to nothing.
    pub(super) fn version(&self) -> &'static [&'static str] {
        match self.program {
            "go" => &["version"],
            "java" => &["-version"],
            "kubectl" => &["version", "--client"],
            _ => &["--version"],
        }
    }

    /// What corrects it.
    pub(super) fn remedy(&self, outcome: Outcome) -> Option<&'static str> {
        let mut own = self.remedies.iter();
        if let Some((_, remedy)) = own.find(|(of, _)| *of == outcome) {
            return Some(remedy);
        }
        match outcome {
            Outcome::Works => None,
            Outcome::GoesRoundTheProxy => {
                Some("run it with `egret run --isolate`, or give it a base URL (base_url.listen)")
            }
            Outcome::DoesNotTrustTheCa => {
                Some("give it the certificates that `egret ca path` names, or use base_url.listen")
            }
            Outcome::AltersThePlaceholder => {
                Some("write %3C%3Cslug%3E%3E in URLs, or use `egret credential stand-in`")
            }
            Outcome::Unknown => Some("run it by hand: `egret run -- COMMAND`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_client_has_a_name_and_a_path_of_its_own() {
        let paths: BTreeSet<_> = ALL.iter().map(Client::path).collect();
        assert_eq!(paths.len(), ALL.len());
        let git = find("git").expect("known");
        assert!(git.asked_for("/git/info/refs?x") && git.asked_for("/git?x"));
        assert!(!git.asked_for("/github/x") && !git.asked_for("/"));
    }

    #[test]
    fn each_says_where_to_and_with_what() {
        for client in ALL {
            let values = client.variables.iter().map(|(_, value)| value);
            let texts: Vec<_> = client.arguments.iter().chain(values).collect();
            let says = |what: &[&str]| {
                texts
                    .iter()
                    .any(|text| what.iter().any(|what| text.contains(what)))
            };
            assert!(says(&["{url}", "{host}"]), "{}", client.name);
            let shows = says(&["{placeholder}", "{encoded}"]);
            assert_eq!(shows, client.proof == Proof::Value, "{}", client.name);
        }
    }
}
