//! The link with which the first administrator signs in.

use anyhow::{Context as _, Result};

use crate::admin::{AdminContext, signin};
use crate::identity::{Bearer, Purpose};
use crate::vault::Actor;
use crate::vault::access::LinkId;

/// A one-time link, if nobody administers this store yet and no link was ever made. Later starts
/// leave it to `egret admin link`: a link in the output of every start would be in every log.
pub(super) async fn first_link(admin: &AdminContext) -> Result<Option<String>> {
    let settings = admin.settings();
    let registrar = &settings.registrar;
    if registrar.is_administered().await? {
        return Ok(None);
    }
    let token = Bearer::generate(Purpose::Link).context("no randomness")?;
    let actor = Actor::server("start");
    registrar
        .make_link(&actor, &LinkId::Administrator, &token.hash())
        .await?;
    Ok(Some(signin::link_url(&settings.names, &token)))
}
