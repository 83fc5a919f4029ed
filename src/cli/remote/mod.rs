//! `--server`: commands about a server elsewhere, over its API, with the rights of a personal token.
//!
//! ```text
//!   --server, EGRET_SERVER ─► ServerArgs ─► Remote ─► fetch ─► /api/v1
//! ```
//!
//! # Threats and answers
//!
//! | Threat | Answer |
//! | --- | --- |
//! | The token is in the process list or the shell's history | It comes from a variable or a file, never from an argument. |
//! | Somebody on the way reads the token or a value | https, checked against the system's roots or `--server-ca`; http to this machine only. |
//! | A change meets a state that the command has not seen | Each change carries the `ETag` of what it changes. |
//! | The server's answer moves the cursor of a terminal | Control characters are taken out of its texts. |
//! | A command works on the store here although a server was named | A command that has no way over the API refuses. |

mod exchange;
mod lines;
pub(super) mod message;
mod options;
mod thing;

pub(super) use self::exchange::{Remote, segment};
pub(super) use self::lines::{RemoteLines, record};
pub(super) use self::options::{ONLY_HERE, ServerArgs, is_out_of_place};
pub(super) use self::thing::Thing;
