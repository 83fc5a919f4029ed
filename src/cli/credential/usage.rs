//! `egret credential usage`: what the ledger knows about one credential.

use super::target::CredentialArgs;
use crate::cli::context::Context;
use crate::cli::{output, when};
use crate::config::Config;
use crate::ledger::Timestamp;
use crate::ledger::usage::{ActionUsage, RecentUse, Rejections, UsageError, UsageIndex};
use crate::vault::{Credential, State, StoreError};
use crate::views::Usage;

/// Uses that are printed one by one.
const SHOWN: usize = 5;

/// When each credential was last used, and which ones upstreams refuse.
pub(super) struct LastUses {
    uses: crate::ledger::usage::LastUses,
    rejections: Rejections,
}

impl LastUses {
    pub(super) async fn read(config: &Config) -> Result<Self, UsageError> {
        let mut index = UsageIndex::open(&config.ledger_dir()).await?;
        let uses = index.last_uses().await?;
        let rejections = index.rejections().await?;
        index.close().await;
        Ok(Self { uses, rejections })
    }

    /// Since when upstreams refuse the version in force of a credential that is not revoked, unix
    /// seconds, as the ledger has it.
    pub(super) fn rejected_since(&self, credential: &Credential) -> Option<i64> {
        let name = (credential.owner.to_string(), credential.slug.to_string());
        let (version, since) = self.rejections.get(&name)?;
        let is_in_force = *version == credential.version && credential.state == State::Active;
        is_in_force.then(|| since.unix_micros() / 1_000_000)
    }

    pub(super) fn of(&self, credential: &Credential) -> Option<Timestamp> {
        let name = (credential.owner.to_string(), credential.slug.to_string());
        self.uses.get(&name).copied()
    }
}

pub(super) async fn run(context: &Context, asked: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = asked.target.parse(context)?;
    if let Some(server) = context.server() {
        let path = format!("/credentials/{owner}/{slug}/usage");
        let usage: Usage = server.get(&path).await?;
        return output::data(asked.format, &usage, || describe(&usage));
    }
    let session = context.open().await?;
    let exists = session.store.get(&owner, &slug).await?.is_some();
    session.store.close().await;
    let mut index = UsageIndex::open(&session.config.ledger_dir()).await?;
    let usage = index.usage(owner.as_str(), slug.as_str()).await?;
    index.close().await;
    // A deleted credential is still in the ledger; one that never existed is a mistake.
    if !exists && !usage.is_known {
        return Err(StoreError::NotFound { owner, slug }.into());
    }
    output::data(asked.format, &usage, || describe(&usage))
}

fn short(time: Timestamp) -> String {
    when::short(time.unix_micros() / 1_000_000)
}

fn describe(usage: &Usage) -> String {
    let slug = &usage.slug;
    if usage.actions.is_empty() {
        return format!("{slug} was never used.\n");
    }
    let mut text = format!(
        "{slug} of {}: used {}, denied {}\n\n{}",
        usage.owner,
        times(usage.uses),
        times(usage.denied),
        actions(&usage.actions)
    );
    if let Some(since) = usage.rejected_since {
        text += &format!("\nUpstreams refuse it since {}.\n", short(since));
    }
    if usage.more_actions > 0 {
        text += &format!(
            "and {} more actions, last seen earlier\n",
            usage.more_actions
        );
    }
    if !usage.recent.is_empty() {
        text += "\nLast uses:\n";
    }
    for used in usage.recent.iter().take(SHOWN) {
        text += &format!("  {}\n", output::printable(&describe_use(used)));
    }
    if usage.from_seq > 1 {
        text += &format!(
            "\nCounted from line {} of the ledger on: earlier lines are no longer kept.\n",
            usage.from_seq
        );
    }
    text
}

fn actions(actions: &[ActionUsage]) -> String {
    let rows: Vec<[String; 6]> = actions
        .iter()
        .map(|action| {
            let versions: Vec<_> = action.versions.iter().map(u32::to_string).collect();
            let outcomes = action.outcomes.iter();
            let outcomes: Vec<_> = outcomes
                .map(|(name, count)| format!("{name}: {count}"))
                .collect();
            [
                output::printable(&action.action),
                action.uses.to_string(),
                action.denied.to_string(),
                versions.join(", "),
                action.last_used.map(short).unwrap_or_default(),
                output::printable(&outcomes.join(", ")),
            ]
        })
        .collect();
    let headers = [
        "ACTION",
        "USES",
        "DENIED",
        "VERSIONS",
        "LAST USED (UTC)",
        "OUTCOMES",
    ];
    output::table(headers, &rows)
}

fn describe_use(used: &RecentUse) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let version = used.version.map(|version| format!("@{version}"));
    format!(
        "{} {}{} {} {}{} {}",
        short(used.time),
        or_dash(&used.action),
        version.unwrap_or_default(),
        or_dash(&used.method),
        or_dash(&used.destination),
        used.path.as_deref().unwrap_or_default(),
        used.outcome.as_deref().unwrap_or("open"),
    )
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chose_cannot_move_the_cursor() {
        let action = "x\x1b[2J".to_owned();
        let usage = Usage {
            slug: "pat".to_owned(),
            uses: 1,
            recent: vec![RecentUse {
                seq: 1,
                time: Timestamp::from_unix_micros(1),
                request: None,
                field: None,
                version: Some(1),
                principal: None,
                client: None,
                action: Some(action.clone()),
                run: None,
                method: None,
                destination: None,
                path: None,
                outcome: None,
            }],
            actions: vec![ActionUsage {
                action,
                uses: 1,
                ..ActionUsage::default()
            }],
            from_seq: 7,
            ..Usage::default()
        };
        let text = describe(&usage);
        assert!(!text.contains('\x1b'), "{text}");
        assert!(
            text.contains("used once") && text.contains("from line 7"),
            "{text}"
        );
    }
}
