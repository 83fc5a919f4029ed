//! What one request has used.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::proxy::runtime::sync::lock;
use crate::secret::{SecretBytes, is_same};
use crate::substitution::slug::Reference;
use crate::vault::Credential;

/// A value with what it was sent for.
pub type Named = (Reference, Arc<SecretBytes>);

/// The field that is no secret, though it is stored like one: a user name occurs in many honest
/// requests and answers.
const PUBLIC_FIELD: &str = "username";

/// Whether what `reference` names is no secret: it is neither taken out of answers nor guarded in
/// requests.
pub fn is_public(reference: &Reference) -> bool {
    let field = reference.field.as_ref();
    field.is_some_and(|field| field.as_str() == PUBLIC_FIELD)
}

/// Values that were sent. Clones share them.
#[derive(Clone, Default)]
pub struct Sent(Option<Arc<Vec<Named>>>);

impl Deref for Sent {
    type Target = [Named];

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().map_or(&[], |values| values.as_slice())
    }
}

/// Whether two are the same version of one credential.
fn is_version_of(one: &Credential, other: &Credential) -> bool {
    (&one.owner, &one.slug, one.version) == (&other.owner, &other.slug, other.version)
}

/// What one request has used. A body that streams adds to it on the way.
#[derive(Default)]
pub struct Used {
    recorded: AtomicBool,
    values: Mutex<Sent>,
    credentials: Mutex<Vec<Arc<Credential>>>,
    /// How many values there are, for a look without the lock.
    count: AtomicUsize,
    ignored: Mutex<Vec<String>>,
    /// Whether there is any, for a look without the lock.
    has_ignored: AtomicBool,
}

impl Used {
    /// A line of this request is on record or about to be, so a result must follow.
    pub fn set_recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    /// Whether a line of this request is on record.
    pub fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }

    /// These values are about to be sent, and may be echoed.
    pub fn add(&self, sent: &[Named]) {
        let mut secret = sent
            .iter()
            .filter(|(reference, _)| !is_public(reference))
            .peekable();
        if secret.peek().is_none() {
            return;
        }
        let mut values = lock(&self.values);
        for (reference, value) in secret {
            // A connection of many messages may send the same value for ever.
            if !values.iter().any(|(_, known)| is_same(known, value)) {
                let list = Arc::make_mut(values.0.get_or_insert_default());
                list.push((reference.clone(), Arc::clone(value)));
            }
        }
        self.count.store(values.len(), Ordering::Release);
    }

    /// These credentials were used, with the versions that they have here.
    pub fn add_credentials<'a>(&self, used: impl Iterator<Item = &'a Arc<Credential>>) {
        let mut credentials = lock(&self.credentials);
        for credential in used {
            if !credentials
                .iter()
                .any(|known| is_version_of(known, credential))
            {
                credentials.push(Arc::clone(credential));
            }
        }
    }

    /// The credentials that were used so far, each version once.
    pub fn credentials(&self) -> Vec<Arc<Credential>> {
        lock(&self.credentials).clone()
    }

    /// How many different values were sent so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// A placeholder travels literally.
    pub fn ignore(&self, reference: &Reference) {
        self.ignore_field(&reference.to_string());
    }

    /// A field of the request was left out.
    pub fn ignore_field(&self, name: &str) {
        lock(&self.ignored).push(name.to_owned());
        self.has_ignored.store(true, Ordering::Release);
    }

    /// The placeholders that travelled literally, and what was left out.
    pub fn ignored(&self) -> Vec<String> {
        if !self.has_ignored.load(Ordering::Acquire) {
            return Vec::new();
        }
        lock(&self.ignored).clone()
    }

    /// The values that were sent so far.
    pub fn values(&self) -> Sent {
        match self.count() {
            0 => Sent::default(),
            _ => lock(&self.values).clone(),
        }
    }
}
