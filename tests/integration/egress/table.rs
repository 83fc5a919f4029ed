//! Every way in against every rule. A way in that comes later is a line of [`WAYS`].

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{REFUSED, egret};
use crate::base_url::{base_url, listening};
use crate::client::{Tunnel, Wanted, basic, request, request_to};
use crate::http2;
use crate::upstream::Stub;
use crate::websocket::socket::handshake;
use crate::wire::{Response, Wire};
use crate::within;
use crate::world::{HOST, World};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Plain HTTP with an absolute target.
    Absolute,
    /// Plain HTTP inside CONNECT.
    PlainTunnel,
    Http1,
    Http2,
    /// The handshake of a WebSocket, which is a GET.
    WebSocket,
    /// TLS inside SOCKS.
    Socks,
    /// TLS on a connection that was made to another address.
    Redirected,
    /// Plain HTTP on one.
    RedirectedPlain,
    /// The path names the destination.
    BaseUrl,
}

const WAYS: [Way; 9] = [
    Way::Absolute,
    Way::PlainTunnel,
    Way::Http1,
    Way::Http2,
    Way::WebSocket,
    Way::Socks,
    Way::Redirected,
    Way::RedirectedPlain,
    Way::BaseUrl,
];

impl Way {
    /// The host as a rule names it.
    fn host(self) -> String {
        match self {
            Way::Absolute | Way::PlainTunnel | Way::RedirectedPlain => format!("http://{HOST}"),
            _ => HOST.to_owned(),
        }
    }

    /// The code of the answer to a request, or to what comes before it; none if it got through.
    async fn ask(self, world: &World, method: &str, path: &str) -> Option<String> {
        self.ask_with(world, method, path, None).await
    }

    /// The same with an API key in its header.
    async fn ask_with(
        self,
        world: &World,
        method: &str,
        path: &str,
        key: Option<&str>,
    ) -> Option<String> {
        let line = key.map(|key| format!("X-Api-Key: {key}"));
        let lines: Vec<&str> = line.as_deref().into_iter().collect();
        let plain = request(method, path, &lines, "");
        match self {
            Way::Socks => match socks(world).await {
                Some(socket) => tls(world, socket)
                    .await
                    .roundtrip(plain)
                    .await
                    .egret_error(),
                None => Some(REFUSED.to_owned()),
            },
            _ => {
                let answer = self.answer(world, method, path, &lines).await;
                answer.egret_error()
            }
        }
    }

    async fn answer(self, world: &World, method: &str, path: &str, lines: &[&str]) -> Response {
        let wanted = Wanted::new(world);
        let plain = request(method, path, lines, "");
        match self {
            Way::Absolute => {
                let target = format!("http://{HOST}{path}");
                let who = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
                let lines = [&[who.as_str()], lines].concat();
                one(world.dial().await, request(method, &target, &lines, "")).await
            }
            Way::PlainTunnel => {
                let wanted = Wanted {
                    authority: format!("{HOST}:80"),
                    ..wanted
                };
                match wanted.connect(world).await {
                    Ok(socket) => one(Wire::new(socket), plain).await,
                    Err(refused) => refused,
                }
            }
            Way::Http1 => match wanted.open(world).await {
                Ok(mut tunnel) => tunnel.roundtrip(plain).await,
                Err(refused) => refused,
            },
            Way::WebSocket => match wanted.open(world).await {
                Ok(mut tunnel) => tunnel.roundtrip(handshake(path, lines)).await,
                Err(refused) => refused,
            },
            Way::Http2 => match http2::client::Client::try_open(world, wanted).await {
                Ok(mut client) => {
                    let mut request = http2::client::Request::new(method, path);
                    for line in lines {
                        let (name, value) = line.split_once(": ").expect("a field");
                        request = request.field(&name.to_lowercase(), value);
                    }
                    client.response(&request).await
                }
                Err(refused) => refused,
            },
            Way::Redirected => {
                let socket = redirected(world, 443).await;
                tls(world, socket).await.roundtrip(plain).await
            }
            Way::RedirectedPlain => one(Wire::new(redirected(world, 80).await), plain).await,
            Way::BaseUrl => {
                let socket = TcpStream::connect(base_url(world))
                    .await
                    .expect("a listener");
                let own = base_url(world).to_string();
                let target = format!("/-/https/{HOST}{path}");
                one(
                    Wire::new(socket),
                    request_to(&own, method, &target, lines, ""),
                )
                .await
            }
            Way::Socks => unreachable!("it has answers of its own"),
        }
    }
}

async fn tls(world: &World, socket: TcpStream) -> Tunnel {
    let trusting = crate::client::trusting(&world.ca_pem().await);
    let name = ServerName::try_from(HOST).expect("a name");
    let handshake = TlsConnector::from(trusting).connect(name, socket);
    let stream = within("a handshake", handshake).await.expect("TLS");
    let wire = Wire::new(stream);
    Tunnel { wire }
}

