//! Signing in at an identity provider: OpenID Connect with the authorisation code flow and PKCE.
//!
//! # Threats and answers
//!
//! | Threat | Answer |
//! | --- | --- |
//! | Somebody is made to sign in as the attacker, or with the attacker's code | `state` belongs to one browser (a cookie), and works once. `nonce` ties the ID token to it. |
//! | A code is stolen on the way | PKCE (RFC 7636) with S256: it is worth nothing without the verifier, which stays here. |
//! | Another provider's answer, or a token for somebody else | `iss` of the document, of the answer (RFC 9207) and of the token are compared literally with the configuration; `aud` and `azp` name this client. |
//! | A forged ID token | The signature is checked with the provider's keys, with asymmetric algorithms that belong to the key only. |
//! | Somebody gets an old e-mail address, or renames themself | The key of a person is (issuer, subject). A name that is taken here is never linked by itself. |
//! | A person left the group | A mapped membership ends at its maximum age. |
//! | The provider is down | Local accounts do not need it. |

mod claims;
mod discovery;
mod pending;
mod provider;

pub use provider::{Answer, Person, Provider, Started, Trust};
