//! `egret credential allow`

use clap::Args;
use serde_json::json;

use super::limits::{Limits, describe, seconds};
use super::remarks;
use super::target::Target;
use super::uses::Uses;
use crate::cli::context::{Context, actor};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::cli::remote::{Thing, message};
use crate::policy::grant::{Grant, HostPattern};
use crate::vault::StoreError;
use crate::views::{CredentialDetails, LimitsChange};

/// Change where a credential may be used, without touching its value
///
/// A limit that is given replaces the old one as a whole, or is added to it with --add. Other limits
/// stay. `--method '*'`, `--action '*'`, `--path /` and `--expires never` remove a limit. The change
/// holds from the next request on.
#[derive(Args)]
#[command(after_help = "\
Examples:
  Allow one more host:
    egret credential allow github-pat --add --host uploads.github.com

  From now on only reading, only for one action:
    egret credential allow github-pat --method GET --action weekly-report")]
pub(super) struct Allow {
    #[command(flatten)]
    target: Target,
    /// Hosts that may receive it; repeatable
    #[arg(long = "host", value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<HostPattern>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    uses: Uses,
    /// How old the value may become before it is due to be replaced: 90d, or never
    #[arg(long, value_name = "TIME", value_parser = parse_rotation)]
    rotate_every: Option<Rotation>,
    /// Add to what is allowed already instead of replacing it
    #[arg(long)]
    add: bool,
    #[command(flatten)]
    format: Format,
}

impl Allow {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let is_empty = self.hosts.is_empty() && self.limits.is_empty() && self.uses.is_empty();
        if is_empty && self.rotate_every.is_none() {
            return Err(usage(
                "nothing to change: give at least one of --host, --in, --method, --path, --action \
                 --expires, --copies, --max-uses, --approve and \
                 --rotate-every",
            ));
        }
        let (owner, slug) = self.target.parse(context)?;
        let rotation = self.rotate_every.map(|Rotation(every)| every);
        let wanted = |before: &Grant| Grant {
            uses: self.uses.change(before.uses),
            ..self.limits.change(self.hosts, before.clone(), self.add)
        };
        let made = match context.server() {
            Some(server) => {
                let thing = server.credential(&owner, &slug);
                allow_at(&thing, wanted, rotation).await?
            }
            None => {
                let session = context.open().await?;
                let found = session.store.get(&owner, &slug).await?;
                let Some(credential) = found else {
                    return Err(StoreError::NotFound { owner, slug }.into());
                };
                let before = credential.grant;
                let after = wanted(&before);
                let new = after
                    .hosts
                    .iter()
                    .filter(|host| !before.hosts.contains(host));
                let new: Vec<_> = new.cloned().collect();
                remarks::say_passed_through(&new, &session.config);
                let registrar = &session.registrar;
                let mut made = Made::new(before, after);
                if let Some(every) = rotation {
                    made.rotation = registrar
                        .rotate_every(&actor(), &owner, &slug, every)
                        .await?;
                }
                made.limits = registrar
                    .allow(&actor(), &owner, &slug, made.after.clone())
                    .await?;
                session.finish().await?;
                made
            }
        };
        let changed = made.limits || made.rotation;
        let (owner, slug) = (owner.as_str(), slug.as_str());
        let view = LimitsChange {
            changed,
            owner,
            slug,
        };
        output::data(self.format, &view, || {
            if made.rotation && made.before == made.after {
                format!("Changed when {slug} is due to be replaced.\n")
            } else {
                difference(slug, &made.before, &made.after)
            }
        })
    }
}

/// The limits before and after a change, and what is different now.
struct Made {
    before: Grant,
    after: Grant,
    limits: bool,
    rotation: bool,
}

impl Made {
    fn new(before: Grant, after: Grant) -> Self {
        Self {
            before,
            after,
            limits: false,
            rotation: false,
        }
    }
}

/// Changes the limits at a server elsewhere.
async fn allow_at(
    thing: &Thing<'_>,
    wanted: impl FnOnce(&Grant) -> Grant,
    rotation: Option<Option<i64>>,
) -> anyhow::Result<Made> {
    let known: CredentialDetails = thing.show().await?;
    let before = message::grant(&known.credential)?;
    let after = wanted(&before);
    let mut made = Made::new(before, after);
    if let Some(every) = rotation {
        let message = json!({ "rotate_every": every });
        made.rotation = thing.put("/rotation", &message).await?.changed;
    }
    if made.before != made.after {
        let message = message::limits(&made.after);
        let put = thing.put("/limits", &message).await?;
        made.limits = put.changed;
        let after: CredentialDetails = put.view()?;
        after.remarks.iter().for_each(|remark| output::note(remark));
    }
    Ok(made)
}

/// After how many seconds a value is due to be replaced; never without.
#[derive(Clone, Copy)]
struct Rotation(Option<i64>);

fn parse_rotation(text: &str) -> Result<Rotation, humantime::DurationError> {
    if text == "never" {
        return Ok(Rotation(None));
    }
    humantime::parse_duration(text).map(|every| Rotation(Some(seconds(every))))
}

/// What is different, in words, so that no one is surprised by a replaced list later.
fn difference(slug: &str, before: &Grant, after: &Grant) -> String {
    let changes: String = describe(before)
        .into_iter()
        .zip(describe(after))
        .filter(|((_, before), (_, after))| before != after)
        .map(|((name, before), (_, after))| {
            format!("  {name:9} {after}\n  {:9} (was: {before})\n", "")
        })
        .collect();
    if changes.is_empty() {
        format!("{slug} allows that already; nothing was changed.\n")
    } else {
        format!("Changed where {slug} may be used:\n{changes}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_what_changed_and_what_it_was() {
        let before = Grant::for_hosts(vec!["a.example".parse().expect("a pattern")]);
        let mut after = before.clone();
        after.methods = vec!["GET".to_owned()];
        let expected = "Changed where s may be used:\n  methods   GET\n            (was: any)\n";
        assert_eq!(difference("s", &before, &after), expected);
        assert!(difference("s", &before, &before).contains("nothing was changed"));
    }
}