/// A connection through SOCKS; none where it is refused by its rules.
async fn socks(world: &World) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(world.proxy).await.expect("connected");
    let mut login = vec![5, 1, 2, 1, 5];
    login.extend(b"act-1");
    login.push(u8::try_from(world.token.len()).expect("short"));
    login.extend(world.token.as_bytes());
    socket.write_all(&login).await.expect("sent");
    let mut chosen = [0; 4];
    within("a login", socket.read_exact(&mut chosen))
        .await
        .expect("read");
    assert_eq!(chosen, [5, 2, 1, 0]);
    let mut connect = vec![5, 1, 0, 3, u8::try_from(HOST.len()).expect("short")];
    connect.extend(HOST.as_bytes());
    connect.extend(443_u16.to_be_bytes());
    socket.write_all(&connect).await.expect("sent");
    let mut answer = [0; 10];
    within("an answer", socket.read_exact(&mut answer))
        .await
        .expect("read");
    assert!([0, 2].contains(&answer[1]), "{answer:?}");
    (answer[1] == 0).then_some(socket)
}

/// A connection that was made to another address, as a listener of a client's own passes it on.
async fn redirected(world: &World, port: u16) -> TcpStream {
    let credentials = basic("act-1", &world.token);
    let mut fields = [[0; 10].as_slice(), &[0xff, 0xff, 192, 0, 2, 1]]
        .concat()
        .repeat(2);
    fields.extend(port.to_be_bytes().repeat(2));
    fields.push(0xe0);
    fields.extend(
        u16::try_from(credentials.len())
            .expect("short")
            .to_be_bytes(),
    );
    fields.extend(credentials.as_bytes());
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21".to_vec();
    header.extend(u16::try_from(fields.len()).expect("short").to_be_bytes());
    header.extend(fields);
    let mut socket = TcpStream::connect(world.proxy).await.expect("connected");
    socket.write_all(&header).await.expect("sent");
    socket
}

async fn one(mut wire: Wire<TcpStream>, request: String) -> Response {
    wire.send(request).await.expect("send a request");
    within("an answer", wire.response(false))
        .await
        .expect("an answer")
}

