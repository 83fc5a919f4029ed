//! How the parts of the server are: what serves, records and signs.

use time::OffsetDateTime;

use super::text;
use super::when::When;
use crate::admin::AdminState;

/// Seconds before its end in which the authority is named as ending.
const SOON: i64 = 30 * 86_400;

/// A part of the server, and how it is.
pub(super) struct Part {
    pub(super) name: &'static str,
    /// The class of the colour, which repeats what the word says.
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    pub(super) detail: String,
    /// Whether somebody has to do something, which the detail says.
    pub(super) is_wrong: bool,
}

impl Part {
    fn good(name: &'static str, word: &'static str, detail: String) -> Self {
        Self {
            name,
            class: "active",
            word,
            detail,
            is_wrong: false,
        }
    }

    fn wrong(name: &'static str, word: &'static str, detail: String) -> Self {
        Self {
            name,
            class: "rejected",
            word,
            detail,
            is_wrong: true,
        }
    }
}

/// All parts.
pub(super) fn parts(state: &AdminState) -> Vec<Part> {
    vec![proxy(state), ledger(state), store(state), authority(state)]
}

fn proxy(state: &AdminState) -> Part {
    let open = text::count(
        state.connections.len() as u64,
        "connection is open",
        "connections are open",
    );
    if state.draining.is_cancelled() {
        let detail = format!("It takes no new requests. {open}.");
        return Part::wrong("Proxy", "Shutting down", detail);
    }
    if (state.process)().is_lock_exhausted {
        let detail =
            "No more memory can be locked, so further values can be swapped out: raise the \
                      limit of locked memory."
                .to_owned();
        return Part::wrong("Proxy", "Short of locked memory", detail);
    }
    Part::good("Proxy", "Serving", format!("{open}."))
}

fn ledger(state: &AdminState) -> Part {
    if !state.ledger.is_ready() {
        let detail = "No credential is used until it can be written. The reason is in Egret's log.";
        return Part::wrong("Ledger", "Cannot be written", detail.to_owned());
    }
    let stats = state.ledger.stats();
    let lines = text::count(stats.size, "line", "lines");
    let signed = match (stats.checkpoint_time, stats.signed) {
        (_, false) => "not signed".to_owned(),
        (None, true) => "no checkpoint yet".to_owned(),
        (Some(time), true) => format!("the last checkpoint {}", When::of(time).ago()),
    };
    Part::good("Ledger", "Recording", format!("{lines}, {signed}."))
}

fn store(state: &AdminState) -> Part {
    let store = &state.store;
    if !store.is_up_to_date() {
        let detail = "Requests that use a credential are refused until it can be read. The reason is in \
                      Egret's log.";
        return Part::wrong("Store", "Cannot be read", detail.to_owned());
    }
    let foreign = store.unverified();
    if foreign > 0 {
        let entries = text::count(foreign, "entry was", "entries were");
        let detail = format!(
            "{entries} changed by something that is not Egret, and not used: egret store check names them."
        );
        return Part::wrong("Store", "Changed from outside", detail);
    }
    let active = text::count(store.active(), "active credential", "active credentials");
    Part::good("Store", "Current", format!("{active}."))
}

fn authority(state: &AdminState) -> Part {
    let (authority, now) = (state.leaves.authority(), OffsetDateTime::now_utc());
    let behind = state.leaves.behind(now);
    // While nothing is replaced, it is a program that was never given the authority.
    if authority.succession().is_some() && !behind.refusing.is_empty() {
        let refuse = text::count(
            behind.refusing.len() as u64,
            "client refuses",
            "clients refuse",
        );
        let detail = format!("{refuse} it: egret ca status says which.");
        return Part::wrong("Certificate authority", "Refused", detail);
    }
    let ends = When::at(authority.ends(now).unix_timestamp());
    let next = authority.succession().filter(|next| next.from > now);
    if let Some(next) = next {
        let from = When::at(next.from.unix_timestamp()).date();
        let detail = format!("Another one takes over on {from}: clients have to trust it by then.");
        return Part::good("Certificate authority", "Being replaced", detail);
    }
    if authority.ends(now).unix_timestamp() < now.unix_timestamp() + SOON {
        let detail = format!(
            "It ends on {}: egret ca rotate makes another one.",
            ends.date()
        );
        return Part::wrong("Certificate authority", "Ends soon", detail);
    }
    let detail = format!("Valid until {}.", ends.date());
    Part::good("Certificate authority", "Valid", detail)
}
