//! What the forms of signing in show. The pages draw them; a server without pages has plain ones.

use super::problem::AdminProblem;
use crate::vault::Principal;

pub use super::passwords::MIN_LENGTH as MIN_PASSWORD;

/// What the forms of signing in look like.
pub trait Looks: Send + Sync {
    /// The page with a form, as HTML.
    fn form(&self, form: &Form<'_>) -> String;
}

/// A form, with what is to be said in it.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Which form.
    pub kind: FormKind<'a>,
    /// What was wrong with the last attempt.
    pub problem: Option<&'a AdminProblem>,
    /// The path to which a success leads.
    pub next: &'a str,
}

/// A form, with the fields that are filled in.
#[derive(Clone, Copy, Debug)]
pub enum FormKind<'a> {
    /// `POST /signin` with `user`, `password` and `next`.
    SignIn {
        /// The name that was typed.
        user: &'a str,
        /// Whether `GET /signin/openid` leads to an identity provider.
        openid: bool,
    },
    /// `POST /signin/link` with `token`, `user`, `display_name`, `password` and `again`.
    Claim {
        /// The secret of the link.
        token: &'a str,
        /// The user for whom the link is; one for an administrator leaves it open.
        fixed: Option<&'a Principal>,
        /// The name that was typed.
        user: &'a str,
        /// The name for people that was typed.
        display_name: &'a str,
    },
    /// Nothing to fill in: the link does not work any more.
    LinkOver,
    /// `POST /reauthenticate` with `password` and `next`.
    Prove {
        /// Who is signed in.
        user: &'a Principal,
    },
    /// `POST /account/password` with `current`, `password` and `again`.
    Password {
        /// Who is signed in.
        user: &'a Principal,
    },
}
