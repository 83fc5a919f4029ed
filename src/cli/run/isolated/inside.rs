//! The process that prepares the namespaces and then becomes the program.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use clap::Args;
use rustix::process::{getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use super::handover::Inner;
use super::plan::{PROXY_PORT, Plan};
use super::{cover, network};
use crate::cli::run::process::not_started;

/// Prepare the namespaces of `egret run --isolate` and execute a program in them
#[derive(Args)]
#[command(
    hide = true,
    after_help = "Run by `egret run --isolate`, and of no use otherwise."
)]
pub(in crate::cli) struct Inside {
    /// Where `egret run` listens
    #[arg(value_name = "NAME")]
    name: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The exit status where nothing was executed. `egret run` says why.
const NOT_PREPARED: u8 = 125;
const DNS: u16 = 53;

impl Inside {
    pub(in crate::cli) fn run(self) -> ExitCode {
        match self.prepare() {
            Ok(error) => not_started(&self.command[0], &error),
            Err(()) => ExitCode::from(NOT_PREPARED),
        }
    }

    /// Returns only if the program could not be executed. What failed before is told to `egret run`.
    fn prepare(&self) -> Result<io::Error, ()> {
        let mut outer = Inner::connect(&self.name).map_err(drop)?;
        let prepared = outer.plan().and_then(|plan| prepare(&plan));
        match prepared {
            Ok(sockets) => outer.ready(&sockets).map_err(drop)?,
            Err(error) => {
                outer.failed(&error.to_string());
                return Err(());
            }
        }
        let mut command = Command::new(&self.command[0]);
        Ok(command.args(&self.command[1..]).exec())
    }
}

fn prepare(plan: &Plan) -> io::Result<Vec<OwnedFd>> {
    enter().map_err(|error| step("namespaces cannot be made", &error))?;
    network::lead_here().map_err(|error| step("the network cannot be set up", &error))?;
    let sockets = listen(plan).map_err(|error| step("a port cannot be listened on", &error))?;
    cover::cover(plan).map_err(|error| step("files cannot be covered", &error))?;
    give_up_rights().map_err(|error| step("rights cannot be given up", &error))?;
    Ok(sockets)
}

fn step(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Enters namespaces of its own, in which it is the same user as outside.
fn enter() -> io::Result<()> {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    // Deprecated because of another flag, with which threads could lose each other's files.
    #[allow(deprecated)]
    rustix::thread::unshare(flags)?;
    // Without privilege a group can be mapped only when others cannot be dropped any more
    // (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// The sockets, in the order in which `egret run` expects them: the resolver, the proxy, each port, each
/// port of a tunnel, and each of the host's ports for IPv4 and IPv6.
fn listen(plan: &Plan) -> io::Result<Vec<OwnedFd>> {
    let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let any_v4 = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let mut sockets: Vec<OwnedFd> = Vec::new();
    let resolver = UdpSocket::bind(any(DNS)).or_else(|_| UdpSocket::bind(any_v4(DNS)))?;
    sockets.push(resolver.into());
    sockets.push(TcpListener::bind((Ipv4Addr::LOCALHOST, PROXY_PORT))?.into());
    for port in plan.ports.iter().chain(&plan.tunnel_ports) {
        let listener = TcpListener::bind(any(*port));
        sockets.push(
            listener
                .or_else(|_| TcpListener::bind(any_v4(*port)))?
                .into(),
        );
    }
    for port in &plan.host_ports {
        sockets.push(TcpListener::bind((Ipv4Addr::LOCALHOST, *port))?.into());
    }
    for port in &plan.host_ports {
        // A kernel without IPv6 has no such address.
        if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, *port)) {
            sockets.push(listener.into());
        }
    }
    Ok(sockets)
}

/// Drops every capability, also those that executing a program would give back to root.
fn give_up_rights() -> io::Result<()> {
    // Up to the first that this kernel does not know.
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    set_no_new_privs(true)?;
    Ok(())
}
