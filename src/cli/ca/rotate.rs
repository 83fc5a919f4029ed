//! `egret ca rotate` and `egret ca status`: another authority in the place of the present one.

use anyhow::ensure;
use clap::Args;
use time::OffsetDateTime;

use super::clients;
use crate::cli::context::{Context, Session, actor, authority};
use crate::cli::output::{self, Format};
use crate::cli::{server, when};
use crate::config::Config;
use crate::environment::inherited::Inherited;
use crate::environment::trust::TrustFiles;
use crate::tls::authority::Authority;
use crate::vault::store::Event;
use crate::views::{AuthorityState, OneAuthority, rfc3339};

/// Make the next CA: clients are to trust both from now on, and it signs from a set time on
///
/// Both certificates are in everything that clients are given from now on: `egret run`, `egret env`,
/// `egret ca export` and `egret ca show`. Programs that run already keep the roots with which they were
/// started, so leave them the time to be restarted: `egret ca status` names the clients from before. A
/// running server follows within seconds. Run it again to change the time.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret ca rotate --after 30d
  egret ca rotate --now        it signs from now on
  egret ca rotate --finish     after that: forget the former one")]
pub(super) struct Rotate {
    /// When the next CA takes over: a time from now, or a date
    #[arg(
        long,
        value_name = "TIME",
        default_value = "7d",
        conflicts_with_all = ["now", "finish"],
        value_parser = when::in_future
    )]
    after: i64,
    /// The next CA takes over now
    #[arg(long, conflicts_with = "finish")]
    now: bool,
    /// Forget the former CA, once the next one has taken over
    #[arg(long)]
    finish: bool,
    #[command(flatten)]
    format: Format,
}

impl Rotate {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let config = &session.config;
        let (cert, key) = (&config.tls.ca_cert, &config.tls.ca_key);
        ensure!(
            cert.starts_with(&config.data_dir) && key.starts_with(&config.data_dir),
            "the CA {} is not Egret's own: put the next certificate into that file after the present one, \
             and when clients trust both, exchange the two and the key",
            cert.display()
        );
        authority(config)?;
        let now = OffsetDateTime::now_utc();
        let (event, detail) = if self.finish {
            ensure!(
                Authority::retire(cert, key, now)?,
                "no other CA has taken over; `egret ca status` says when one does"
            );
            (Event::AuthorityRetired, String::new())
        } else {
            let from = if self.now {
                now
            } else {
                OffsetDateTime::from_unix_timestamp(self.after)?
            };
            Authority::rotate(cert, key, from, now)?;
            let from = rfc3339(from.unix_timestamp());
            (Event::AuthorityRotated, format!("signs from {from}"))
        };
        session.store.note_event(&actor(), event, &detail).await?;
        // Programs that read the files again find both.
        TrustFiles::write(&config.data_dir, cert, &Inherited::new())?;
        let view = view(&session).await?;
        session.finish().await?;
        output::data(self.format, &view, || text(&view))
    }
}

/// Say which CA signs, when the next one takes over, and which clients are not ready for it
///
/// Named are the clients that were added before the next CA was made, and those whose last TLS handshake
/// another CA signed than the one that signs now, or which ended it because they do not trust that one. A
/// server writes within seconds what clients do. A session that a client resumes shows no certificate.
#[derive(Args)]
#[command(after_help = "Example:\n  egret ca status")]
pub(super) struct Status {
    #[command(flatten)]
    format: Format,
}

impl Status {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let view = view(&session).await;
        session.store.close().await;
        let view = view?;
        output::data(self.format, &view, || text(&view))
    }
}

async fn view(session: &Session) -> anyhow::Result<AuthorityState> {
    let config = &session.config;
    let authority = authority(config)?;
    let now = OffsetDateTime::now_utc();
    let published = authority.succession().map(|it| it.published);
    let mut before = Vec::new();
    if let Some(published) = published {
        for client in session.store.list_clients().await? {
            let is_before = client.created < published.unix_timestamp();
            if is_before && client.usable(now.unix_timestamp()) {
                before.push(client.name.to_string());
            }
        }
    }
    Ok(AuthorityState {
        authorities: authority.describe(now).into_iter().map(one).collect(),
        published: published.map(|at| rfc3339(at.unix_timestamp())),
        clients_before: before,
        clients: clients::views(&clients::read(config), &authority.fingerprint(now)),
        server: is_served(config),
    })
}

fn is_served(config: &Config) -> bool {
    server::live(&config.data_dir).is_some()
}

fn one(described: crate::tls::authority::Described) -> OneAuthority {
    let time = |at: OffsetDateTime| rfc3339(at.unix_timestamp());
    OneAuthority {
        fingerprint: described.fingerprint,
        not_after: time(described.not_after),
        signs: described.signs,
        from: described.from.map(time),
    }
}

fn text(view: &AuthorityState) -> String {
    let rows: Vec<_> = view.authorities.iter().map(row).collect();
    let mut text = output::table(["CA (SHA-256)", "SIGNS", "VALID UNTIL"], &rows);
    text += &clients::table(&view.clients);
    let Some(published) = &view.published else {
        return text;
    };
    text += &format!("Clients are given both since {published}.\n");
    if !view.clients_before.is_empty() {
        text += &format!(
            "From before, and to be restarted or given the new file: {}\n",
            view.clients_before.join(", ")
        );
    }
    let has_changed = view.authorities.last().is_some_and(|last| last.signs);
    text += if has_changed {
        "`egret ca rotate --finish` forgets the former one.\n"
    } else {
        "Directories of `egret ca export` and system stores need the new one too: repeat it there.\n"
    };
    text
}

fn row(one: &OneAuthority) -> [String; 3] {
    let signs = match (one.signs, &one.from) {
        (true, None) => "now".to_owned(),
        (true, Some(from)) => format!("now, since {from}"),
        (false, Some(from)) => format!("from {from}"),
        (false, None) => "no more".to_owned(),
    };
    [one.fingerprint.clone(), signs, one.not_after.clone()]
}
