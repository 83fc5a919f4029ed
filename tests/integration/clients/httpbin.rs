//! The real httpbin, reached through a TLS upstream that records.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::server::Server;
use crate::upstream::{Step, Stub};
use crate::wire::Request;
use crate::world::World;

pub const HTTPBIN: &str = "httpbin.example.test";

const SERVER: &str = r#"
import sys
from httpbin import app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A running httpbin. It is killed when this value is dropped.
pub struct Httpbin {
    _server: Server,
    pub stub: Stub,
}

/// A world in which `httpbin.example.test` is httpbin.
pub async fn world() -> (World, Httpbin) {
    let mut command = Command::new(super::installed("venv/bin/python"));
    command.args(["-c", SERVER]).stderr(Stdio::null());
    let server = Server::start(&mut command).await;
    let addr = server.addr;
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HTTPBIN]).await;
    stub.serve(move |request| relay(addr, request));
    let world = builder
        .route(&format!("{HTTPBIN}:443"), stub.addr)
        .start()
        .await;
    (
        world,
        Httpbin {
            _server: server,
            stub,
        },
    )
}

/// Forwards a request to httpbin on a connection of its own, and returns the answer.
async fn relay(addr: SocketAddr, request: Arc<Request>) -> Vec<Step> {
    let mut bytes = format!("{} {} HTTP/1.0\r\n", request.method, request.target).into_bytes();
    for (name, value) in &request.headers {
        let hop = [
            "connection",
            "transfer-encoding",
            "content-length",
            "expect",
        ];
        if !hop.contains(&name.to_ascii_lowercase().as_str()) {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
    }
    bytes.extend(format!("Content-Length: {}\r\n\r\n", request.body.len()).as_bytes());
    bytes.extend(&request.body);
    let mut socket = tokio::net::TcpStream::connect(addr).await.expect("httpbin");
    socket.write_all(&bytes).await.expect("send");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("an answer");
    vec![Step::Send(answer), Step::Close]
}
