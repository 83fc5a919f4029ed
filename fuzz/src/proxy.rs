//! The guard in front of the HTTP/1 parser.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[path = "../../src/proxy/head.rs"]
pub mod head;
#[path = "../../src/proxy/head_check.rs"]
pub mod head_check;
#[path = "../../src/proxy/idle.rs"]
pub mod idle;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
