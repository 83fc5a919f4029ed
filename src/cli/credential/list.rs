//! `egret credential list` and `show`.

use clap::Args;

use super::limits::{describe, join};
use super::target::{CredentialArgs, Owner};
use super::usage::LastUses;
use crate::cli::context::{Context, Session};
use crate::cli::output::{self, Format};
use crate::cli::when;
use crate::vault::Credential;
use crate::vault::StoreError;
use crate::vault::store::Listing;
use crate::views::{self, CredentialDetails};

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    owner: Owner,
    /// List the credentials of every principal
    #[arg(long, conflicts_with = "owner")]
    all: bool,
    #[command(flatten)]
    format: Format,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let owner = (!self.all).then_some(&self.owner.owner);
        let Listing {
            credentials,
            unverified,
        } = session.store.list(owner).await?;
        let uses = LastUses::read(&session.config).await?;
        let others = match owner {
            Some(_) if credentials.is_empty() => session.store.list(None).await?.credentials.len(),
            _ => 0,
        };
        session.store.close().await;
        for (owner, slug) in &unverified {
            output::note(&format!(
                "{slug} of {owner} was changed in the database by something that is not Egret; it is \
                 not used and not listed"
            ));
        }
        if self.format.json {
            let listed: Vec<_> = credentials
                .iter()
                .map(|one| views::Credential::new(one, uses.of(one)))
                .collect();
            return output::json(&listed);
        }
        if credentials.is_empty() {
            output::note(&match owner {
                Some(owner) if others > 0 => format!(
                    "{owner} has no credentials; `egret credential list --all` shows those of others"
                ),
                _ => "no credentials yet; `egret credential add SLUG --host HOST` saves one"
                    .to_owned(),
            });
            return Ok(());
        }
        let now = when::now();
        let rows: Vec<[String; 7]> = credentials.iter().map(|one| row(one, &uses, now)).collect();
        let headers = [
            "SLUG",
            "OWNER",
            "STATE",
            "VERSION",
            "ROTATED",
            "LAST USED",
            "HOSTS",
        ];
        output::print(&output::table(headers, &rows))
    }
}

fn row(credential: &Credential, uses: &LastUses, now: i64) -> [String; 7] {
    let used = uses
        .of(credential)
        .map(|time| time.unix_micros() / 1_000_000);
    [
        credential.slug.to_string(),
        credential.owner.to_string(),
        state(credential, now).to_owned(),
        credential.version.to_string(),
        age(credential, now),
        used.map_or("never".to_owned(), |used| when::ago(used, now)),
        join(&credential.grant.hosts),
    ]
}

/// How old the value is, and whether it is due to be replaced.
fn age(credential: &Credential, now: i64) -> String {
    let age = when::ago(credential.rotated, now);
    match credential.rotation_due() {
        Some(due) if due <= now => format!("{age} (due)"),
        _ => age,
    }
}

/// The state for people, who need to see that a credential has expired.
fn state(credential: &Credential, now: i64) -> &'static str {
    if credential.grant.expired(now) {
        "expired"
    } else {
        credential.state.as_str()
    }
}

pub(super) async fn show(context: &Context, show: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = show.target.parse()?;
    let session = context.open().await?;
    let found = session.store.get(owner, &slug).await?;
    let credential = found.ok_or_else(|| StoreError::NotFound {
        owner: owner.clone(),
        slug,
    })?;
    let uses = LastUses::read(&session.config).await?;
    close(session).await;
    let view = CredentialDetails::new(&credential, uses.of(&credential));
    output::data(show.format, &view, || describe_all(&credential, &view))
}

/// A rule in one line.
fn attached(rule: &views::Attachment) -> String {
    let limits = [
        ("for ", &rule.hosts),
        ("", &rule.methods),
        ("", &rule.paths),
        ("client ", &rule.clients),
        ("action ", &rule.actions),
    ];
    let limits = limits.into_iter().filter(|(_, items)| !items.is_empty());
    let mut text = format!("{}. {}", rule.number, rule.header);
    for (name, items) in limits {
        text += &format!("; {name}{}", items.join(", "));
    }
    if rule.replace {
        text += "; replaces the client's own";
    }
    text
}

async fn close(session: Session) {
    session.store.close().await;
}

fn describe_all(credential: &Credential, details: &CredentialDetails) -> String {
    let or_none = |list: &[String]| match list {
        [] => "no one".to_owned(),
        list => list.join(", "),
    };
    let listed = &details.credential;
    let placeholders: Vec<String> = match details.fields.as_slice() {
        [] => vec![format!("<<{}>>", listed.slug)],
        fields => fields
            .iter()
            .map(|field| format!("<<{}.{field}>>", listed.slug))
            .collect(),
    };
    let mut lines = vec![
        ("slug", listed.slug.clone()),
        ("owner", listed.owner.clone()),
        ("kind", listed.kind.to_owned()),
        ("use as", placeholders.join(" ")),
        ("about", listed.description.clone()),
        ("state", state(credential, when::now()).to_owned()),
        ("version", listed.version.to_string()),
    ];
    lines.extend(describe(&credential.grant));
    lines.push(("shared", or_none(&details.shared_with)));
    lines.extend(
        details
            .attachments
            .iter()
            .map(|rule| ("attached", attached(rule))),
    );
    let stand_ins = details.stand_ins.iter();
    lines.extend(stand_ins.map(|text| ("stand-in", text.clone())));
    lines.push(("created", listed.created.clone()));
    lines.push(("rotated", listed.rotated.clone()));
    lines.push(("due", listed.rotation_due.clone().unwrap_or_default()));
    lines.push((
        "used",
        listed
            .last_used
            .clone()
            .unwrap_or_else(|| "never".to_owned()),
    ));
    lines
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:9} {value}\n"))
        .collect()
}
