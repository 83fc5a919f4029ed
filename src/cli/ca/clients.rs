//! Which authority the clients accepted and refused last, as a server has written it.

use std::sync::Arc;

use crate::cli::output::{self, printable};
use crate::config::Config;
use crate::tls::acceptance::{self, Acceptance, Acceptances, Behind, Sight};
use crate::views::{ClientAuthority, SeenAuthority, rfc3339};

/// How many clients a table names.
const MOST_NAMED: usize = 50;
/// How many digits of a fingerprint tell one authority from another.
const DIGITS: usize = 12;

/// What was written, or nothing with a note.
pub(in crate::cli) fn read(config: &Config) -> Acceptances {
    acceptance::read(&config.data_dir).unwrap_or_else(|error| {
        output::note(&format!("what clients accepted cannot be read: {error}"));
        Acceptances::new()
    })
}

/// All of them, while the authority with the fingerprint `signing` signs.
pub(super) fn views(all: &Acceptances, signing: &str) -> Vec<ClientAuthority> {
    let view = |(name, it): (&Arc<str>, &Acceptance)| ClientAuthority {
        client: name.to_string(),
        accepted: it.accepted.as_ref().map(seen),
        refused: it.refused.as_ref().map(seen),
        is_current: it.accepted.is_some() && !it.is_of_another(signing),
        refuses: it.refuses(signing),
    };
    all.iter().map(view).collect()
}

fn seen(sight: &Sight) -> SeenAuthority {
    SeenAuthority {
        fingerprint: sight.authority.to_string(),
        at: rfc3339(sight.at),
    }
}

/// A table of those who have not accepted the one that signs; nothing where there are none.
pub(super) fn table(views: &[ClientAuthority]) -> String {
    let behind = || views.iter().filter(|view| view.refuses || !view.is_current);
    let rows: Vec<_> = behind().take(MOST_NAMED).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = output::table(["CLIENT", "ACCEPTED LAST", "REFUSED LAST"], &rows);
    let more = behind().count() - rows.len();
    if more > 0 {
        text += &format!("and {more} more: --json names all\n");
    }
    text
}

fn row(view: &ClientAuthority) -> [String; 3] {
    let shown = |seen: &Option<SeenAuthority>| match seen {
        Some(seen) => {
            let digits: String = seen.fingerprint.chars().take(DIGITS).collect();
            format!("{} at {}", printable(&digits), seen.at)
        }
        None => "-".to_owned(),
    };
    [
        printable(&view.client),
        shown(&view.accepted),
        shown(&view.refused),
    ]
}

/// One line about those who have not accepted the one that signs, for people who read something else.
pub(in crate::cli) fn remark(behind: &Behind) -> Option<String> {
    let named = |names: &[Arc<str>]| {
        let first: Vec<_> = names.iter().take(5).map(|name| printable(name)).collect();
        let more = names.len() - first.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{more}", first.join(", "))
    };
    let Behind {
        of_another,
        refusing,
    } = behind;
    match (refusing.is_empty(), of_another.is_empty()) {
        (true, true) => None,
        (false, _) => Some(format!("refused by {}", named(refusing))),
        (true, false) => Some(format!(
            "another CA was the last that {} accepted",
            named(of_another)
        )),
    }
}
