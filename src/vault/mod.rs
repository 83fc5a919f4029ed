//! The vault: credentials at rest, in memory, and the one place where they are opened.
//!
//! ```text
//!   commands, admin ──► registrar ── seals ──► store (ciphertext, policy, hashes) ─► outbox ─► ledger
//!                                                │ changes since revision n
//!   every request ───► Vault::refresh ◄── change marker (one look)
//!                      Vault::find   ───► metadata          … authorise …
//!                      Vault::open_value ──► Arc<SecretBytes>
//! ```
//!
//! # What each choice answers
//!
//! | Threat | Answer |
//! | --- | --- |
//! | The database file or a backup of it is stolen | [`store`] has no key: values are sealed ([`seal`]), tokens are hashes. The master key lies elsewhere ([`keyring`]). |
//! | Someone can write to the database, but has no key | The ciphertext is bound to owner, slug, field and version: moved to a row whose hosts the attacker controls, or brought back as another version, it does not open. (The limits of a credential itself are not sealed: who can write the database can widen them. It is a file of mode 0600 for that reason.) |
//! | Another local user | Files are 0600, new directories 0700, whatever the umask. A key file that others can read is refused, with the command that mends it. |
//! | The admin side is taken over | It holds a [`Sealer`](seal::Sealer), which cannot open. Values are write-only. |
//! | A weak spot in one use of the master key | Each use has its own HKDF subkey; each value its own data key, used once. |
//! | A value in a log, an error or a core dump | It exists only as [`SecretBytes`](crate::secret::SecretBytes), buffers on the way are wiped, and the vault keeps nothing open: who needs a value that others have open gets that same one. SQL logging is off. |
//! | A deleted or rotated value found in free pages | SQLite's `secure_delete` overwrites them, and the write-ahead log is emptied. (What a flash disk keeps by itself is encrypted still.) |
//! | A revoked credential used by a running server | Every request asks [`CommitWatch`](store::CommitWatch) first; a change that cannot be read stops the request ([`StoreUnavailable`]) rather than letting it go on with what was known. |
//! | A change that leaves no trace | The ledger event is written in the transaction of the change ([`store::AdminEvent`]). |
//! | A version number that means two values | Versions go on counting after a delete: a tombstone keeps the number. |
//! | A second, wrong master key put into use by mistake | The store knows the name of its key and refuses another ([`Store::bind_key`]). |
//! | A guessed or timed token | 256 random bits; hashes and signatures are compared in constant time. |
//! | Someone probing for slugs of others | Unknown, revoked, expired, deleted and someone else's are one answer: [`Found::None`]. |

pub mod cache;
pub mod credential_input;
pub mod key_wrap;
pub mod keyring;
pub mod model;
pub mod name;
mod probe;
pub mod registrar;
pub mod seal;
mod sealed_value;
pub mod store;

#[cfg(test)]
pub(crate) mod fixture;

pub use cache::{Found, Vault, VaultError};
pub use keyring::{KeySource, Keyring};
pub use model::{Client, Credential, Kind, NewCredential, State};
pub use name::{Actor, ClientName, Principal};
pub use probe::StoreProbe;
pub use registrar::Registrar;
pub use seal::OpenError;
pub use store::{Store, StoreError, StoreUnavailable, StoreUrl};
