//! The environment of a program that uses the proxy: what `egret run` gives its child, what `egret env`
//! prints, and what a sandbox gets from the API.

mod clients;
pub mod inherited;
mod java;
mod php;
mod pkcs12;
pub mod proxy_access;
pub mod request;
pub mod sandbox;
mod settings;
pub mod trust;
pub mod variables;
pub mod wrappers;
