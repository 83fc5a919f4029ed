//! Where requests come in, and who sends them.

use crate::error::Code;
use crate::proxy::exchange::egress;
use crate::proxy::exchange::headers::EGRET_ACTION;
use crate::proxy::exchange::headers::{EGRET_RUN, EGRET_TOKEN};
use crate::proxy::inbound::base_url::Own;
use std::ptr;
use std::sync::{Arc, Mutex, Weak};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::clock::unix_seconds;
use crate::config::Treatment;
use crate::error::Refusal;
use crate::identity::{Caller, Presented};
use crate::policy::destination::Destination;
use crate::policy::egress::EgressRules;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::runtime::origin::Origin;
use crate::proxy::runtime::slot::ConnectionSlot;
use crate::proxy::runtime::sync::lock;
use crate::scrub::Needles;

/// What of a request says who asks, and what for.
pub(in crate::proxy) const IDENTITY: [HeaderName; 4] = [
    header::PROXY_AUTHORIZATION,
    EGRET_TOKEN,
    EGRET_ACTION,
    EGRET_RUN,
];
/// What the names of Egret's headers begin with.
const OWN: &str = "egret-";

/// Where a request came in.
pub enum Entry {
    /// On the proxy's own port.
    Proxy(ProxyEntry),
    /// Inside a CONNECT tunnel, or inside TLS that came without one.
    Tunnel(Box<TunnelEntry>),
    /// On a connection that was made to another address.
    Transparent(TransparentEntry),
    /// On a listener where the path names the destination.
    BaseUrl(BaseUrlEntry),
}

impl Entry {
    /// Who asks. A tunnel's token was shown with CONNECT; what a client repeats inside is not
    /// looked at, only stripped.
    pub(in crate::proxy) fn caller(
        &self,
        settings: &Arc<Settings>,
        proxy: &Proxy,
        headers: &HeaderMap,
    ) -> Result<Arc<Caller>, Refusal> {
        match self {
            Self::Tunnel(tunnel) => Ok(tunnel.standing(settings, proxy, headers)?.caller),
            Self::Proxy(entry) => {
                let identity = entry.identity(settings, headers);
                Ok(Arc::new(identity.caller(settings, headers)?))
            }
            Self::Transparent(entry) => {
                let identity = PresentedIdentity::of_listener(entry.holder.as_deref());
                Ok(Arc::new(identity.caller(settings, headers)?))
            }
            Self::BaseUrl(entry) => {
                let identity =
                    PresentedIdentity::by_token(settings, headers, entry.holder.as_deref());
                Ok(Arc::new(identity.caller(settings, headers)?))
            }
        }
    }

    /// Who asked at that time, if nobody took it back since: what ends by itself, such as a token, counts
    /// as it was then.
    pub(in crate::proxy) fn caller_at(
        &self,
        settings: &Settings,
        headers: &HeaderMap,
        time: i64,
    ) -> Result<Caller, Refusal> {
        let identity = match self {
            Self::Tunnel(tunnel) => return tunnel.identity.caller_at(settings, headers, time),
            Self::Proxy(entry) => entry.identity(settings, headers),
            Self::Transparent(entry) => PresentedIdentity::of_listener(entry.holder.as_deref()),
            Self::BaseUrl(entry) => {
                PresentedIdentity::by_token(settings, headers, entry.holder.as_deref())
            }
        };
        identity.caller_at(settings, headers, time)
    }
}

/// A connection to the proxy itself.
pub struct ProxyEntry {
    /// Counts the connection until the last of its requests, or the tunnel it becomes, has ended.
    pub slot: ConnectionSlot,
    /// For whom its listener vouches.
    pub holder: Option<Arc<Presented>>,
}

impl ProxyEntry {
    /// Who asks in a request with these headers.
    pub fn identity(&self, settings: &Settings, headers: &HeaderMap) -> PresentedIdentity {
        PresentedIdentity::of(settings, headers, self.holder.as_deref())
    }
}

