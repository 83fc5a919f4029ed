//! The keys about who signs the checkpoints of the ledger, too.

use http::Uri;

use super::raw::Value;
use super::resolve::Resolver;
use super::safe_url::is_safe_url;
use super::units::FromValue as _;
use super::witness::Witness;

const NAME: &str = "ledger.witnesses";
/// Each is asked in turn.
const MOST: usize = 16;

impl Resolver<'_> {
    pub(super) fn witnesses(&mut self) -> Vec<Witness> {
        let found = self.list(NAME, witness);
        let is_repeated = |(at, witness): (usize, &Witness)| {
            found[..at].iter().any(|other| other.key == witness.key)
        };
        if found.iter().enumerate().any(is_repeated) {
            self.complain(NAME, "a key is there twice");
        }
        if found.len() > MOST {
            self.complain(NAME, &format!("at most {MOST}"));
        }
        found
    }
}

fn witness(value: &Value) -> Result<Witness, String> {
    let text = String::from_value(value)?;
    let expected = "expected \"KEY URL\": the witness' key (NAME+ID+KEY), and the address of its \
                    submission prefix (https, or http on loopback)";
    let (key, url) = text.split_once(' ').ok_or(expected)?;
    let (key, url) = (key.parse().map_err(|_| expected)?, url.trim());
    if !is_safe_url(url) || url.contains(['?', '#']) {
        return Err(expected.to_owned());
    }
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let url: Uri = url.parse().map_err(|_| expected)?;
    Ok(Witness { key, url })
}
