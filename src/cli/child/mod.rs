//! The environment of a program that uses the proxy: what `egret run` gives its child and `egret
//! env` prints.

pub(super) mod inherited;
mod java;
pub(super) mod quote;
pub(super) mod trust;
pub(super) mod variables;
pub(super) mod withhold;
