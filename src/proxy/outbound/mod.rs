//! From a recorded request to its answer: names, connections, pools, and HTTP in both versions.

pub mod answer;
pub mod answer_first;
pub mod bound;
pub mod checkout;
pub mod connected;
pub mod dial;
pub mod h1_pool;
pub mod h2_pool;
pub mod handshake;
pub mod http1;
pub mod http2;
pub mod interim;
pub mod leftover;
pub mod limited;
pub mod limits;
pub mod parent;
pub mod reset_check;
pub mod unfold;
pub mod upstream;
pub mod way;
pub mod wire;
