//! The ledger, checked. (Its lines are shown byte for byte; what it counts is
//! [`Usage`](super::Usage).)

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::sorted::sorted;
use crate::ledger::background_check::{Found, Latest};
use crate::ledger::proof::{self, Proof};
use crate::ledger::verify::{Flaw, KeySource, Report, Verified, Witnessed};
use crate::ledger::{Record, Timestamp};

/// A ledger that was found to be in order.
#[derive(Debug, Serialize)]
pub struct VerifiedLedger<'a> {
    /// The key that signed it.
    pub key: Option<String>,
    /// Whether the key was `given`, or is the one `beside the ledger`.
    pub key_source: Option<&'static str>,
    /// What was checked.
    #[serde(serialize_with = "sorted")]
    pub report: &'a Report,
    /// Torn lines that were set aside after crashes.
    pub set_aside: &'a [String],
    /// Whether it has checkpoints.
    pub signed: bool,
    /// True.
    pub verified: bool,
    /// What each witness has signed.
    #[serde(serialize_with = "sorted")]
    pub witnessed: &'a [Witnessed],
}

impl<'a> VerifiedLedger<'a> {
    /// The view of what was found.
    pub fn new(found: &'a Verified, set_aside: &'a [String]) -> Self {
        let source = found.key.as_ref().map(|(_, source)| match source {
            KeySource::Given => "given",
            KeySource::Beside => "beside the ledger",
        });
        Self {
            key: found.key.as_ref().map(|(key, _)| key.to_string()),
            key_source: source,
            report: &found.report,
            set_aside,
            signed: found.report.checkpoints > 0,
            verified: true,
            witnessed: &found.witnessed,
        }
    }
}

/// The first flaw of a ledger that is not in order.
#[derive(Debug, Serialize)]
pub struct LedgerFlaw<'a> {
    /// The name of the file.
    pub file: &'a str,
    /// The line in that file, counted from 1.
    pub line: Option<u64>,
    /// What is wrong with it.
    pub problem: String,
    /// The sequence number that the line has, or ought to have.
    pub seq: Option<u64>,
    /// False.
    pub verified: bool,
}

impl<'a> LedgerFlaw<'a> {
    /// The view of a flaw.
    pub fn new(flaw: &'a Flaw) -> Self {
        Self {
            file: &flaw.file,
            line: flaw.line,
            problem: flaw.wrong.to_string(),
            seq: flaw.seq,
            verified: false,
        }
    }
}

/// A proof that a line is in the ledger.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LedgerProof<'a> {
    /// The signed checkpoint under which the line is proven.
    pub checkpoint: &'a str,
    /// The place of the line, counted from 0.
    pub index: u64,
    /// The line, byte for byte.
    pub line: &'a str,
    /// The hashes from the line to the root, in base64 (RFC 6962 section 2.1.1).
    pub path: Vec<String>,
    /// All of it in the form that `egret ledger verify-proof` reads.
    pub proof: &'a str,
}

impl<'a> LedgerProof<'a> {
    /// The view of a proof, of which `text` is the written form.
    pub fn new(proof: &'a Proof, text: &'a str) -> Self {
        let path = proof.path.iter();
        Self {
            checkpoint: &proof.checkpoint,
            index: proof.index,
            line: &proof.line,
            path: path
                .map(|hash| BASE64_STANDARD.encode(hash.as_bytes()))
                .collect(),
            proof: text,
        }
    }
}

/// The check of the ledger that runs at a server, or the last one there.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LedgerCheck {
    /// Which check it is, counted from the start of the server; 0 if there was none.
    pub number: u64,
    /// `none`, `running`, `whole`, `wrong`, or `unreadable` if the files cannot be read.
    pub state: Cow<'static, str>,
    /// Lines that were checked until now.
    pub lines: u64,
    /// When it ended.
    pub ended: Option<String>,
    /// Checkpoints whose signature was checked.
    pub checkpoints: Option<u64>,
    /// Lines after the last of them.
    pub unsigned: Option<u64>,
    /// Checkpoints kept elsewhere with which it agrees.
    pub kept: Option<u64>,
    /// What is wrong.
    pub problem: Option<String>,
}

impl LedgerCheck {
    /// The view of a check.
    pub fn new(number: u64, latest: &Latest) -> Self {
        let none = Self {
            number,
            state: "none".into(),
            lines: 0,
            ended: None,
            checkpoints: None,
            unsigned: None,
            kept: None,
            problem: None,
        };
        let (at, found) = match latest {
            Latest::None => return none,
            Latest::Running(_) => {
                return Self {
                    state: "running".into(),
                    lines: latest.progress().unwrap_or(0),
                    ..none
                };
            }
            Latest::Ended { at, found } => (at, found),
        };
        let ended = Self {
            ended: Some(at.to_string()),
            ..none
        };
        match found {
            Found::Whole {
                lines,
                checkpoints,
                unsigned,
                kept,
            } => Self {
                state: "whole".into(),
                lines: *lines,
                checkpoints: Some(*checkpoints),
                unsigned: Some(*unsigned),
                kept: Some(*kept),
                ..ended
            },
            Found::Wrong(problem) => Self {
                state: "wrong".into(),
                problem: Some(problem.clone()),
                ..ended
            },
            Found::Unreadable => Self {
                state: "unreadable".into(),
                ..ended
            },
        }
    }
}

