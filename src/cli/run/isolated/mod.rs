//! `egret run --isolate`: the program in namespaces of its own, where every address leads to Egret.
//!
//! The process that becomes the program prepares them ([`inside`]): a user namespace, which needs no
//! privilege; a network namespace with nothing but a loopback interface, to which every address of
//! IPv4 and IPv6 is local; and a mount namespace in which Egret's own files, the sockets of the host
//! and files with credentials are covered. It listens there, hands the sockets to `egret run`, drops
//! every capability, and executes the program. Sockets stay in the namespace in which they were made,
//! so that `egret run` can accept connections on them from outside.
//!
//! What the program cannot undo: a mount namespace that a less privileged user namespace copies has
//! its mounts locked together (mount_namespaces(7)), so that no cover comes off. A process outside is
//! in another user namespace, and its memory and files in `/proc` are closed (ptrace(2)).
//!
//! What is left open: the program runs as the same user on the same file system. It can change files
//! that something else reads later, and send signals to processes of the same user.

mod cover;
mod handover;
pub(in crate::cli) mod inside;
mod masks;
mod names;
mod network;
mod outside;
mod plan;

pub(super) use self::outside::{Asked, Isolation, Unavailable};
