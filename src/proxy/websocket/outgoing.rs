//! What the client sends: searched, and decided on message by message.
//!
//! A text up to `body.buffer` is decided on whole: of one that is refused nothing is sent. A
//! larger one streams like a body that is too large to hold, and a refusal in its middle leaves the
//! upstream with a message that never ends. A binary message and a control frame are not searched for
//! placeholders, but for stored values: whoever has one could send it in either.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use zeroize::Zeroizing;

use crate::config::{Exposed, ScanPlace, Treatment};
use crate::error::{Code, Refusal};
use crate::proxy::context::Settings;
use crate::proxy::exchange::late::LateAuthoriser;
use crate::proxy::exchange::leak_guard::Guard;
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::exchange::{leak_guard, occurrences};
use crate::proxy::websocket::conversation::{Conversation, Stop, other_principal};
use crate::proxy::websocket::outbox::Outbox;
use crate::substitution::body::{self, BodyKind};
use crate::substitution::stream::{BodyStream, StreamError, StreamStep};
use crate::websocket::MessageKind;

/// Most bytes of a held message that are searched at once when it turns out to be a large one.
const PIECE: usize = 64 * 1024;

/// The messages of one client.
pub struct Outgoing<'a> {
    about: &'a Conversation,
    /// The text that is under way.
    message: Message,
    /// Looks at the binary message that is under way; none where nobody looks.
    binary: Option<Option<Guard>>,
}

/// The message that is under way.
#[derive(Default)]
enum Message {
    #[default]
    None,
    /// Not searched here (`scan` without `body`).
    Passed,
    Held(Vec<u8>, Rules),
    Streamed(Box<Streamed>),
}

/// What holds for one message: the configuration may change from one to the next.
struct Rules {
    settings: Arc<Settings>,
    treatment: Treatment,
}

impl Rules {
    /// The most that is held, in bytes.
    fn buffer(&self) -> usize {
        self.settings.config.body.buffer
    }
}

impl<'a> Outgoing<'a> {
    pub fn new(about: &'a Conversation) -> Self {
        Self {
            about,
            message: Message::None,
            binary: None,
        }
    }

    /// Takes the next piece of a binary message, and passes it on.
    pub async fn take_binary<W: AsyncWrite + Unpin>(
        &mut self,
        payload: &[u8],
        end: bool,
        out: &mut Outbox<W>,
    ) -> Result<(), Stop> {
        let begun = self.binary.take();
        let mut guard = begun.unwrap_or_else(|| self.guards().then(|| self.guard()));
        let found = guard.as_mut().and_then(|guard| guard.look(payload));
        if let Some(name) = found {
            return Err(self.exposed(&name).await.into());
        }
        if !end {
            self.binary = Some(guard);
        }
        Ok(out.data(MessageKind::Binary, payload, end).await?)
    }

    /// Looks at what a control frame holds.
    pub async fn look(&self, payload: &[u8]) -> Result<(), Stop> {
        if payload.is_empty() || !self.guards() {
            return Ok(());
        }
        match leak_guard::find(&self.about.needles(), payload) {
            Some(name) => Err(self.exposed(&name).await.into()),
            None => Ok(()),
        }
    }

    /// Whether stored values are looked for at this destination.
    fn guards(&self) -> bool {
        let settings = self.about.proxy.settings.load();
        let treatment = settings.config.treatment(&self.about.context.destination);
        treatment.exposed == Exposed::Reject && treatment.scan.contains(&ScanPlace::Body)
    }

    fn guard(&self) -> Guard {
        Guard::new(self.about.needles())
    }

    /// The refusal of a message that holds a stored value, once it is on record.
    async fn exposed(&self, name: &str) -> Refusal {
        let refused = leak_guard::refuse(&self.about.context, name, "body");
        let proxy = &self.about.proxy;
        refused.record(&proxy.ledger, &self.about.context.id).await
    }

    /// Takes the next piece of a text and passes on what may go.
    pub async fn take<W: AsyncWrite + Unpin>(
        &mut self,
        payload: &[u8],
        end: bool,
        out: &mut Outbox<W>,
    ) -> Result<(), Stop> {
        let message = match std::mem::take(&mut self.message) {
            Message::None => self.begin().await?,
            message => message,
        };
        let message = match message {
            Message::Held(text, rules) if text.len() + payload.len() <= rules.buffer() => {
                return self.hold(text, rules, payload, end, out).await;
            }
            Message::Held(text, rules) => {
                let mut streamed = Streamed::new(self.about, rules).await?;
                for piece in text.chunks(PIECE) {
                    streamed.push(piece, out).await?;
                }
                Message::Streamed(Box::new(streamed))
            }
            message => message,
        };
        self.message = match message {
            Message::Streamed(mut streamed) => {
                streamed.push(payload, out).await?;
                if end {
                    streamed.finish(out).await?;
                }
                Message::Streamed(streamed)
            }
            message => {
                out.data(MessageKind::Text, payload, end).await?;
                message
            }
        };
        if end {
            self.message = Message::None;
        }
        Ok(())
    }

    /// Puts what holds for requests from now on in force for this message.
    async fn begin(&self) -> Result<Message, Refusal> {
        let proxy = &self.about.proxy;
        proxy.changes.follow(&proxy.vault, &proxy.ledger).await?;
        let settings = proxy.settings.load_full();
        let treatment = settings.config.treatment(&self.about.context.destination);
        Ok(if treatment.scan.contains(&ScanPlace::Body) {
            let rules = Rules {
                settings,
                treatment,
            };
            Message::Held(Vec::new(), rules)
        } else {
            Message::Passed
        })
    }

