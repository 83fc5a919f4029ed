//! What a handler of the admin side may reach.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::attempts::Attempts;
use super::looks::Looks;
use super::names::Names;
use super::openid::Provider;
use super::passwords::Passwords;
use super::plain::PlainLooks;
use super::services::AdminServices;
use super::state::AdminState;
use crate::config::Config;
use crate::proxy::outbound::way::Way;
use crate::vault::Registrar;
use crate::vault::access::SessionLimits;

/// What a handler of the admin side may reach. Nothing in it can open a value. Clones share it.
#[derive(Clone)]
pub struct AdminContext(Arc<Shared>);

struct Shared {
    state: Arc<AdminState>,
    settings: ArcSwap<AdminSettings>,
    services: AdminServices,
    looks: Box<dyn Looks>,
    passwords: Passwords,
    attempts: Attempts,
}

/// The part that a reload of the configuration replaces.
pub struct AdminSettings {
    /// Makes changes, under the operator's floor of now.
    pub registrar: Registrar,
    /// Under which names the listener is reached, and through what.
    pub names: Names,
    /// How long sessions last.
    pub sessions: SessionLimits,
    /// Where people sign in beside local accounts.
    pub provider: Option<Provider>,
    /// The configuration in force.
    pub config: Config,
}

impl AdminSettings {
    /// The settings that `config` asks for, of a listener at `listener`. The identity provider is
    /// reached by `way`.
    pub fn new(config: Config, registrar: Registrar, listener: SocketAddr, way: Way) -> Self {
        let names = Names::new(&config.admin, listener);
        let origin = names.url().to_string();
        let trust = config.upstream.ca_files.clone();
        let openid = config.openid.clone();
        let provider = openid.map(|openid| Provider::new(openid, &origin, trust, way));
        Self {
            registrar: registrar.under(config.policy.clone()),
            names,
            provider,
            sessions: SessionLimits {
                lifetime: config.admin.session_lifetime,
                idle: config.admin.session_idle,
            },
            config,
        }
    }
}

impl AdminContext {
    /// A context with forms that have no looks.
    pub fn new(state: Arc<AdminState>, settings: AdminSettings, services: AdminServices) -> Self {
        Self::with_looks(state, settings, services, Box::new(PlainLooks))
    }

    /// A context whose forms look like the pages.
    pub fn with_looks(
        state: Arc<AdminState>,
        settings: AdminSettings,
        services: AdminServices,
        looks: Box<dyn Looks>,
    ) -> Self {
        Self(Arc::new(Shared {
            state,
            settings: ArcSwap::from_pointee(settings),
            services,
            looks,
            passwords: Passwords::default(),
            attempts: Attempts::default(),
        }))
    }

    /// Puts other settings in force, from the next request on.
    pub fn replace(&self, settings: AdminSettings) {
        self.0.settings.store(Arc::new(settings));
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<AdminSettings> {
        self.0.settings.load_full()
    }

    /// Makes changes.
    pub fn registrar(&self) -> Registrar {
        self.0.settings.load().registrar.clone()
    }

    /// What handlers read and change with.
    pub fn services(&self) -> &AdminServices {
        &self.0.services
    }

    /// What the admin side knows of the server.
    pub fn state(&self) -> &Arc<AdminState> {
        &self.0.state
    }

    pub(super) fn looks(&self) -> &dyn Looks {
        self.0.looks.as_ref()
    }

    pub(super) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    pub(super) fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }
}
