//! Whose a connection over loopback is, as the kernel's table of sockets says.

use std::fs::File;
use std::io::BufReader;
use std::net::{IpAddr, SocketAddr};

/// The kernel's tables of sockets (proc(5)). A socket of IPv6 that is connected over IPv4, as those of
/// a JVM are, is in the second.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// A connection that its owner has closed (`TCP_TIME_WAIT`): the row names no owner any more.
const TIME_WAIT: &str = "06";

/// What stands before an IPv4 address that is mapped into IPv6 (RFC 4291 section 2.5.5.2), in words of
/// the machine.
#[cfg(target_endian = "little")]
const MAPPED: &str = "0000000000000000FFFF0000";
#[cfg(target_endian = "big")]
const MAPPED: &str = "00000000000000000000FFFF";

/// Who holds the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A process of this user.
    User(u32),
    /// No process any more.
    Gone,
    /// The system does not say.
    Untold,
}

/// Who holds the socket at `from` that is connected to `to`. Reads the table: may wait.
pub(super) fn owner(from: SocketAddr, to: SocketAddr) -> Owner {
    let mut answer = Owner::Untold;
    for table in TABLES {
        let Ok(table) = File::open(table) else {
            continue;
        };
        answer = owner_in(BufReader::new(table), from, to);
        if answer != Owner::Gone {
            break;
        }
    }
    answer
}

fn owner_in(table: impl std::io::BufRead, from: SocketAddr, to: SocketAddr) -> Owner {
    let (Some(from), Some(to)) = (written(from), written(to)) else {
        return Owner::Untold;
    };
    for line in table.lines().map_while(Result::ok) {
        // Number, local and remote address, state, queues, timer, retransmits, user.
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_row = |field: Option<&str>, address: &str| {
            let field = field.unwrap_or_default();
            field == address || field.strip_prefix(MAPPED) == Some(address)
        };
        if !is_row(fields.next(), &from) || !is_row(fields.next(), &to) {
            continue;
        }
        let is_closed = fields.next() == Some(TIME_WAIT);
        let user = fields.nth(3).and_then(|user| user.parse().ok());
        return match user {
            Some(user) if !is_closed => Owner::User(user),
            _ => Owner::Gone,
        };
    }
    Owner::Gone
}

/// An address as the table has it: the bytes of the machine's word, a colon, the port.
fn written(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    let word = u32::from_ne_bytes(ip.octets());
    Some(format!("{word:08X}:{:04X}", address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn an_own_connection_is_found_and_one_that_is_not_there_is_gone() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let client = TcpStream::connect(to).unwrap();
        let from = client.local_addr().unwrap();
        if File::open(TABLES[0]).is_err() {
            return;
        }
        let own = rustix::process::getuid().as_raw();
        assert_eq!(owner(from, to), Owner::User(own));
        assert_eq!(owner(to, to), Owner::Gone);
        assert_eq!(owner("[::1]:1".parse().unwrap(), to), Owner::Untold);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_user_is_read_from_its_column() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n\
            1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 2 1\n\
            2: 0100007F:C351 0100007F:1F90 06 00000000:00000000 03:00000F00 00000000     0        0 0 3\n";
        let to = "127.0.0.1:8080".parse().unwrap();
        let owner = |from: &str| owner_in(table.as_bytes(), from.parse().unwrap(), to);
        assert_eq!(owner("127.0.0.1:50000"), Owner::User(1001));
        assert_eq!(owner("127.0.0.1:50001"), Owner::Gone);
        assert_eq!(owner("127.0.0.1:50002"), Owner::Gone);
        let mapped = "head\n\
            0: 0000000000000000FFFF00000100007F:C350 0000000000000000FFFF00000100007F:1F90 01 0:0 0:0 0 1002\n";
        let from = "127.0.0.1:50000".parse().unwrap();
        assert_eq!(owner_in(mapped.as_bytes(), from, to), Owner::User(1002));
    }
}