    async fn hold<W: AsyncWrite + Unpin>(
        &mut self,
        mut text: Vec<u8>,
        rules: Rules,
        payload: &[u8],
        end: bool,
        out: &mut Outbox<W>,
    ) -> Result<(), Stop> {
        if text.is_empty() && end {
            return self.decide(payload, rules, out).await;
        }
        text.extend_from_slice(payload);
        if end {
            return self.decide(&text, rules, out).await;
        }
        self.message = Message::Held(text, rules);
        Ok(())
    }

    /// Decides on a whole message, and sends it with its values in place.
    async fn decide<W: AsyncWrite + Unpin>(
        &self,
        text: &[u8],
        rules: Rules,
        out: &mut Outbox<W>,
    ) -> Result<(), Stop> {
        let edits = body::find_with(
            &BodyKind::Message,
            text,
            self.about.context.stand_ins.as_ref(),
        )
        .map_err(|problem| Refusal::new(Code::BodyEncodingUnsupported, problem.to_string()))?;
        let is_guarded = rules.treatment.exposed == Exposed::Reject;
        if let Some(name) = is_guarded
            .then(|| leak_guard::find(&self.about.needles(), text))
            .flatten()
        {
            return Err(self.exposed(&name).await.into());
        }
        if edits.is_empty() {
            return Ok(out.data(MessageKind::Text, text, true).await?);
        }
        let authoriser = self.about.authoriser(rules).await?;
        let values = Arc::clone(&authoriser).ask_all(&edits).await?;
        match occurrences::substitute_message(text, &edits, &values) {
            Ok(text) => Ok(out
                .data(MessageKind::Text, &Zeroizing::new(text), true)
                .await?),
            Err(error) => Err(authoriser.failed(StreamError::Splice(error)).await.into()),
        }
    }
}

/// A message that is too large to hold.
struct Streamed {
    search: BodyStream,
    guard: Option<Guard>,
    authoriser: Arc<LateAuthoriser>,
}

impl Streamed {
    async fn new(about: &Conversation, rules: Rules) -> Result<Self, Refusal> {
        let authoriser = about.authoriser(rules).await?;
        Ok(Self {
            search: BodyStream::new(&BodyKind::Message).with(about.context.stand_ins.clone()),
            guard: authoriser.guard.clone().map(Guard::new),
            authoriser,
        })
    }

    async fn push<W: AsyncWrite + Unpin>(
        &mut self,
        piece: &[u8],
        out: &mut Outbox<W>,
    ) -> Result<(), Stop> {
        if let Some(name) = self.guard.as_mut().and_then(|guard| guard.look(piece)) {
            return Err(Arc::clone(&self.authoriser).exposed(name).await.into());
        }
        if let Err(error) = self.search.push(Bytes::copy_from_slice(piece)) {
            return Err(self.failed(error).await);
        }
        self.drive(out).await
    }

    async fn finish<W: AsyncWrite + Unpin>(&mut self, out: &mut Outbox<W>) -> Result<(), Stop> {
        if let Err(error) = self.search.finish() {
            return Err(self.failed(error).await);
        }
        self.drive(out).await?;
        Ok(out.data(MessageKind::Text, b"", true).await?)
    }

    /// Sends what is decided, each value once its use is on record.
    async fn drive<W: AsyncWrite + Unpin>(&mut self, out: &mut Outbox<W>) -> Result<(), Stop> {
        loop {
            let mut decided = Zeroizing::new(Vec::new());
            let step = match self.search.step(&mut decided) {
                Ok(step) => step,
                Err(error) => return Err(self.failed(error).await),
            };
            out.data(MessageKind::Text, &decided, false).await?;
            match step {
                StreamStep::More | StreamStep::Done => return Ok(()),
                StreamStep::Flush => {}
                StreamStep::Resolve(need) => {
                    let asked = Arc::clone(&self.authoriser).ask(need.reference, need.location);
                    self.search.supply(asked.await?);
                }
            }
        }
    }

    async fn failed(&self, error: StreamError) -> Stop {
        Arc::clone(&self.authoriser).failed(error).await.into()
    }
}

impl Conversation {
    /// Permission for the placeholders of one message. Whoever asked for the connection is asked
    /// again who that is: tokens expire, and clients are removed.
    async fn authoriser(&self, rules: Rules) -> Result<Arc<LateAuthoriser>, Refusal> {
        let caller = self.asker.identity.caller(&rules.settings)?;
        if caller.principal != self.context.caller.principal {
            return Err(other_principal());
        }
        let context = RequestContext {
            caller,
            ..RequestContext::clone(&self.context)
        };
        self.check_egress(&rules.settings, &context).await?;
        let is_guarded = rules.treatment.exposed == Exposed::Reject;
        Ok(Arc::new(LateAuthoriser {
            context: Arc::new(context),
            signed: None,
            unresolved: rules.treatment.unresolved,
            guard: is_guarded.then(|| self.needles()),
            vault: Arc::clone(&self.proxy.vault),
            gate: Arc::clone(&self.proxy.gate),
            ledger: self.proxy.ledger.clone(),
            used: Arc::clone(&self.used),
            on_record: Mutex::default(),
        }))
    }
}
