//! HTTP/2 on either side of the proxy.

pub mod client;
pub mod frames;
pub mod peer;
pub mod upstream;

mod bounds;
mod h2spec;
mod proxied;
