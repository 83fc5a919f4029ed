//! `egret demo`: the whole story on loopback, with nothing to install and nothing left behind.

mod assistant;
mod story;
mod upstream;

pub(super) use self::story::Demo;
