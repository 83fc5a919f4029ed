//! Puts the store under the next master key.

use crate::vault::keyring::Keyring;
use crate::vault::name::Actor;
use crate::vault::seal::{EncryptionContext, Sealed};
use crate::vault::store::{Progress, Rekeyed, Store, StoreError, ValueOf};

/// Seals everything in the store again under the newest key of the keyring, which is in use from then
/// on. `None` if it is under that key already. It can be repeated after it was interrupted anywhere.
///
/// # Errors
/// When the store cannot be read or written, or is not what Egret wrote last. It is unchanged then.
pub async fn rekey(
    store: &Store,
    keyring: &Keyring,
    actor: &Actor,
    progress: &Progress<'_>,
) -> Result<Option<Rekeyed>, StoreError> {
    let (opener, sealer) = (keyring.opener(), keyring.sealer().newest());
    let reseal = |value: ValueOf<'_>, sealed: &Sealed| {
        let context = EncryptionContext {
            owner: value.owner,
            slug: value.slug,
            field: value.field,
            version: value.version,
        };
        let value = opener.open(context, sealed).ok()?;
        sealer.seal(context, &value).ok()
    };
    let next = keyring.policy_keys().newest();
    let rekeyed = store.rekey(actor, &next, &reseal, progress).await?;
    store.rekey_record().await?;
    Ok(rekeyed)
}

#[cfg(test)]
mod tests;
