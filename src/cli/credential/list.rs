//! `egret credential list` and `show`.

use clap::Args;

use super::limits::{describe, join};
use super::target::{CredentialArgs, Owner};
use super::usage::LastUses;
use crate::cli::context::Context;
use crate::cli::output::{self, Format};
use crate::cli::remote::{message, segment};
use crate::cli::when;
use crate::policy::grant::Grant;
use crate::vault::store::Listing;
use crate::vault::{Principal, StoreError};
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
        let owner = (!self.all).then(|| context.principal(self.owner.owner.clone()));
        let owner = owner.transpose()?;
        let (listed, others) = match (context.server(), &owner) {
            (Some(server), None) => (server.list("/credentials").await?, 0),
            (Some(server), Some(owner)) => {
                let path = format!("/credentials?owner={}", segment(owner.as_str()));
                (server.list(&path).await?, 0)
            }
            (None, owner) => list_here(context, owner.as_ref()).await?,
        };
        if self.format.json {
            return output::json(&listed);
        }
        if listed.is_empty() {
            output::note(&match &owner {
                Some(owner) if others > 0 => format!(
                    "{owner} has no credentials; `egret credential list --all` shows those of others"
                ),
                _ => "no credentials yet; `egret credential add SLUG --host HOST` saves one"
                    .to_owned(),
            });
            return Ok(());
        }
        let now = when::now();
        let rows: Vec<[String; 7]> = listed.iter().map(|one| row(one, now)).collect();
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

/// The credentials in the store of this machine, and how many there are of others where this owner has
/// none.
async fn list_here(
    context: &Context,
    owner: Option<&Principal>,
) -> anyhow::Result<(Vec<views::Credential>, usize)> {
    let session = context.open().await?;
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
    let listed = credentials
        .iter()
        .map(|one| views::Credential::new(one, uses.of(one)).rejected(uses.rejected_since(one)))
        .collect();
    Ok((listed, others))
}

fn row(credential: &views::Credential, now: i64) -> [String; 7] {
    let used = credential.last_used.as_deref().and_then(unix);
    [
        credential.slug.clone(),
        credential.owner.clone(),
        state(credential, now),
        credential.version.to_string(),
        age(credential, now),
        used.map_or("never".to_owned(), |used| when::ago(used, now)),
        join(&credential.hosts),
    ]
}

fn unix(text: &str) -> Option<i64> {
    message::moment(text).ok()
}

/// How old the value is, and whether it is due to be replaced.
fn age(credential: &views::Credential, now: i64) -> String {
    let age = when::ago(unix(&credential.rotated).unwrap_or(now), now);
    match credential.rotation_due.as_deref().and_then(unix) {
        Some(due) if due <= now => format!("{age} (due)"),
        _ => age,
    }
}

/// The state for people, who need to see that a credential has expired, or that upstreams refuse it.
fn state(credential: &views::Credential, now: i64) -> String {
    let expires = credential.expires.as_deref().and_then(unix);
    if expires.is_some_and(|at| at <= now) {
        return "expired".to_owned();
    }
    if credential.rejected_since.is_some() {
        return "rejected".to_owned();
    }
    credential.state.to_string()
}

pub(super) async fn show(context: &Context, show: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = show.target.parse(context)?;
    let view = match context.server() {
        Some(server) => server.credential(&owner, &slug).show().await?,
        None => {
            let session = context.open().await?;
            let found = session.store.get(&owner, &slug).await?;
            let credential = found.ok_or(StoreError::NotFound { owner, slug })?;
            let uses = LastUses::read(&session.config).await?;
            session.store.close().await;
            let mut view = CredentialDetails::new(&credential, uses.of(&credential));
            view.credential = view.credential.rejected(uses.rejected_since(&credential));
            view
        }
    };
    let grant = message::grant(&view.credential)?;
    output::data(show.format, &view, || describe_all(&grant, &view))
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

fn describe_all(grant: &Grant, details: &CredentialDetails) -> String {
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
        ("kind", listed.kind.to_string()),
        ("use as", placeholders.join(" ")),
        ("about", listed.description.clone()),
        ("state", state(listed, when::now())),
        ("version", listed.version.to_string()),
    ];
    lines.extend(describe(grant));
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
    lines.push((
        "rejected",
        listed.rejected_since.clone().unwrap_or_default(),
    ));
    lines
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:9} {value}\n"))
        .collect()
}
