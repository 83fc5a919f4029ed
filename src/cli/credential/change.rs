//! The short commands that change one credential.

use super::target::CredentialArgs;
use crate::cli::context::{Context, actor};
use crate::cli::output::{self, Format};
use crate::substitution::slug::Slug;
use crate::views::CredentialChange;

pub(super) async fn revoke(context: &Context, revoke: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = revoke.target.parse(context)?;
    let changed = match context.server() {
        Some(server) => {
            let thing = server.credential(&owner, &slug);
            thing.ask("/revoke").await?.changed
        }
        None => {
            let session = context.open().await?;
            let registrar = &session.registrar;
            let changed = registrar.revoke(&actor(), &owner, &slug).await?;
            session.finish().await?;
            changed
        }
    };
    let text = if changed {
        format!("{slug} is revoked. `egret credential restore {slug}` undoes it.")
    } else {
        format!("{slug} was revoked already.")
    };
    report(revoke.format, changed, &slug, &text)
}

pub(super) async fn restore(context: &Context, restore: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = restore.target.parse(context)?;
    let changed = match context.server() {
        Some(server) => {
            let thing = server.credential(&owner, &slug);
            thing.ask("/restore").await?.changed
        }
        None => {
            let session = context.open().await?;
            let registrar = &session.registrar;
            let changed = registrar.restore(&actor(), &owner, &slug).await?;
            session.finish().await?;
            changed
        }
    };
    let text = if changed {
        format!("{slug} works again.")
    } else {
        format!("{slug} was not revoked.")
    };
    report(restore.format, changed, &slug, &text)
}

pub(super) async fn delete(context: &Context, delete: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = delete.target.parse(context)?;
    if let Some(server) = context.server() {
        server.credential(&owner, &slug).delete("").await?;
        let text = format!("{slug} is deleted, with its shares and all its values.");
        return report(delete.format, true, &slug, &text);
    }
    let session = context.open().await?;
    let registrar = &session.registrar;
    let erased = registrar.delete(&actor(), &owner, &slug).await?;
    session.finish().await?;
    let versions: Vec<_> = erased.iter().map(u32::to_string).collect();
    let text = if versions.is_empty() {
        format!("{slug}, which something other than Egret had changed, is deleted with its values.")
    } else {
        let versions = versions.join(", ");
        format!("{slug} is deleted, with its shares and the values of version {versions}.")
    };
    report(delete.format, true, &slug, &text)
}

/// Says in a sentence, or in JSON, whether the credential is different now.
fn report(format: Format, changed: bool, slug: &Slug, text: &str) -> anyhow::Result<()> {
    let slug = slug.as_str();
    output::data(format, &CredentialChange { changed, slug }, || {
        format!("{text}\n")
    })
}
