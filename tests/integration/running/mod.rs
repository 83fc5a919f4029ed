//! `egret run`: the program's own listener, and what it finds in its environment.

mod covered;
mod isolated;
mod listener;
mod placeholders;
