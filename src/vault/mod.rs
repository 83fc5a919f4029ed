//! The vault: credentials at rest and in memory, and the one place where values are opened.
//!
//! ```text
//!   commands, admin ──► registrar ── seals ──► store (ciphertext, policy, hashes) ─► outbox ─► ledger
//!                                                │ changes since revision n
//!   every request ───► Vault::refresh ◄── commit watch (a read of shared memory)
//!                      Vault::find   ───► metadata          … authorise …
//!                      Vault::open_value ──► Arc<SecretBytes>
//! ```
//!
//! # Threats and answers
//!
//! | Threat | Answer |
//! | --- | --- |
//! | The database file or a backup of it is stolen | [`store`] has no key: values are sealed ([`seal`]), tokens are hashes. The master key is kept elsewhere ([`keyring`]). |
//! | Someone can write to the database, but has no key | The ciphertext is bound to owner, slug, field and version. Moved to a row whose hosts the attacker controls, or restored as another version, it does not open. Grants, states, shares, users, groups and clients are authenticated ([`policy_key`]): what does not verify is not used, and rows of an earlier time are noticed. |
//! | An older copy of the store is put back | The revision that the ledger has is kept outside the store. An older store is refused. |
//! | Another local user | Files are 0600, new directories 0700, whatever the umask. A key file that others can read is refused, with the command that fixes it. |
//! | The admin side is taken over | What it may hold cannot open a value: a [`StoreProbe`] answers yes or no, a [`Registrar`] seals, a [`Reader`] says what a user may know of. Values are write-only. |
//! | A weakness in one use of the master key | Each use has its own HKDF subkey; each value has its own data key, used once. |
//! | A value in a log, an error or a core dump | It exists only as [`SecretBytes`](crate::secret::SecretBytes), and buffers on the way are wiped. The vault itself keeps no value open; requests that need one at the same time share it. SQL logging is off. |
//! | A deleted or rotated value found in free pages | The store overwrites them and empties its log. (The copies that a flash disk keeps are still encrypted.) |
//! | A revoked credential used by a running server | Every request asks a [`CommitWatch`](store::CommitWatch) first. A change that cannot be read stops the request ([`StoreUnavailable`]); it is never decided on an older state. |
//! | An unrecorded change | The ledger event is written in the transaction of the change ([`store::AdminEvent`]). |
//! | A version number that means two values | Versions are never reused, also not after a delete: a tombstone keeps the number. |
//! | A wrong master key, used by mistake | The store knows the name of its key and refuses another ([`Store::open`]). |
//! | A guessed or timed token | 256 random bits; hashes and signatures are compared in constant time. |
//! | A client that probes for slugs of others | Unknown, revoked, expired, deleted and someone else's are one answer: [`Found::None`]. |

pub mod access;
pub mod approval;
pub mod attachment;
pub mod cache;
pub mod client_proof;
pub mod credential_input;
pub mod egress;
pub mod handover;
pub mod key_request;
mod key_ring;
pub mod key_wrap;
pub mod keyring;
pub mod model;
pub mod name;
pub mod people;
pub mod policy_key;
mod probe;
pub mod readable;
pub mod record;
pub mod registrar;
mod rekey;
pub mod rights;
pub mod rotation;
pub mod seal;
mod sealed_value;
pub mod sharing;
mod slug_text;
pub mod stand_in;
pub mod store;
pub mod token_id;

#[cfg(test)]
pub(crate) mod fixture;

pub use cache::listing::{ListOrder, ListPart, Place as ListPlace};
pub use cache::reader::{Reader, Sight};
pub use cache::{Found, Vault, VaultError};
pub use key_ring::KeyId;
pub use keyring::{KeySource, KeySources, Keyring};
pub use model::{Client, Credential, Kind, NewCredential, State};
pub use name::{Actor, CallerName, ClientName, GroupName, Principal};
pub use probe::StoreProbe;
pub use registrar::Registrar;
pub use rekey::rekey;
pub use seal::OpenError;
pub use store::{Rekeyed, Store, StoreError, StoreUnavailable, StoreUrl};
