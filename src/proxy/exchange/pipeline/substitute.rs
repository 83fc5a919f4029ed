//! The step that writes the values into the request.

use std::sync::Arc;

use http::request::Parts;

use super::{Exchange, ExchangeContext, Late, Obtained, Substitute, Substituted};
use crate::config::Range;
use crate::proxy::exchange::authorisation;
use crate::proxy::exchange::body::Held;
use crate::proxy::exchange::occurrences::{self, Occurrence};
use crate::proxy::exchange::payload::{Coded, Payload, Spooled, Streamed};
use crate::proxy::exchange::permission;
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::ranges;
use crate::proxy::exchange::recode;
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::exchange::signed;
use crate::proxy::exchange::spooled_body::Changes;
use crate::proxy::exchange::use_gate::UseGate;
use crate::substitution::edit::{Edit, SpliceError};
use crate::substitution::piecewise::SplicePlan;
use crate::vault::Vault;

impl Exchange<Obtained> {
    /// Writes the values into the request, each in the encoding of its place.
    pub fn substitute(
        self,
        vault: &Arc<Vault>,
        gate: &Arc<UseGate>,
    ) -> Result<Exchange<Substituted>, Refused> {
        let Exchange { mut about, state } = self;
        let Obtained {
            payload,
            occurrences,
            mut decision,
        } = state;
        for (reference, spelling) in occurrences::spellings(&occurrences, &decision) {
            decision.sent_as(&reference, spelling);
        }
        let ExchangeContext { context, head, .. } = &mut *about;
        let writing = Writing {
            context,
            decision: &decision,
            occurrences,
        };
        let payload = match payload {
            Payload::Held(held, coded) => writing.held(head, held, coded)?,
            Payload::Spooled(spooled) => writing.spooled(head, spooled)?,
            Payload::Streamed(streamed) => writing.streamed(head, streamed, vault, gate)?,
        };
        let is_searched =
            matches!(&payload, Substitute::Streamed(streamed, _) if streamed.is_searched());
        let may_come_back = || {
            is_searched
                || !decision.is_empty()
                || permission::has_value_for_host(&about.context, vault)
        };
        if about.treatment.range == Range::Strip
            && about.present.has(Present::RANGE)
            && ranges::are_asked_for(&about.head.headers)
            && may_come_back()
        {
            ranges::withhold(&mut about.head.headers);
            about.head.extensions.insert(ranges::Withheld);
        }
        Ok(Exchange {
            about,
            state: Substituted { payload, decision },
        })
    }
}

/// What is written where.
struct Writing<'a> {
    context: &'a RequestContext,
    decision: &'a authorisation::Obtained,
    occurrences: Vec<Occurrence>,
}

impl Writing<'_> {
    fn held(
        self,
        head: &mut Parts,
        mut held: Held,
        coded: Option<Box<Coded>>,
    ) -> Result<Substitute, Refused> {
        self.write(head, &mut held)?;
        if let Some(coded) = coded {
            held.data = if self.occurrences.iter().any(Occurrence::is_body) {
                recode::close(coded.encoder, &held.data)?
            } else {
                coded.original
            };
        }
        Ok(Substitute::Held(held))
    }

    fn spooled(
        mut self,
        head: &mut Parts,
        mut spooled: Box<Spooled>,
    ) -> Result<Substitute, Refused> {
        let edits = self.take_body_edits();
        let mut fields = Held {
            trailers: spooled.trailers.take(),
            ..Held::default()
        };
        self.write(head, &mut fields)?;
        spooled.trailers = fields.trailers;
        let changes = changes(edits, &spooled, self.decision)
            .map_err(|error| self.decision.unwritable(self.context, error))?;
        Ok(Substitute::Spooled(spooled, changes))
    }

    fn streamed(
        self,
        head: &mut Parts,
        streamed: Box<Streamed>,
        vault: &Arc<Vault>,
        gate: &Arc<UseGate>,
    ) -> Result<Substitute, Refused> {
        // Asked of the head as it came.
        let signed = streamed.unchanged.clone().or_else(|| signed::in_body(head));
        self.write(head, &mut Held::default())?;
        let late = Late {
            signed,
            vault: Arc::clone(vault),
            gate: Arc::clone(gate),
            copies: self.decision.copies(),
        };
        Ok(Substitute::Streamed(streamed, Box::new(late)))
    }

    fn write(&self, head: &mut Parts, held: &mut Held) -> Result<(), Refused> {
        let value = |reference: &_| self.decision.value(reference);
        occurrences::substitute(head, held, &self.occurrences, &value)
            .map_err(|error| self.decision.unwritable(self.context, error))
    }

    /// Takes the placeholders of the body out of those of the request.
    fn take_body_edits(&mut self) -> Vec<Edit> {
        let all = std::mem::take(&mut self.occurrences).into_iter();
        let (body, others): (Vec<_>, Vec<_>) = all.partition(Occurrence::is_body);
        self.occurrences = others;
        body.into_iter().flat_map(|found| found.edits).collect()
    }
}

/// What is to be changed in a spooled body, if anything is.
fn changes(
    edits: Vec<Edit>,
    spooled: &Spooled,
    decision: &authorisation::Obtained,
) -> Result<Option<Changes>, SpliceError> {
    if edits.is_empty() {
        return Ok(None);
    }
    let plan = SplicePlan::new(edits, |reference| decision.kept_value(reference))?;
    Ok(Some(Changes {
        plan: Arc::new(plan),
        codings: spooled.codings.clone(),
    }))
}
