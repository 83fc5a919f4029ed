//! Permission for placeholders that are met while a body is already on its way.
//!
//! Such a body is the one exception to "all or nothing": its beginning has been sent when a
//! placeholder turns up. For that placeholder the order is the same as ever: found, authorised,
//! opened, recorded durably, and only then is the value handed to the stream.

use std::sync::{Arc, Mutex};

use http::HeaderMap;

use crate::config::Unresolved;
use crate::error::{Code, Refusal};
use crate::ledger::Ledger;
use crate::policy::location::Location;
use crate::proxy::exchange::authorisation::{OnRecord, Resolution, unwritable_late};
use crate::proxy::exchange::leak_guard;
use crate::proxy::exchange::occurrences;
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::exchange::use_gate::{UseGate, Whole};
use crate::proxy::exchange::used::Used;
use crate::proxy::exchange::uses::{Passage, Permitted};
use crate::proxy::runtime::sync::lock;
use crate::scrub::Needles;
use crate::secret::SecretBytes;
use crate::substitution::edit::Edit;
use crate::substitution::slug::Reference;
use crate::substitution::stream::StreamError;
use crate::vault::Vault;

/// Answers for the placeholders of one streamed body, or of one message.
pub struct LateAuthoriser {
    /// What is known about the request.
    pub context: Arc<RequestContext>,
    /// Why no byte of the body may be changed, if that is so (a digest covers it).
    pub signed: Option<Refusal>,
    /// Values that must not be sent in the clear, unless the destination allows that.
    pub guard: Option<Arc<Needles>>,
    /// What becomes of placeholders without a credential.
    pub unresolved: Unresolved,
    /// The credentials.
    pub vault: Arc<Vault>,
    /// What uses with a condition pass.
    pub gate: Arc<UseGate>,
    /// The usage record.
    pub ledger: Ledger,
    /// What the request has used.
    pub used: Arc<Used>,
    /// What of this body or message is in the ledger.
    pub on_record: Mutex<OnRecord>,
}

impl LateAuthoriser {
    /// The value for a placeholder, once its use is durably on record.
    pub async fn ask(
        self: Arc<Self>,
        reference: Reference,
        location: Location,
    ) -> Result<Arc<SecretBytes>, Refusal> {
        match self.decide(&[(&reference, &location)]).await {
            Ok(mut values) => values.pop().map(|(_, value)| value).ok_or_else(unassembled),
            Err(refused) => Err(self.record(refused).await),
        }
    }

    /// The values for all placeholders of a whole message, once their use is durably on record; or
    /// none of them, and no use on record.
    pub async fn ask_all(self: Arc<Self>, edits: &[Edit]) -> Result<Permitted, Refusal> {
        let uses = edits.iter().filter(|edit| !edit.escape);
        let wanted: Vec<_> = uses.map(|edit| (&edit.reference, &edit.location)).collect();
        match self.decide(&wanted).await {
            Ok(values) => Ok(values),
            Err(refused) => Err(self.record(refused).await),
        }
    }

    /// The trailers with their values in place. A trailer is a header that came late.
    pub async fn trailers(self: Arc<Self>, trailers: HeaderMap) -> Result<HeaderMap, Refusal> {
        if let Some(needles) = &self.guard
            && let Err(refused) = leak_guard::check_fields(&self.context, &trailers, needles)
        {
            return Err(self.record(refused).await);
        }
        let occurrences =
            match occurrences::in_trailers(&trailers, self.context.stand_ins.as_deref()) {
                Ok(occurrences) => occurrences,
                Err(found) => return Err(self.record(found.refuse(&self.context)).await),
            };
        let mut values = Vec::new();
        for edit in occurrences.iter().flat_map(|occurrence| &occurrence.edits) {
            if !edit.escape {
                let (reference, location) = (edit.reference.clone(), edit.location.clone());
                let value = Arc::clone(&self).ask(reference.clone(), location).await?;
                values.push((reference, value));
            }
        }
        let value = |wanted: &Reference| {
            let found = values.iter().find(|(reference, _)| reference == wanted);
            found.map(|(_, value)| value.as_ref())
        };
        match occurrences::substitute_trailers(trailers, &occurrences, &value) {
            Ok(trailers) => Ok(trailers),
            Err(error) => {
                let refused = unwritable_late(&self.context, error);
                Err(self.record(refused).await)
            }
        }
    }

    /// What the client is told when the body carries the stored value `name` in the clear.
    pub async fn exposed(self: Arc<Self>, name: String) -> Refusal {
        let refused = leak_guard::refuse(&self.context, &name, "body");
        self.record(refused).await
    }

    /// What the client is told when the stream itself cannot continue.
    pub async fn failed(self: Arc<Self>, error: StreamError) -> Refusal {
        let refused = match error {
            StreamError::Splice(error) => unwritable_late(&self.context, error),
            StreamError::Body(problem) => Refused::from(Refusal::new(
                Code::BodyEncodingUnsupported,
                problem.to_string(),
            )),
        };
        self.record(refused).await
    }

    async fn decide(&self, wanted: &[(&Reference, &Location)]) -> Result<Permitted, Refused> {
        let context = &self.context;
        self.vault.refresh().await.map_err(|_| {
            Refusal::new(
                Code::StoreUnavailable,
                "the credential store cannot be read any more; check store.url and the disk",
            )
        })?;
        let mut resolution = Resolution::new(context, &self.vault, self.unresolved);
        let mut literal = Permitted::new();
        for &(reference, location) in wanted {
            if !resolution.consider(reference, location, false) {
                // It travels as what it says, in the encoding of its place.
                let text = SecretBytes::new(reference.placeholder().into_bytes());
                literal.push((reference.clone(), Arc::new(text)));
            }
        }
        let resolved = resolution.finish()?;
        let authorised = {
            let on_record = lock(&self.on_record);
            resolved.authorise(context, self.signed.as_ref(), on_record.copies())?
        };
        let passage = Passage {
            gate: &self.gate,
            ledger: &self.ledger,
            whole: Whole::Partly,
        };
        let mut obtained = authorised.obtain(context, &self.vault, passage).await?;
        {
            let mut on_record = lock(&self.on_record);
            obtained.only_new(&mut on_record);
            on_record.check(context)?;
        }
        let recorded = obtained.record(context, &self.ledger, &self.used).await?;
        let (mut permitted, _) = recorded;
        permitted.append(&mut literal);
        Ok(permitted)
    }

    async fn record(&self, refused: Refused) -> Refusal {
        refused.record(&self.ledger, &self.context.id).await
    }
}

fn unassembled() -> Refusal {
    Refusal::new(Code::Internal, "the request could not be put together")
}
