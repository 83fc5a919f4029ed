//! From an accepted connection to a request: the listener, CONNECT, tunnels, and HTTP in both versions.

pub mod client;
pub mod connect;
pub mod door;
pub mod head;
pub mod head_check;
pub mod http;
pub mod http2;
pub mod listener;
pub mod tunnel;