/// The latest checkpoint, as the API shows it.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignedCheckpoint {
    /// The ledger's public key.
    pub key: String,
    /// The signed note.
    pub note: String,
    /// The name of the ledger.
    pub origin: String,
    /// The number of lines.
    pub size: u64,
    /// When it was signed.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
}

impl SignedCheckpoint {
    /// The view of what is signed.
    pub fn new(latest: &proof::Latest) -> Self {
        Self {
            key: latest.key.to_string(),
            note: latest.note.clone(),
            origin: latest.checkpoint.origin.to_string(),
            size: latest.checkpoint.size(),
            time: latest.checkpoint.time,
        }
    }
}

/// The latest checkpoint.
#[derive(Debug, Serialize)]
pub struct Checkpoint<'a> {
    /// How long ago it was signed, in words.
    pub age: String,
    /// The ledger's public key.
    pub key: String,
    /// The signed note.
    pub note: &'a str,
    /// The name of the ledger.
    pub origin: &'a str,
    /// The number of lines.
    pub size: u64,
    /// When it was signed.
    pub time: Timestamp,
}

/// The ledger's public key.
#[derive(Debug, Serialize)]
pub struct LedgerKey {
    /// As C2SP signed-note writes it.
    pub key: String,
}

/// A line that a proof shows to be in a ledger.
#[derive(Debug, Serialize)]
pub struct ProvenLine<'a> {
    /// The name of the ledger.
    pub origin: &'a str,
    /// The line.
    #[serde(serialize_with = "sorted")]
    pub record: &'a Record,
    /// When the checkpoint was signed.
    pub signed: Timestamp,
    /// The number of lines that the checkpoint covers.
    pub size: u64,
    /// True.
    pub verified: bool,
}

/// `egret top --once`.
#[derive(Debug, Serialize)]
pub struct Top {
    /// What was used or refused, the most frequent first.
    pub rows: Vec<TopRow>,
    /// Within how many seconds.
    pub window_s: i64,
}

/// Uses of a credential at a destination for an action.
#[derive(Debug, Serialize)]
pub struct TopRow {
    /// What they were for.
    pub action: String,
    /// Where they went.
    pub destination: String,
    /// How the last one ended that is over: a status, or a code.
    pub last: String,
    /// Uses that were refused.
    pub refused: u64,
    /// The credential.
    pub slug: String,
    /// Uses that were not.
    pub uses: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_their_names_and_order() {
        let found = Verified {
            report: Report::default(),
            key: None,
            witnessed: Vec::new(),
        };
        assert_eq!(
            serde_json::to_string(&VerifiedLedger::new(&found, &[])).unwrap(),
            r#"{"key":null,"key_source":null,"report":{"checkpoints":0,"clock_steps":0,"compared":0,"damaged":0,"files":0,"first":null,"kept":0,"key_changes":[],"last":0,"last_checkpoint":null,"last_time":null,"lines":0,"unfinished":0,"unsigned":0},"set_aside":[],"signed":false,"verified":true,"witnessed":[]}"#
        );
        let flaw = LedgerFlaw {
            file: "current.jsonl",
            line: Some(3),
            problem: "p".to_owned(),
            seq: None,
            verified: false,
        };
        assert_eq!(
            serde_json::to_string(&flaw).unwrap(),
            r#"{"file":"current.jsonl","line":3,"problem":"p","seq":null,"verified":false}"#
        );
        let proof = LedgerProof {
            checkpoint: "c",
            index: 3,
            line: "l",
            path: vec!["p".to_owned()],
            proof: "t",
        };
        assert_eq!(
            serde_json::to_string(&proof).unwrap(),
            r#"{"checkpoint":"c","index":3,"line":"l","path":["p"],"proof":"t"}"#
        );
        let checkpoint = Checkpoint {
            age: "just now".to_owned(),
            key: "k".to_owned(),
            note: "n",
            origin: "o",
            size: 1,
            time: Timestamp::from_unix_micros(1),
        };
        assert_eq!(
            serde_json::to_string(&checkpoint).unwrap(),
            r#"{"age":"just now","key":"k","note":"n","origin":"o","size":1,"time":"1970-01-01T00:00:00.000001Z"}"#
        );
    }
}
