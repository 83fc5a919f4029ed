//! The admin listener: probes for machines, and the API and the pages for people.
//!
//! ```text
//!   connection ─► listener ─┬ /healthz, /startupz, /readyz, /metrics ─► probes
//!                           └ guard: own names, transport, origin ─► router ─► handler
//!                                                                  Caller (who asks) ─► Registrar
//! ```
//!
//! # Threats and answers
//!
//! | Threat | Answer |
//! | --- | --- |
//! | The admin side is taken over | [`AdminContext`] holds nothing that opens a value, by type: a `Registrar` seals, probes answer yes or no. |
//! | Somebody's request becomes the end of another one's behind a reverse proxy (request smuggling) | [`framing`] refuses heads that two parsers could read differently. |
//! | A web page reaches the listener under a name of its own (DNS rebinding) | [`guard`] answers for the listener's own names only, with 421 for others. |
//! | A web page sends a request with somebody's cookie | Cookies are `SameSite=Lax`; what changes anything needs `Sec-Fetch-Site: same-origin` or the exact `Origin`. |
//! | Another server on this machine receives the cookie: cookies ignore ports | The page is at `egret.localhost`, whose cookies reach neither `localhost` nor `127.0.0.1`. The cookie's name has the port. |
//! | An agent reaches the listener through the proxy | The proxy refuses its own addresses, and [`guard`] refuses what came through it. |
//! | A password or a cookie on the wire | Plain HTTP is answered on loopback, or behind a trusted reverse proxy, only. |
//! | Passwords are guessed | argon2id, attempts limited by account and by address, equal answers and times for unknown users. |
//! | The store is stolen | Of cookies, tokens and links it has hashes. |
//! | The store is written to without the master key | Accounts, tokens, links and sessions are authenticated ([`crate::vault::access`]). |
//! | People's connections starve the probes, or the proxy | Limits of their own ([`listener`]); the proxy's threads are others. |

pub mod api;
mod attempts;
pub mod caller;
pub mod context;
mod cookie;
mod framing;
pub mod guard;
pub mod imports;
mod listener;
pub mod looks;
mod metrics;
pub mod names;
pub mod openid;
pub mod part;
mod passwords;
mod plain;
mod probes;
pub mod problem;
pub mod remarks;
pub mod rules;
mod services;
pub mod signin;
mod state;
mod streams;
pub mod trial;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use tower_http::catch_panic::CatchPanicLayer;

pub use self::caller::Caller;
pub use self::context::{AdminContext, AdminSettings};
pub use self::listener::run;
pub use self::problem::{AdminProblem, Trouble};
pub use self::services::AdminServices;
pub use self::state::{AdminState, ProcessState};

/// All that people and their programs are answered: `pages` beside the API and signing in. `pages` says
/// what an unknown address is answered.
pub fn router(context: &AdminContext, pages: Router<AdminContext>) -> Router {
    let limited = Router::new()
        .merge(api::router())
        .merge(signin::router())
        .merge(pages)
        .method_not_allowed_fallback(|| async { AdminProblem::new(Trouble::MethodNotAllowed) })
        .layer(DefaultBodyLimit::max(api::MAX_BODY))
        // A handler that panics must not take the connection of others with it.
        .layer(CatchPanicLayer::custom(problem::of_panic));
    limited
        .layer(middleware::from_fn_with_state(
            context.clone(),
            guard::check,
        ))
        .with_state(context.clone())
}
