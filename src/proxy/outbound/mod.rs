//! From a recorded request to its answer: names, connections, pools, and HTTP in both versions.

pub mod answer;
pub mod connection;
pub mod dial;
pub mod handshake;
pub mod limits;
pub mod multiplex;
pub mod pool;
pub mod stream;
pub mod upstream;
pub mod wire;
