//! `egret demo`: Egret at work on loopback. It needs no set-up and leaves no files.

mod assistant;
mod story;
pub(super) mod upstream;

pub(super) use self::story::Demo;
