//! The first step: every placeholder is found.

use std::sync::Arc;

use http::header::HeaderMap;

use super::{Authenticated, Exchange, ExchangeContext, Scanned};
use crate::config::Exposed;
use crate::error::{Code, Refusal};
use crate::proxy::exchange::attached;
use crate::proxy::exchange::body::{Held, InboundBody};
use crate::proxy::exchange::leak_guard;
use crate::proxy::exchange::occurrences::{self, Occurrence};
use crate::proxy::exchange::payload::{BodyLimits, Payload, Taking, body_kind, unreadable};
use crate::proxy::exchange::permission;
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::request_context::{Refused, shown_path};
use crate::proxy::exchange::signed;
use crate::scrub::Needles;
use crate::substitution::body;
use crate::substitution::edit::Edit;
use crate::vault::Vault;

impl Exchange<Authenticated> {
    /// Finds the placeholders. A body of a kind that can hold one is read to its end as far as `limits`
    /// allow; a larger one is searched while it streams.
    ///
    /// `raw` is the head as it was before it was parsed, if it was kept. What is not in there
    /// is in none of its parts, and one search takes less time than one of each part.
    pub async fn scan(
        self,
        limits: BodyLimits<'_>,
        vault: &Vault,
        raw: Option<&[u8]>,
    ) -> Result<Exchange<Scanned>, Refused> {
        let Exchange {
            mut about,
            state: Authenticated { body },
        } = self;
        about.check_for_values(raw)?;
        // What was attached is not in the head as it came.
        let is_changed = about.attach(vault);
        if is_changed {
            about.present = Present::of(&about.head.headers);
        }
        let raw = raw.filter(|_| !is_changed);
        let stand_ins = about.context.stand_ins.as_deref();
        let mut occurrences =
            occurrences::in_head(&about.head, raw, about.present, &about.treatment, stand_ins)
                .map_err(|found| found.refuse(&about.context))?;
        let payload = if body.is_empty() {
            Payload::Held(Held::default(), None)
        } else {
            // In a box, because every request has room for this future, and few have a body.
            Box::pin(about.take_body(body, limits, vault, &mut occurrences)).await?
        };
        if !occurrences.is_empty() {
            about.note_placeholders(&occurrences);
        }
        Ok(Exchange {
            about,
            state: Scanned {
                payload,
                occurrences,
            },
        })
    }
}

impl ExchangeContext {
    /// What the request must not say in the clear, unless the destination allows that or there is
    /// nothing.
    fn guarded(&self) -> Option<&Arc<Needles>> {
        let is_guarded = self.treatment.exposed == Exposed::Reject && !self.needles.is_empty();
        is_guarded.then_some(&self.needles)
    }

    /// Refuses a head that holds a stored value, and takes values out of what log and ledger show.
    fn check_for_values(&mut self, raw: Option<&[u8]>) -> Result<(), Refused> {
        let needles = &self.needles;
        let is_clean = needles.is_empty() || raw.is_some_and(|raw| needles.find(raw).is_empty());
        if !is_clean {
            let context = Arc::make_mut(&mut self.context);
            let path = leak_guard::without(needles, Arc::clone(&context.raw_path));
            context.path = shown_path(path);
        }
        let Some(needles) = self.guarded() else {
            return Ok(());
        };
        leak_guard::check_named(&self.context, needles)?;
        if is_clean {
            return Ok(());
        }
        leak_guard::check_head(&self.context, &self.head, &self.treatment, needles)
    }

    /// Sets what the owner of a credential has attached. Says whether there is anything.
    fn attach(&mut self, vault: &Vault) -> bool {
        let attached = attached::attach(&self.context, &mut self.head, &self.treatment, vault);
        let is_any = !attached.is_empty();
        if is_any {
            Arc::make_mut(&mut self.context).attached = attached;
        }
        is_any
    }

    /// Reads as much of the body as can be decided on, and adds what was found there.
    async fn take_body(
        &self,
        body: InboundBody,
        limits: BodyLimits<'_>,
        vault: &Vault,
        occurrences: &mut Vec<Occurrence>,
    ) -> Result<Payload, Refused> {
        let kind = body_kind(&self.head, &body, &self.treatment);
        let taking = Taking {
            context: &self.context,
            head: &self.head,
            limits,
            guard: self.guarded(),
            unchanged: &|| self.unchanged(vault),
        };
        let mut payload = taking.take(kind.clone(), body).await?;
        match &mut payload {
            Payload::Spooled(spooled) => {
                let edits = std::mem::take(&mut spooled.edits);
                let trailers = spooled.trailers.as_deref();
                if let Some((needles, trailers)) = self.guarded().zip(trailers) {
                    leak_guard::check_fields(&self.context, trailers, needles)?;
                }
                self.add_occurrences(edits, trailers, occurrences)?;
            }
            Payload::Held(held, _) => {
                let edits = body::find_with(&kind, &held.data, self.context.stand_ins.as_ref())
                    .map_err(unreadable)?;
                if let Some(needles) = self.guarded() {
                    leak_guard::check_body(&self.context, held, needles)?;
                }
                self.add_occurrences(edits, held.trailers.as_deref(), occurrences)?;
            }
            // Searched on its way.
            Payload::Streamed(_) => {}
        }
        Ok(payload)
    }

    fn add_occurrences(
        &self,
        edits: Vec<Edit>,
        trailers: Option<&HeaderMap>,
        occurrences: &mut Vec<Occurrence>,
    ) -> Result<(), Refused> {
        let stand_ins = self.context.stand_ins.as_deref();
        occurrences::in_body(edits, trailers, &self.treatment, stand_ins, occurrences)
            .map_err(|found| found.refuse(&self.context))
    }

    /// Why nothing in the body of this request may be changed, if that is so.
    fn unchanged(&self, vault: &Vault) -> Option<Refusal> {
        signed::in_body(&self.head).or_else(|| {
            (!permission::may_use_in_body(&self.context, vault)).then(|| {
                Refusal::new(
                    Code::CredentialNotAllowed,
                    "no credential may be written into the body of this request, so a body of more than \
                     body.buffer bytes is sent unchanged and with its length; leave the placeholder or \
                     the escape out, or send the body without Content-Length",
                )
            })
        })
    }

    /// Log and ledger show the placeholders of the path, whatever their encoding was.
    fn note_placeholders(&mut self, occurrences: &[Occurrence]) {
        let context = Arc::make_mut(&mut self.context);
        let mut edits = occurrences.iter().flat_map(|found| &found.edits);
        context.held_placeholder = edits.any(|edit| !edit.escape);
        if occurrences.iter().any(Occurrence::is_path) {
            let path = occurrences::shown_path(&self.head, occurrences);
            context.path = shown_path(leak_guard::without(&self.needles, path.into()));
        }
    }
}
