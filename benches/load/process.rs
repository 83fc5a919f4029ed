//! Other processes: started, watched and ended.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::target::Route;

/// A process that ends with this value.
pub struct Guarded(Child);

impl Guarded {
    /// Starts it without a terminal.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself, which none of them should.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

/// Asks a target's process to end, and waits until it has.
pub fn end(route: &mut Route) -> Result<()> {
    if let Some(process) = &mut route.process {
        kill_process(Pid::from_child(&process.0), Signal::TERM)?;
        process.0.wait()?;
    }
    Ok(())
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ten thousand connections need as many descriptors. Children inherit the limit.
pub fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// CPU time in seconds: of the proxy, of this client, and of the whole machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// User time of the proxy.
    pub user: f64,
    /// System time of the proxy.
    pub system: f64,
    /// Of this process.
    pub client: f64,
    /// Of the origin.
    pub origin: f64,
    /// Of everything on the machine.
    pub machine: f64,
    /// Taken by the hypervisor.
    pub stolen: f64,
    /// Seconds since the machine was started.
    pub uptime: f64,
}

/// The kernel counts in hundredths, whatever its own clock does.
const TICKS: f64 = 100.0;

impl Cpu {
    /// The counters now.
    pub fn read(route: &Route) -> Self {
        let (user, system) = route.pid.map_or((0.0, 0.0), times);
        let (client_user, client_system) = times(std::process::id());
        let (origin_user, origin_system) = times(route.origin_pid);
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<f64> = machine.lines().next().map_or_else(Vec::new, |line| {
            line.split_whitespace()
                .skip(1)
                .filter_map(|n| n.parse().ok())
                .collect()
        });
        let field = |at: usize| fields.get(at).copied().unwrap_or(0.0) / TICKS;
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        Self {
            user,
            system,
            client: client_user + client_system,
            origin: origin_user + origin_system,
            machine: field(0) + field(1) + field(2),
            stolen: field(7),
            uptime: uptime
                .split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0.0),
        }
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
            client: self.client - before.client,
            origin: self.origin - before.origin,
            machine: self.machine - before.machine,
            stolen: self.stolen - before.stolen,
            uptime: self.uptime - before.uptime,
        }
    }

    /// Of the proxy, user and system.
    pub fn proxy(&self) -> f64 {
        self.user + self.system
    }

    /// The share of the machine that others took, 0 to 1.
    pub fn foreign(&self) -> f64 {
        let ours = self.proxy() + self.client + self.origin;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
        ((self.machine - ours).max(0.0) + self.stolen) / (self.uptime * cores).max(0.01)
    }
}

/// User and system time of a process, with its threads that have ended.
fn times(pid: u32) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|n| n.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(12) / TICKS, ticks(13) / TICKS)
}

/// Resident memory in KiB: now, and at its height.
pub fn memory(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
}
