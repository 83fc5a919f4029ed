//! `egret nftables`: rules that lead a program's connections to `transparent.listen`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use clap::Args;

use super::context::Context;
use super::exit::usage;
use super::output;

/// Print nftables rules for the transparent listener
///
/// They lead connections to it and refuse the rest. One `inet` table, for `nft -f -`. TCP to ports 80 and 443 goes to transparent.listen; everything
/// else that is not for this machine is refused at once, so that nothing waits: UDP too, and QUIC
/// with it. Putting it in force needs CAP_NET_ADMIN; a program that has that, or that runs as
/// Egret's own user, is not held by it.
///
/// Name the programs that it holds: by user, by control group, or as everything in this network
/// namespace but Egret.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret nftables --user 1001 | sudo nft -f -
  egret nftables --cgroup user.slice/assistant.service | sudo nft -f -
  egret nftables --all-but 65532 | nft -f -          in the namespace of a pod
  sudo nft delete table inet egret_transparent       takes the rules away")]
pub(super) struct Nftables {
    #[command(flatten)]
    held: Held,
}

/// Which programs are held.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Held {
    /// Programs of this user, by number
    #[arg(long, value_name = "UID")]
    user: Option<u32>,
    /// Programs in this control group (version 2), as a path below its root
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// Every program but those of this user, by number: Egret's own
    #[arg(long, value_name = "UID")]
    all_but: Option<u32>,
}

impl Nftables {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = context.load()?.config;
        if config.transparent.listen.is_empty() {
            return Err(usage(
                "set transparent.listen and transparent.principal in the configuration first",
            ));
        }
        output::print(&table(&config.transparent.listen, &self.held.condition()?))
    }
}

impl Held {
    /// The condition under which a packet is of a program that is not held.
    fn condition(&self) -> anyhow::Result<String> {
        if let Some(user) = self.user {
            return Ok(format!("meta skuid != {user}"));
        }
        if let Some(user) = self.all_but {
            return Ok(format!("meta skuid {user}"));
        }
        let path = self.cgroup.as_deref().unwrap_or_default().trim_matches('/');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@\\".contains(c);
        if path.is_empty() || !path.chars().all(is_plain) {
            return Err(usage(
                "a control group is a path such as user.slice/assistant.service",
            ));
        }
        let level = path.split('/').count();
        Ok(format!("socket cgroupv2 level {level} != \"{path}\""))
    }
}

fn table(listen: &[SocketAddr], not_held: &str) -> String {
    let mut text = String::from(
        "table inet egret_transparent\n\
         delete table inet egret_transparent\n\
         table inet egret_transparent {\n    \
         chain to_egret {\n        \
         type nat hook output priority -100; policy accept;\n",
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "        {not_held} return");
    text += "        fib daddr type local return\n";
    for (family, is_family) in [
        ("ipv4", SocketAddr::is_ipv4 as fn(&SocketAddr) -> bool),
        ("ipv6", SocketAddr::is_ipv6),
    ] {
        if let Some(address) = listen.iter().find(|address| is_family(address)) {
            let _ = writeln!(
                text,
                "        meta nfproto {family} tcp dport {{ 80, 443 }} redirect to :{}",
                address.port()
            );
        }
    }
    text += "    }\n    chain refuse {\n        type filter hook output priority filter; policy accept;\n";
    let _ = writeln!(text, "        {not_held} accept");
    // A redirected packet still says the interface that it was to leave by.
    text += "        oifname \"lo\" accept\n        \
         fib daddr type local accept\n        \
         meta l4proto tcp reject with tcp reset\n        \
         reject with icmpx admin-prohibited\n    }\n}\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(user: Option<u32>, cgroup: Option<&str>, all_but: Option<u32>) -> Held {
        Held {
            user,
            cgroup: cgroup.map(str::to_owned),
            all_but,
        }
    }

    #[test]
    fn who_is_held_is_said_in_the_words_of_nftables() {
        let condition = |held: Held| held.condition().unwrap();
        assert_eq!(
            condition(held(Some(1001), None, None)),
            "meta skuid != 1001"
        );
        assert_eq!(condition(held(None, None, Some(5))), "meta skuid 5");
        assert_eq!(
            condition(held(None, Some("/a.slice/b.service"), None)),
            "socket cgroupv2 level 2 != \"a.slice/b.service\""
        );
        assert!(held(None, Some("a\" accept"), None).condition().is_err());
    }

    #[test]
    fn each_family_goes_to_its_own_listener() {
        let listen = ["127.0.0.1:7072", "[::1]:7073"].map(|text| text.parse().unwrap());
        let text = table(&listen, "meta skuid 5");
        assert!(text.contains("meta nfproto ipv4 tcp dport { 80, 443 } redirect to :7072\n"));
        assert!(text.contains("meta nfproto ipv6 tcp dport { 80, 443 } redirect to :7073\n"));
        assert!(!table(&listen[..1], "meta skuid 5").contains("ipv6"));
    }
}
