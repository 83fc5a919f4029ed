//! Which credential a command is about, as arguments.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::usage;
use crate::cli::output::Format;
use crate::substitution::slug::Slug;
use crate::vault::Principal;

/// Which credential.
#[derive(Args)]
pub(super) struct Target {
    /// The credential's public name
    // Text, not a parsed slug: clap would quote back what does not parse, and that could be a value.
    #[arg(value_name = "SLUG")]
    slug: String,
    #[command(flatten)]
    owner: Owner,
}

/// Whose credential.
#[derive(Args)]
pub(super) struct Owner {
    /// The principal that owns the credential; `default`, or with --server the user of the token
    #[arg(long, value_name = "PRINCIPAL")]
    pub(super) owner: Option<Principal>,
}

/// The options of a command about one credential.
#[derive(Args)]
pub(super) struct CredentialArgs {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) format: Format,
}

impl Target {
    /// The owner and the slug.
    pub(super) fn parse(&self, context: &Context) -> anyhow::Result<(Principal, Slug)> {
        let slug = parse_slug(&self.slug)?;
        Ok((context.principal(self.owner.owner.clone())?, slug))
    }
}

/// A slug from an argument. The error does not quote it: it could be a value that was typed in the
/// wrong place.
pub(in crate::cli) fn parse_slug(text: &str) -> anyhow::Result<Slug> {
    Slug::parse(text).map_err(|_| {
        usage(
            "that is not a slug: a slug is 1 to 64 of a-z, 0-9, '-' and '_' and starts with a \
             letter, such as github-pat",
        )
    })
}
