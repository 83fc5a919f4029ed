//! A parent proxy that resolves names by a table, and writes down what it was asked for.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What is spoken.
#[derive(Clone)]
pub enum Speaks {
    Http,
    Https(TlsAcceptor),
    Socks,
    /// HTTP, and the answer to every CONNECT is this.
    Only(&'static str),
    /// Nothing at all.
    Silence,
}

/// A running stand-in.
pub struct Parent {
    pub addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Rules {
    speaks: Speaks,
    /// `USER:PASSWORD`, if one is asked for.
    login: Option<&'static str>,
    names: BTreeMap<String, SocketAddr>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Parent {
    pub async fn start(
        speaks: Speaks,
        login: Option<&'static str>,
        names: &[(&str, SocketAddr)],
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::default());
        let names = names.iter();
        let rules = Rules {
            speaks,
            login,
            names: names
                .map(|(name, addr)| ((*name).to_owned(), *addr))
                .collect(),
            asked: Arc::clone(&asked),
        };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let rules = rules.clone();
                tokio::spawn(async move {
                    // Whoever is refused goes away.
                    let _ = rules.serve(socket).await;
                });
            }
        });
        Self { addr, asked }
    }

    /// What was asked for since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

impl Rules {
    async fn serve(self, socket: TcpStream) -> io::Result<()> {
        match self.speaks.clone() {
            Speaks::Http | Speaks::Only(_) => self.http(socket).await,
            Speaks::Https(acceptor) => self.http(acceptor.accept(socket).await?).await,
            Speaks::Socks => self.socks(socket).await,
            Speaks::Silence => std::future::pending().await,
        }
    }

    fn reach(&self, target: &str) -> Option<SocketAddr> {
        self.asked.lock().expect("no panic").push(target.to_owned());
        self.names.get(target).copied().or(target.parse().ok())
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin>(&self, mut client: S) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8(head).expect("text");
        let target = head
            .strip_prefix("CONNECT ")
            .and_then(|rest| rest.split_once(" HTTP/1.1\r\n"))
            .unwrap_or_else(|| panic!("no CONNECT: {head}"))
            .0;
        assert!(
            head.contains(&format!("\r\nHost: {target}\r\n")),
            "no Host: {head}"
        );
        let address = self.reach(target);
        if let Speaks::Only(answer) = self.speaks {
            return client.write_all(answer.as_bytes()).await;
        }
        if let Some(login) = self.login {
            let expected = format!(
                "\r\nProxy-Authorization: Basic {}\r\n",
                STANDARD.encode(login)
            );
            if !head.contains(&expected) {
                let answer =
                    "HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=\"corp\"\r\n\r\n";
                return client.write_all(answer.as_bytes()).await;
            }
        }
        let Some(address) = address else {
            return client.write_all(b"HTTP/1.1 502 No such host\r\n\r\n").await;
        };
        let mut upstream = TcpStream::connect(address).await?;
        client
            .write_all(b"HTTP/1.1 200 Connected\r\nVia: corp\r\n\r\n")
            .await?;
        tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
        Ok(())
    }

    async fn socks(&self, mut client: TcpStream) -> io::Result<()> {
        let [version, count] = [client.read_u8().await?, client.read_u8().await?];
        assert_eq!(version, 5);
        let mut methods = vec![0; count.into()];
        client.read_exact(&mut methods).await?;
        let method = if self.login.is_some() { 2 } else { 0 };
        if !methods.contains(&method) {
            return client.write_all(&[5, 0xFF]).await;
        }
        client.write_all(&[5, method]).await?;
        if let Some(login) = self.login {
            assert_eq!(client.read_u8().await?, 1);
            let [user, password] = [counted(&mut client).await?, counted(&mut client).await?];
            let is_known = format!("{user}:{password}") == login;
            client.write_all(&[1, u8::from(!is_known)]).await?;
            if !is_known {
                return Ok(());
            }
        }
        let mut head = [0; 4];
        client.read_exact(&mut head).await?;
        assert_eq!(head[..3], [5, 1, 0]);
        let host = match head[3] {
            1 => std::net::Ipv4Addr::from(client.read_u32().await?).to_string(),
            3 => counted(&mut client).await?,
            kind => panic!("an address of kind {kind}"),
        };
        let port = client.read_u16().await?;
        let Some(address) = self.reach(&format!("{host}:{port}")) else {
            return client.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        };
        let mut upstream = TcpStream::connect(address).await?;
        // Its own end as a name, which is as good as an address.
        client
            .write_all(b"\x05\x00\x00\x03\x04corp\x00\x50")
            .await?;
        tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
        Ok(())
    }
}

async fn counted(client: &mut TcpStream) -> io::Result<String> {
    let mut text = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut text).await?;
    Ok(String::from_utf8(text).expect("text"))
}
