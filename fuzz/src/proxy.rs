//! The guard in front of the HTTP/1 parser.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[path = "../../src/proxy/inbound"]
pub mod inbound {
    pub mod head;
    pub mod head_check;
}
#[path = "../../src/proxy/runtime"]
pub mod runtime {
    pub mod idle;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