/// Plain HTTP of a client that knows of no proxy: each request names its host.
pub struct TransparentEntry {
    /// The port that the client meant.
    pub port: u16,
    /// For whom its listener vouches.
    pub holder: Option<Arc<Presented>>,
    /// Counts the connection until the last of its requests has ended.
    pub _slot: ConnectionSlot,
}

/// A client that writes the destination into the path.
pub struct BaseUrlEntry {
    /// The listener.
    pub own: Own,
    /// For whom it vouches.
    pub holder: Option<Arc<Presented>>,
    /// Counts the connection until the last of its requests has ended.
    pub _slot: ConnectionSlot,
}

/// What a tunnel fixes for all of its requests.
pub struct TunnelEntry {
    pub(in crate::proxy) destination: Destination,
    identity: PresentedIdentity,
    pub(in crate::proxy) mismatch: Option<Refusal>,
    /// Counts the connection until the last of its requests has ended.
    _slot: ConnectionSlot,
    /// What `Host` says in nearly every request.
    pub(in crate::proxy) authority: String,
    /// The destination as ledger and log show it.
    pub(in crate::proxy) origin: Origin,
    /// What was found out for the request before.
    standing: Mutex<Option<CallerCache>>,
}

impl TunnelEntry {
    /// A tunnel to the CONNECT authority, with the scheme that was found inside, for the client that asked
    /// for it. With a `mismatch`, because CONNECT and the TLS server name disagree, no request gets
    /// through.
    pub fn new(
        destination: Destination,
        identity: PresentedIdentity,
        slot: ConnectionSlot,
        mismatch: Option<Refusal>,
    ) -> Self {
        Self {
            authority: destination.authority(),
            origin: Origin::from(&destination),
            destination,
            identity,
            mismatch,
            _slot: slot,
            standing: Mutex::new(None),
        }
    }

    /// Who asks, as of now, and how the destination is treated.
    pub(in crate::proxy) fn standing(
        &self,
        settings: &Arc<Settings>,
        proxy: &Proxy,
        headers: &HeaderMap,
    ) -> Result<Standing, Refusal> {
        // Before the clients are looked at: what changes meanwhile is looked at once more.
        let generation = proxy.vault.generation();
        let now = unix_seconds();
        // Or something else of ours: to look at the names takes less time than to look these up.
        let says_more = headers.keys().any(|name| name.as_str().starts_with(OWN));
        if !says_more
            && let Some(known) = &*lock(&self.standing)
            && known.holds(settings, generation, now)
            && let Some(needles) = known.needles.upgrade()
        {
            return Ok(known.standing(needles));
        }
        let caller = Arc::new(self.identity.caller(settings, headers)?);
        let standing = Standing::of(settings, proxy, caller, &self.destination)?;
        if !says_more {
            let known = CallerCache::of(&standing, settings, generation);
            *lock(&self.standing) = Some(known);
        }
        Ok(standing)
    }
}

/// What holds for each request of a tunnel until something changes: the settings, the clients, or
/// the time beyond which a token is not good. Besides the work this spares two cores the counting
/// of those who hold a client's name, which is what they would wait for each other for.
struct CallerCache {
    /// What it was found out under.
    settings: Weak<Settings>,
    generation: u64,
    caller: Arc<Caller>,
    treatment: Treatment,
    egress: Option<Arc<EgressRules>>,
    /// Not held: what was replaced must be wiped although a tunnel lies idle.
    needles: Weak<Needles>,
}

/// Who asks, and what holds for that caller's requests to a destination.
pub(in crate::proxy) struct Standing {
    pub(in crate::proxy) caller: Arc<Caller>,
    /// How the destination is treated.
    pub(in crate::proxy) treatment: Treatment,
    /// Where the caller may go, if that is limited or observed.
    pub(in crate::proxy) egress: Option<Arc<EgressRules>>,
    /// The values that the caller's principal can use.
    pub(in crate::proxy) needles: Arc<Needles>,
}

