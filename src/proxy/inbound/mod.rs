//! From an accepted connection to a request: the listener, CONNECT, tunnels, and HTTP in both versions.

pub mod agreement;
pub mod arrival;
pub mod asking;
pub mod base;
pub mod base_url;
pub mod chunked;
pub mod client;
pub mod connect;
pub mod destination;
pub mod entry;
pub mod fairness;
pub mod h2_guard;
pub mod half_closed;
pub mod head_check;
pub mod head_guard;
pub mod hpack;
pub mod http1;
pub mod http2;
pub mod linger;
pub mod listener;
pub mod original;
pub mod port;
pub mod requests;
pub mod service;
pub mod socks;
pub mod transparent;

pub mod tunnel;
mod write_out;
