//! From a recorded request to its answer: names, connections, pools, and HTTP in both versions.

pub mod answer;
pub mod dial;
pub mod h1_pool;
pub mod h2_pool;
pub mod handshake;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod upstream;
pub mod wire;
