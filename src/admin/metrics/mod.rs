//! Numbers, in the text format of Prometheus.
//!
//! There are two pages. `/metrics` needs no authentication, so its labels are words of the program:
//! codes, places, kinds. That a slug exists is known to those who may use it, and where a program goes
//! to nobody else, so names are on the page of the API, for those who see everything.

mod ledger;
mod page;
mod server;
mod traffic;

use self::page::Page;
use super::state::AdminState;
use crate::vault::Sight;

pub use self::page::CONTENT_TYPE;

/// The page without names.
pub(super) fn render(state: &AdminState) -> String {
    unnamed(state).0
}

/// The page with the names of what `sight` sees.
pub(super) fn render_named(state: &AdminState, sight: &Sight) -> String {
    let mut page = unnamed(state);
    traffic::write_named(&mut page);
    server::write_named(&mut page, &sight.credentials(), sight.now());
    page.0
}

fn unnamed(state: &AdminState) -> Page {
    let mut page = Page::default();
    server::write(&mut page, state);
    traffic::write(&mut page, state);
    ledger::write(&mut page, &state.ledger.stats());
    page
}
