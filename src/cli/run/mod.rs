//! `egret run`: a program, its proxy and its token, for as long as the program lives.

mod command;
mod embedded;
mod forwarder;
mod git;
mod isolated;
mod kept;
mod lease;
mod own_listener;
mod peer;
mod placeholders;
mod process;
mod project;
mod proxy;
mod remote;
mod tunnels;
mod way;

pub(super) use self::command::Run;
pub(super) use self::isolated::inside::Inside;
pub(super) use self::proxy::ProxyHandle;
