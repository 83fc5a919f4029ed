//! The short commands that change one credential.

use anyhow::Context as _;
use clap::Args;

use super::target::{CredentialArgs, Target};
use crate::cli::context::{Context, actor};
use crate::cli::output::{self, Format};
use crate::cli::value::{self, NoArgument};
use crate::substitution::slug::Slug;
use crate::vault::Principal;
use crate::vault::{State, StoreError};
use crate::views::{CredentialChange, CredentialVersion};

#[derive(Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    no_value: NoArgument,
}

#[derive(Args)]
pub(super) struct Share {
    #[command(flatten)]
    target: Target,
    /// The other principal
    #[arg(long, value_name = "PRINCIPAL")]
    with: Principal,
    #[command(flatten)]
    format: Format,
}

pub(super) async fn rotate(context: &Context, rotate: &Rotate) -> anyhow::Result<()> {
    rotate.no_value.check("egret credential rotate SLUG")?;
    let (owner, slug) = rotate.target.parse()?;
    let session = context.open().await?;
    let registrar = session.registrar().await?;
    // Asked for only when there is something to rotate; the kind decides how.
    let Some(credential) = session.store.get(owner, &slug).await? else {
        let owner = owner.clone();
        return Err(StoreError::NotFound { owner, slug }.into());
    };
    let value = value::read(credential.kind, slug.as_str())?;
    let version = registrar
        .rotate(&actor(), owner, &slug, value)
        .await
        .context("nothing was changed")?;
    session.finish().await?;
    let view = CredentialVersion {
        owner: owner.as_str(),
        slug: slug.as_str(),
        version,
    };
    let effect = match credential.state {
        State::Active => "Requests use it from now on.",
        State::Revoked => "It stays revoked.",
    };
    output::data(rotate.format, &view, || {
        format!("{slug} is at version {version}. {effect}\n")
    })
}

pub(super) async fn revoke(context: &Context, revoke: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = revoke.target.parse()?;
    let session = context.open().await?;
    let changed = session.store.revoke(&actor(), owner, &slug).await?;
    session.finish().await?;
    let text = if changed {
        format!("{slug} is revoked. `egret credential restore {slug}` undoes it.")
    } else {
        format!("{slug} was revoked already.")
    };
    report(revoke.format, changed, &slug, &text)
}

pub(super) async fn restore(context: &Context, restore: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = restore.target.parse()?;
    let session = context.open().await?;
    let changed = session.store.restore(&actor(), owner, &slug).await?;
    session.finish().await?;
    let text = if changed {
        format!("{slug} works again.")
    } else {
        format!("{slug} was not revoked.")
    };
    report(restore.format, changed, &slug, &text)
}

pub(super) async fn delete(context: &Context, delete: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = delete.target.parse()?;
    let session = context.open().await?;
    session.store.delete(&actor(), owner, &slug).await?;
    session.finish().await?;
    let text = format!("{slug} is deleted, with all its values.");
    report(delete.format, true, &slug, &text)
}

pub(super) async fn share(context: &Context, share: &Share) -> anyhow::Result<()> {
    let (owner, slug) = share.target.parse()?;
    let session = context.open().await?;
    let changed = session
        .store
        .share(&actor(), owner, &slug, &share.with)
        .await?;
    session.finish().await?;
    let text = if changed {
        format!("{} may use {slug} of {owner}.", share.with)
    } else {
        format!("{slug} of {owner} was shared with {} already.", share.with)
    };
    report(share.format, changed, &slug, &text)
}

pub(super) async fn unshare(context: &Context, share: &Share) -> anyhow::Result<()> {
    let (owner, slug) = share.target.parse()?;
    let session = context.open().await?;
    let changed = session
        .store
        .unshare(&actor(), owner, &slug, &share.with)
        .await?;
    session.finish().await?;
    let text = if changed {
        format!("{} may no longer use {slug} of {owner}.", share.with)
    } else {
        format!("{slug} of {owner} was not shared with {}.", share.with)
    };
    report(share.format, changed, &slug, &text)
}

/// Says in a sentence, or in JSON, whether the credential is different now.
fn report(format: Format, changed: bool, slug: &Slug, text: &str) -> anyhow::Result<()> {
    let slug = slug.as_str();
    output::data(format, &CredentialChange { changed, slug }, || {
        format!("{text}\n")
    })
}
