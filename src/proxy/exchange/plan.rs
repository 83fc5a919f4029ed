//! What would become of a request: the decision of the pipeline, up to the step before a value is
//! opened. For people who ask beforehand.

use std::sync::Arc;

use crate::policy::location::Location;
use crate::proxy::exchange::authorisation::Authorised;
use crate::proxy::exchange::occurrences::Occurrence;
use crate::proxy::exchange::request_context::RequestContext;
use crate::substitution::encoding::Encoding;
use crate::substitution::slug::Reference;
use crate::vault::Credential;

/// A placeholder that would be replaced.
pub struct PlannedUse {
    /// What is named.
    pub reference: Reference,
    /// Where.
    pub location: Location,
    /// Whether Egret put the placeholder there.
    pub attached: bool,
    /// How the value would be written there.
    pub encoding: Encoding,
    /// Whose value it would be.
    pub credential: Arc<Credential>,
}

/// What would be done with the placeholders of a request that is not refused.
#[derive(Default)]
pub struct Plan {
    /// Replaced, in the order in which they occur.
    pub uses: Vec<PlannedUse>,
    /// Sent as they are, since no credential is meant.
    pub ignored: Vec<Reference>,
}

impl Plan {
    /// Of a request whose placeholders are at these places, each of which is authorised.
    pub fn of(context: &RequestContext, occurrences: &[Occurrence], decision: &Authorised) -> Self {
        let edits = occurrences.iter().flat_map(|occurrence| &occurrence.edits);
        let uses = edits.filter(|edit| !edit.escape).filter_map(|edit| {
            Some(PlannedUse {
                attached: context.is_attached(&edit.location),
                reference: edit.reference.clone(),
                location: edit.location.clone(),
                encoding: edit.encoding,
                credential: decision.credential(&edit.reference)?,
            })
        });
        Self {
            uses: uses.collect(),
            ignored: decision.ignored().cloned().collect(),
        }
    }
}
