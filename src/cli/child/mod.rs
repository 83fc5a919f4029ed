//! What commands do with the [environment](crate::environment) of a program that uses the proxy: print it
//! for a shell, and withhold a part of it.

pub(super) mod quote;
pub(super) mod withhold;
