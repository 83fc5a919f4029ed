//! `egret run`: a program, its proxy and its token, for as long as the program lives.

mod command;
mod embedded;
mod forwarder;
mod lease;
mod process;
mod proxy;

pub(super) use self::command::Run;
