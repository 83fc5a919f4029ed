//! The guard in front of the HTTP/1 parser.

#[path = "../../src/proxy/inbound"]
pub mod inbound {
    pub mod chunked;
    pub mod half_closed;
    pub mod head_check;
    pub mod head_guard;
    pub mod linger;
    pub mod write_out;
}
#[path = "../../src/proxy/runtime"]
pub mod runtime {
    pub mod idle;
    pub mod limits;
    pub mod signal;
    pub mod sync;
}
