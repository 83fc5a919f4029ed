//! The variables that are kept from the program, because they hold what it must not have.

use std::ffi::OsString;
use std::sync::Arc;

use super::proxy::ProxyHandle;
use crate::cli::child::withhold::{Kept, Withheld};
use crate::cli::output;
use crate::config::Config;
use crate::environment::inherited::{API_TOKEN_VARIABLE, TOKEN_VARIABLE};
use crate::secret::SecretBytes;
use crate::vault::{KeySource, Keyring, Kind, Principal, Vault};

/// The inherited variables that hold a stored value, the master key or a token of Egret's.
pub(super) async fn find(
    config: &Config,
    proxy: &ProxyHandle,
    principal: &Principal,
) -> anyhow::Result<Vec<Kept>> {
    let mut values = with_vault(config, proxy, |vault| values(vault, principal)).await?;
    for source in config.keys.all(&config.data_dir) {
        let copies = source.copies(&config.data_dir);
        values.extend(copies.into_iter().map(Arc::new));
    }
    for name in [TOKEN_VARIABLE, API_TOKEN_VARIABLE] {
        if let Some(token) = std::env::var_os(name) {
            values.push(Arc::new(SecretBytes::new(token.into_encoded_bytes())));
        }
    }
    let own = own_variables(config);
    let others = std::env::vars_os().filter(|(name, _)| !own.contains(name));
    Ok(Withheld::new(values).of(others))
}

/// Reads from the vault of the proxy in this process, or from one that is opened for it.
pub(super) async fn with_vault<T>(
    config: &Config,
    proxy: &ProxyHandle,
    read: impl FnOnce(&Vault) -> T,
) -> anyhow::Result<T> {
    if let Some(vault) = proxy.vault() {
        return Ok(read(vault));
    }
    let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
    let vault = Vault::open(&config.data_dir, &config.store.url, &keyring).await?;
    let result = read(&vault);
    vault.store().close().await;
    Ok(result)
}

/// Every value that the program could use, without user names, which would withhold `USER`.
fn values(vault: &Vault, principal: &Principal) -> Vec<Arc<SecretBytes>> {
    let mut values = Vec::new();
    for credential in vault.live(principal) {
        for field in credential.references() {
            let name = field.map(|field| field.as_str());
            if credential.kind == Kind::Login && name == Some("username") {
                continue;
            }
            match vault.open_value(&credential, field) {
                Ok(value) => values.push(value),
                Err(error) => output::note(&format!(
                    "the variables could not be searched for the value of {}: {error}",
                    credential.slug
                )),
            }
        }
    }
    values
}

/// Variables of Egret's own that a program must not have: the master key opens everything, a token that
/// was given to `egret env` outlives the program, and one for the API changes what the program may do.
pub(super) fn own_variables(config: &Config) -> Vec<OsString> {
    let mut names = vec![TOKEN_VARIABLE.into(), API_TOKEN_VARIABLE.into()];
    for source in config.keys.all(&config.data_dir) {
        if let KeySource::Env(name) = source {
            names.push(name.into());
        }
    }
    names
}

/// Says which variables are kept from the program.
pub(super) fn note(kept: &[Kept]) {
    let name = |kept: &Kept| {
        if kept.is_name_secret {
            "one whose name holds a secret".to_owned()
        } else {
            output::printable(&kept.name.to_string_lossy())
        }
    };
    output::note(&format!(
        "kept from the program, because they hold a stored value, the master key or a token: {}",
        kept.iter().map(name).collect::<Vec<_>>().join(", ")
    ));
}