impl Standing {
    /// What holds now.
    pub(in crate::proxy) fn of(
        settings: &Settings,
        proxy: &Proxy,
        caller: Arc<Caller>,
        destination: &Destination,
    ) -> Result<Self, Refusal> {
        let operator = &settings.config.egress.rules;
        Ok(Self {
            egress: egress::rules(operator, &proxy.vault, &caller, destination)?,
            treatment: settings.config.treatment(destination),
            needles: proxy.needle_cache.needles(&proxy.vault, &caller.principal),
            caller,
        })
    }
}

impl CallerCache {
    fn of(standing: &Standing, settings: &Arc<Settings>, generation: u64) -> Self {
        Self {
            settings: Arc::downgrade(settings),
            generation,
            caller: Arc::clone(&standing.caller),
            treatment: standing.treatment.clone(),
            egress: standing.egress.clone(),
            needles: Arc::downgrade(&standing.needles),
        }
    }

    fn holds(&self, settings: &Arc<Settings>, generation: u64, now: i64) -> bool {
        ptr::eq(self.settings.as_ptr(), Arc::as_ptr(settings))
            && self.generation == generation
            && self.caller.expires.is_none_or(|at| now < at)
    }

    fn standing(&self, needles: Arc<Needles>) -> Standing {
        Standing {
            caller: Arc::clone(&self.caller),
            treatment: self.treatment.clone(),
            egress: self.egress.clone(),
            needles,
        }
    }
}

/// Who a client says it is, and what for: the token, and the headers that name action and run.
/// Judged again whenever the answer could be another.
pub struct PresentedIdentity {
    presented: Option<Presented>,
    action: Option<HeaderValue>,
    run: Option<HeaderValue>,
}

impl PresentedIdentity {
    /// That of a client that knows of no proxy, and so shows it nothing: its listener's.
    pub fn of_listener(holder: Option<&Presented>) -> Self {
        Self {
            presented: holder.cloned(),
            action: None,
            run: None,
        }
    }

    /// Reads the claim of a request that came through a listener of `holder`.
    pub fn of(settings: &Settings, headers: &HeaderMap, holder: Option<&Presented>) -> Self {
        let token = headers.get(header::PROXY_AUTHORIZATION);
        let presented = settings.identity.present(token.map(HeaderValue::as_bytes));
        Self {
            presented: Presented::on_listener_of(holder, presented),
            action: headers.get(EGRET_ACTION).cloned(),
            run: headers.get(EGRET_RUN).cloned(),
        }
    }

    /// Reads the claim of a request that came to a listener which is no proxy.
    pub fn by_token(settings: &Settings, headers: &HeaderMap, holder: Option<&Presented>) -> Self {
        let token = headers.get(EGRET_TOKEN);
        let bearer = token.map(|token| [&b"Bearer "[..], token.as_bytes()].concat());
        let presented = settings.identity.present(bearer.as_deref());
        Self {
            presented: Presented::on_listener_of(holder, presented),
            action: headers.get(EGRET_ACTION).cloned(),
            run: headers.get(EGRET_RUN).cloned(),
        }
    }

    /// The caller that was presented, as of now. A request inside a tunnel may name another action
    /// and run than its CONNECT did; its token is the tunnel's, whatever it repeats.
    pub fn caller(&self, settings: &Settings, inside: &HeaderMap) -> Result<Caller, Refusal> {
        self.caller_at(settings, inside, unix_seconds())
    }

    fn caller_at(
        &self,
        settings: &Settings,
        inside: &HeaderMap,
        time: i64,
    ) -> Result<Caller, Refusal> {
        let action = inside.get(EGRET_ACTION).or(self.action.as_ref());
        let run = inside.get(EGRET_RUN).or(self.run.as_ref());
        settings.identity.caller(
            self.presented.as_ref(),
            action.map(HeaderValue::as_bytes),
            run.map(HeaderValue::as_bytes),
            time,
        )
    }
}

/// The refusal for a name that disagrees with CONNECT.
pub fn mismatch(destination: &Destination, what: &str) -> Refusal {
    let detail = format!(
        "{what} names another host or port than CONNECT did; send each host's requests through a \
         tunnel of its own"
    );
    Refusal::new(Code::DestinationMismatch, detail).destination(destination.to_string())
}
