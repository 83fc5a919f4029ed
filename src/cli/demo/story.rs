//! The demonstration: six places for a placeholder, a refusal, and the ledger.

use std::fs::{self, DirBuilder};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use zeroize::Zeroizing;

use super::assistant::{Answer, Assistant};
use super::upstream::{HOST, Upstream, Welcome};
use crate::cli::context::{Session, actor};
use crate::cli::output::{self, Style};
use crate::cli::own_client::{OwnClient, random_name};
use crate::cli::server;
use crate::config::{Config, Flag, Sources};
use crate::ledger::reader::FileLines;
use crate::ledger::{CURRENT, Record};
use crate::policy::grant::Grant;
use crate::secret::SecretBytes;
use crate::substitution::slug::Slug;
use crate::vault::{Kind, NewCredential, Principal};

/// See how Egret works, on loopback
///
/// Starts an upstream and a proxy on loopback, saves a made-up credential, and sends a request for
/// each place where a placeholder may be. Shows what the assistant sent, what the upstream received
/// and what the ledger says. Needs no network and leaves no files.
#[derive(Args)]
#[command(after_help = "Example:\n  egret demo")]
pub(in crate::cli) struct Demo {}

/// The credential's public name.
const SLUG: &str = "demo-key";

/// The made-up value, with characters that each place has to encode in its own way.
const VALUE: &str = "tok&42/\"x\" +7";

/// One request of the demonstration.
struct Step {
    title: &'static str,
    method: &'static str,
    target: &'static str,
    header: Option<&'static str>,
    body: Option<(&'static str, &'static str)>,
    /// Which part of the request to show, as sent and as received.
    look: Look,
}

#[derive(Clone, Copy)]
enum Look {
    Header,
    Target,
    Body,
}

