//! What a witness answers.

use bytes::Bytes;
use http::{Response, StatusCode, header};

use crate::ledger::format::cosignature::{Cosignature, WitnessKey};

/// The longest answer, in bytes: a witness may have several keys, some of them large.
pub(super) const MOST: usize = 64 * 1024;

/// The media type of a size.
const SIZE: &[u8] = b"text/x.tlog.size";

/// An answer that leads on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The checkpoint with a cosignature that was checked, and that.
    Cosigned(String, Cosignature),
    /// The last checkpoint that it has signed has this size.
    Remembers(u64),
}

impl Answer {
    /// Reads the answer to a checkpoint.
    pub fn read(
        answer: &Response<Bytes>,
        note: &str,
        key: &WitnessKey,
    ) -> Result<Self, &'static str> {
        let text = str::from_utf8(answer.body());
        match answer.status() {
            StatusCode::OK => {
                let signatures = text.map_err(|_| "its answer is no text")?;
                let all = format!("{note}{signatures}");
                let cosignature = key.find(&all).map_err(|_| "its cosignature does not fit")?;
                let note = format!("{note}{}\n", cosignature.line);
                Ok(Self::Cosigned(note, cosignature))
            }
            StatusCode::CONFLICT => {
                let kind = answer.headers().get(header::CONTENT_TYPE);
                let is_size = kind.is_some_and(|kind| kind.as_bytes() == SIZE);
                let size = text.ok().and_then(|text| text.strip_suffix('\n'));
                let size = size.and_then(|size| size.parse().ok());
                size.filter(|_| is_size)
                    .map(Self::Remembers)
                    .ok_or("it has signed another ledger of this name and size")
            }
            StatusCode::NOT_FOUND => Err("it does not know this ledger; it has to be told its key"),
            StatusCode::FORBIDDEN => Err("it does not know this ledger, or another key of it"),
            StatusCode::UNPROCESSABLE_ENTITY => {
                Err("it has signed lines that are not in this ledger")
            }
            _ => Err("it refuses"),
        }
    }
}
