//! A question before something is taken away that is not a credential.

use askama::Template;

use super::layout::Layout;

/// The question, what follows from a yes, and the form that says yes.
#[derive(Template)]
#[template(path = "ask.html")]
pub(super) struct AskPage {
    pub(super) layout: Layout,
    /// Where a no leads to, and its name.
    pub(super) back: &'static str,
    pub(super) back_label: &'static str,
    pub(super) heading: String,
    pub(super) explanation: String,
    /// What clients did lately and could not do any more; `None` where it is about no request.
    pub(super) refused: Option<Vec<String>>,
    /// Where the form goes.
    pub(super) action: String,
    pub(super) button: &'static str,
}
