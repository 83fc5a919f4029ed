//! A numbered part of a credential: a version of its value, or a header field that is attached.

use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::Asked;
use super::change::Place;
use super::credentials::Known;
use super::request::named;
use crate::admin::problem::AdminProblem;

/// Which part of which credential.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NumberedPath {
    /// Who owns the credential.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    owner: String,
    /// Its slug.
    #[param(pattern = "^[a-z][a-z0-9_-]{0,63}$")]
    slug: String,
    /// The number of the part.
    #[param(pattern = "^[1-9][0-9]{0,8}$")]
    number: String,
}

impl NumberedPath {
    /// The number of the part.
    pub(super) fn number(&self) -> Result<u32, AdminProblem> {
        named(&self.number)
    }
}

impl Place for NumberedPath {
    type Thing = Known;

    fn find(&self, asked: &Asked) -> Result<Known, AdminProblem> {
        Known::find(asked, &self.owner, &self.slug)
    }
}