/// `Basic` is `robot:<<demo-key>>` in base64: the placeholder is found inside.
const STEPS: &[Step] = &[
    Step {
        title: "A placeholder in a header",
        method: "GET",
        target: "/user",
        header: Some("Authorization: Bearer <<demo-key>>"),
        body: None,
        look: Look::Header,
    },
    Step {
        title: "A placeholder in Basic credentials, inside the base64 (robot:<<demo-key>>)",
        method: "GET",
        target: "/repo.git/info/refs",
        header: Some("Authorization: Basic cm9ib3Q6PDxkZW1vLWtleT4+"),
        body: None,
        look: Look::Header,
    },
    Step {
        title: "A placeholder in the query",
        method: "GET",
        target: "/maps?key=<<demo-key>>&q=egret",
        header: None,
        body: None,
        look: Look::Target,
    },
    Step {
        title: "A placeholder in the path",
        method: "GET",
        target: "/bot<<demo-key>>/getMe",
        header: None,
        body: None,
        look: Look::Target,
    },
    Step {
        title: "A placeholder in a JSON body",
        method: "POST",
        target: "/login",
        header: None,
        body: Some(("application/json", r#"{"token": "<<demo-key>>"}"#)),
        look: Look::Body,
    },
    Step {
        title: "A placeholder in a form",
        method: "POST",
        target: "/oauth/token",
        header: None,
        body: Some((
            "application/x-www-form-urlencoded",
            "client_secret=<<demo-key>>&scope=read",
        )),
        look: Look::Body,
    },
];

/// The request that goes wrong.
const UNKNOWN: Step = Step {
    title: "A slug that does not exist",
    method: "GET",
    target: "/user",
    header: Some("Authorization: Bearer <<no-such-key>>"),
    body: None,
    look: Look::Header,
};

impl Step {
    fn sent(&self) -> String {
        match self.look {
            Look::Header => self.header.unwrap_or_default().to_owned(),
            Look::Target => format!("{} {}", self.method, self.target),
            Look::Body => self.body.map_or("", |(_, body)| body).to_owned(),
        }
    }

    /// The request as it goes over the wire.
    fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {HOST}\r\n",
            self.method, self.target
        );
        head.extend(self.header.map(|header| format!("{header}\r\n")));
        if let Some((kind, body)) = self.body {
            head.push_str(&format!(
                "Content-Type: {kind}\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        head.push_str("Connection: close\r\n\r\n");
        head.push_str(self.body.map_or("", |(_, body)| body));
        head.into_bytes()
    }
}

impl Demo {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<ExitCode> {
        // After Ctrl-C too, the directory must be removed.
        let directory = Directory::create()?;
        tokio::select! {
            outcome = tell(&directory.0) => outcome?,
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn tell(directory: &Path) -> anyhow::Result<()> {
    let style = Style::of_stdout();
    let upstream = Upstream::start(directory, &[HOST], Welcome::Any).await?;
    let config = configuration(directory, &upstream)?;
    let token = enrol(&config).await?;
    let server = server::start(&config).await?;
    let assistant = Assistant::new(server.proxy_addr(), HOST, token, &server.ca_pem())?;
    output::print(&opening(style))?;

    let mut untouched = true;
    for (number, step) in (1..).zip(STEPS) {
        let answer = assistant.send(&step.bytes()).await?;
        ensure!(
            answer.status == 200,
            "the proxy answered {} ({})",
            answer.status,
            answer.code()
        );
        untouched &= !answer.holds(VALUE.as_bytes());
        let received = upstream.take().context("the upstream received nothing")?;
        let got = match step.look {
            Look::Header => format!("Authorization: {}", received.authorization()),
            Look::Target => format!("{} {}", received.method, received.target),
            Look::Body => received.body,
        };
        output::print(&scene(style, number, step, &style.green(&got), "200 OK"))?;
    }
    let answer = assistant.send(&UNKNOWN.bytes()).await?;
    untouched &= !answer.holds(VALUE.as_bytes());
    let got = match upstream.take() {
        None => style.dim("nothing"),
        Some(_) => anyhow::bail!("the upstream received a request that was to be refused"),
    };
    output::print(&scene(
        style,
        STEPS.len() + 1,
        &UNKNOWN,
        &got,
        &refused(&answer, style),
    ))?;

    server.shutdown(Duration::from_secs(2), false).await;
    output::print(&closing(&config, untouched, style)?)
}

/// The configuration of the demonstration. Nothing of the user's own configuration is read.
fn configuration(directory: &Path, upstream: &Upstream) -> anyhow::Result<Config> {
    let flag = |key, text| Flag {
        key,
        name: "egret demo",
        text,
    };
    let sources = Sources {
        data_dir: Some(directory.to_owned()),
        flags: vec![
            flag("proxy.listen", format!("{}:0", Ipv4Addr::LOCALHOST)),
            flag("admin.listen", format!("{}:0", Ipv4Addr::LOCALHOST)),
            flag(
                "upstream.ca_files",
                upstream.ca_file().display().to_string(),
            ),
            flag("upstream.allow_private", "127.0.0.0/8".to_owned()),
            flag(
                "upstream.resolve",
                format!("{HOST}:443={}", upstream.address()),
            ),
        ],
        ..Sources::default()
    };
    Ok(sources.load()?.config)
}

/// Saves the credential and adds a client, as the commands would.
async fn enrol(config: &Config) -> anyhow::Result<Zeroizing<String>> {
    let session = Session::open(config.clone()).await?;
    let owner = Principal::parse("default")?;
    let places = ["header", "query", "path", "body"].map(str::parse);
    let places: Result<Vec<_>, _> = places.into_iter().collect();
    let new = NewCredential {
        owner: owner.clone(),
        slug: Slug::parse(SLUG)?,
        kind: Kind::Secret,
        description: String::new(),
        grant: Grant {
            locations: places?,
            ..Grant::for_hosts(vec![HOST.parse()?])
        },
        rotate_every: None,
    };
    let value = SecretBytes::new(VALUE.as_bytes().to_vec());
    session.registrar.add(&actor(), new, value).await?;
    let client = OwnClient::add(&session.store, "demo-", &owner, None).await?;
    session.finish().await?;
    Ok(client.token())
}

fn opening(style: Style) -> String {
    format!(
        "{}\n\n\
         An assistant may use the credential {} at {HOST},\n\
         but never see it. Its value, made up for this demonstration, is {}\n\
         It was saved with:\n  \
           egret credential add {SLUG} --host {HOST} \\\n    \
             --in header --in query --in path --in body\n\n",
        style.bold("Egret: placeholders in, secrets out"),
        style.bold(&format!("<<{SLUG}>>")),
        style.green(VALUE),
    )
}

fn scene(style: Style, number: usize, step: &Step, got: &str, answer: &str) -> String {
    format!(
        "{}\n  assistant sent  {}\n  upstream got    {got}\n  assistant got   {answer}\n\n",
        style.bold(&format!("{number}. {}", step.title)),
        style.cyan(&step.sent()),
    )
}

/// The refusal as the assistant sees it, wrapped to the width of the page.
fn refused(answer: &Answer, style: Style) -> String {
    let mut text = style.red(&format!("{} {}", answer.status, answer.code()));
    let mut width = usize::MAX;
    for word in answer.detail().split_whitespace() {
        if width.saturating_add(1 + word.len()) > 60 {
            text.push_str("\n                  ");
            width = 0;
        } else {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += word.len();
    }
    text
}

fn closing(config: &Config, untouched: bool, style: Style) -> anyhow::Result<String> {
    let lines = FileLines::open(&config.ledger_dir().join(CURRENT))?;
    let mut text = format!(
        "{}\n{}\n",
        style.bold("What the ledger says"),
        style.dim("(each use was on disk before the value left)"),
    );
    for line in lines {
        text.push_str(&ledger_line(&line?.record, style));
    }
    if untouched {
        text.push_str("\nThe value was in nothing that the assistant sent or received.\n");
    }
    text.push_str(&format!(
        "\n{}\n  \
           egret credential add github-pat --host api.github.com\n  \
           egret run -- curl -H 'Authorization: Bearer <<github-pat>>' \\\n    \
             https://api.github.com/user\n  \
           egret ledger tail\n",
        style.bold("Now yours")
    ));
    Ok(text)
}

/// A record in a line of 80 columns.
fn ledger_line(record: &Record, style: Style) -> String {
    let entry = &record.entry;
    let slug = entry.slug.as_deref().unwrap_or_default();
    let request = match (&entry.method, &entry.path) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        _ => String::new(),
    };
    let mut parts = vec![
        style.dim(&format!("{:3}", record.seq)),
        format!("{:18}", entry.event),
        style.bold(&format!("{slug:12}")),
        request,
    ];
    if !entry.locations.is_empty() {
        parts.push(style.cyan(&entry.locations.join(" ")));
    }
    match (&entry.code, entry.status) {
        (Some(code), _) => parts.push(style.red(&format!("-> {code}"))),
        (None, Some(status)) => parts.push(format!("-> {status}")),
        (None, None) => {}
    }
    let line = parts.join(" ");
    format!("{}\n", line.trim_end())
}

/// A directory that is removed when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(random_name("egret-demo-")?.as_str());
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            output::note(&format!("cannot remove {}: {error}", self.0.display()));
        }
    }
}
