//! What one request has used.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::proxy::runtime::sync::lock;
use crate::secret::{SecretBytes, is_same};
use crate::substitution::slug::Reference;

/// A value with what it was sent for.
pub type Named = (Reference, Arc<SecretBytes>);

/// Values that were sent. Clones share them.
#[derive(Clone, Default)]
pub struct Sent(Option<Arc<Vec<Named>>>);

impl Deref for Sent {
    type Target = [Named];

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().map_or(&[], |values| values.as_slice())
    }
}

/// What one request has used. A body that streams adds to it on the way.
#[derive(Default)]
pub struct Used {
    recorded: AtomicBool,
    values: Mutex<Sent>,
    /// How many values there are, for a look without the lock.
    count: AtomicUsize,
    ignored: Mutex<Vec<String>>,
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
        if sent.is_empty() {
            return;
        }
        let mut values = lock(&self.values);
        for (reference, value) in sent {
            // A connection of many messages may send the same value for ever.
            if !values.iter().any(|(_, known)| is_same(known, value)) {
                let list = Arc::make_mut(values.0.get_or_insert_default());
                list.push((reference.clone(), Arc::clone(value)));
            }
        }
        self.count.store(values.len(), Ordering::Release);
    }

    /// How many different values were sent so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// A placeholder travels literally.
    pub fn ignore(&self, reference: &Reference) {
        lock(&self.ignored).push(reference.to_string());
    }

    /// The placeholders that travelled literally.
    pub fn ignored(&self) -> Vec<String> {
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