/// Rules with `HOST` in the place of the host, and what becomes of requests.
struct Row {
    rules: &'static [&'static [&'static str]],
    /// Method, path, and whether the request gets through.
    requests: &'static [(&'static str, &'static str, bool)],
}

const TABLE: &[Row] = &[
    Row {
        rules: &[&["deny", "HOST"]],
        requests: &[("GET", "/x", false)],
    },
    Row {
        rules: &[&["deny"]],
        requests: &[("GET", "/x", false)],
    },
    Row {
        rules: &[&["deny"], &["allow", "HOST"]],
        requests: &[("GET", "/x", true), ("DELETE", "/x", true)],
    },
    Row {
        rules: &[&["deny"], &["allow", "HOST:8443"]],
        requests: &[("GET", "/x", false)],
    },
    Row {
        rules: &[&["deny"], &["allow", "HOST", "--method", "GET"]],
        requests: &[("GET", "/x", true), ("DELETE", "/x", false)],
    },
    Row {
        rules: &[&["deny", "HOST", "--method", "DELETE"]],
        requests: &[("GET", "/x", true), ("DELETE", "/x", false)],
    },
    Row {
        rules: &[&["deny", "HOST", "--path", "/admin"]],
        requests: &[
            ("GET", "/x", true),
            ("GET", "/administrator", true),
            ("GET", "/admin/x", false),
            ("GET", "/x/../admin", false),
            ("GET", "/x/%2e%2e/admin", false),
        ],
    },
    Row {
        rules: &[&["deny"], &["allow", "HOST", "--path", "/repos"]],
        requests: &[
            ("GET", "/repos/a", true),
            ("GET", "/x", false),
            ("GET", "/repos/%2e%2e/x", false),
        ],
    },
    Row {
        rules: &[&["deny", "HOST", "--action", "act-1"]],
        requests: &[("GET", "/x", false)],
    },
    Row {
        rules: &[&["deny", "HOST", "--action", "another"]],
        requests: &[("GET", "/x", true)],
    },
];

#[tokio::test]
async fn every_way_in_meets_every_rule() {
    let builder = listening(World::builder(), Some("default"), "act-1");
    let encrypted = Stub::tls_alpn(builder.pki(), &[HOST], &["http/1.1"]).await;
    let plain = Stub::plain().await;
    let world = builder
        .route(&format!("{HOST}:443"), encrypted.addr)
        .route(&format!("{HOST}:80"), plain.addr)
        .start()
        .await;
    for row in TABLE {
        let mut numbers = Vec::new();
        for rule in row.rules {
            for host in [Way::Absolute.host(), Way::Http1.host()] {
                let words: Vec<String> = rule
                    .iter()
                    .map(|word| word.replace("HOST", &host))
                    .collect();
                let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
                words.insert(0, "egress");
                words.extend(["--yes", "--json"]);
                let added = world.run(&words).await.json();
                numbers.push(added["number"].to_string());
            }
        }
        for way in WAYS {
            for (method, path, passes) in row.requests {
                if way == Way::WebSocket && *method != "GET" {
                    continue;
                }
                let code = way.ask(&world, method, path).await;
                let expected = (!passes).then(|| REFUSED.to_owned());
                assert_eq!(code, expected, "{way:?} {method} {path} {:?}", row.rules);
            }
        }
        for number in &numbers {
            egret(&world, &["egress", "remove", number]).await;
        }
    }
    // Nothing that was refused arrived anywhere.
    let arrived = [encrypted.take(), plain.take()].concat();
    let is_refused = |path: &str| path.starts_with("/admin/") || path.contains("..");
    assert!(!arrived.is_empty() && !arrived.iter().any(|request| is_refused(request.path())));
}

/// What a destination demands of a request, and what an owner demands of a use.
#[tokio::test]
async fn every_way_in_meets_what_is_demanded() {
    let builder = listening(World::builder(), Some("default"), "act-1");
    let builder = builder.set("approvals.wait", "100ms");
    let encrypted = Stub::tls_alpn(builder.pki(), &[HOST], &["http/1.1"]).await;
    let plain = Stub::plain().await;
    let mut world = builder
        .route(&format!("{HOST}:443"), encrypted.addr)
        .route(&format!("{HOST}:80"), plain.addr)
        .start()
        .await;
    let hosts = [HOST.to_owned(), format!("http://{HOST}")];
    let limits = ["--host", &hosts[0], "--host", &hosts[1]];
    for (slug, demand) in [
        ("free", &[][..]),
        ("asked", &["--approve", "always"]),
        ("spent", &["--max-uses", "1/d"]),
    ] {
        let value = format!("the-value-of-{slug}");
        world
            .save(slug, value, &[&limits[..], demand].concat())
            .await;
    }
    let table = format!(
        "hosts = [\"{}\", \"{}\"]\nrequire = true",
        hosts[0], hosts[1]
    );
    world.destinations(vec![toml::from_str(&table).expect("a rule")]);
    world.reload().await;
    let first = Way::Http1.ask_with(&world, "GET", "/x", Some("<<spent>>"));
    assert_eq!(first.await, None);
    for way in WAYS {
        for (key, expected) in [
            (None, Some("credential_required")),
            (Some("a-key-of-its-own"), Some("credential_required")),
            (Some("<<free>>"), None),
            (Some("<<asked>>"), Some("approval_required")),
            (Some("<<spent>>"), Some("rate_limited")),
            (Some("<<missing>>"), Some("credential_not_found")),
        ] {
            let code = way.ask_with(&world, "GET", "/x", key).await;
            assert_eq!(code.as_deref(), expected, "{way:?} {key:?}");
        }
    }
    // Nothing arrived but the one use of a budget, and what was free.
    let arrived = [encrypted.take(), plain.take()].concat();
    let keys = arrived.iter().map(|request| request.header("x-api-key"));
    let free = keys
        .clone()
        .filter(|key| key.as_deref() == Some("the-value-of-free"));
    let spent = keys
        .clone()
        .filter(|key| key.as_deref() == Some("the-value-of-spent"));
    let counts = (free.count(), spent.count(), keys.count());
    assert_eq!(counts, (WAYS.len(), 1, WAYS.len() + 1));
}

/// A tunnel that is not looked into: what cannot be seen there does not open it.
#[tokio::test]
async fn a_blind_tunnel_is_decided_by_its_name() {
    let builder = World::builder().set("tls.passthrough", vec![HOST.to_owned()]);
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let root = builder.pki().root_pem.clone();
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    let wanted = Wanted {
        tls: Some(crate::client::trusting(root.as_bytes())),
        ..Wanted::new(&world)
    };
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    for rule in [
        &["deny", HOST][..],
        &["deny", HOST, "--method", "DELETE"],
        &["deny", HOST, "--path", "/x"],
    ] {
        let words = [&["egress"], rule, &["--json"]].concat();
        let number = world.run(&words).await.json()["number"].to_string();
        let Err(refused) = wanted.connect(&world).await else {
            panic!("{rule:?}: a tunnel was opened");
        };
        crate::client::assert_refused(&refused, REFUSED);
        egret(&world, &["egress", "remove", &number]).await;
    }
    egret(&world, &["egress", "deny"]).await;
    egret(&world, &["egress", "allow", HOST, "--method", "GET"]).await;
    assert!(wanted.connect(&world).await.is_err());
    egret(&world, &["egress", "allow", HOST]).await;
    assert!(wanted.connect(&world).await.is_ok());
    // What is under way goes on.
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
}
