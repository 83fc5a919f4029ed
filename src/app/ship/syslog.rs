//! Syslog (RFC 5424) over TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. So each batch has a connection of its own, and counts as taken when the
//! collector has closed it after everything was sent: it has read all of it by then.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::super::endpoint::Endpoint;
use crate::ledger::RecordRef;
use crate::ledger::lines_from::NumberedLine;

/// The port of syslog over TLS (RFC 5425 section 4.1).
const PORT: u16 = 6514;
/// Facility local0, severity informational.
const PRIORITY: &str = "<134>";
/// The longest MSGID (RFC 5424 section 6).
const LONGEST_ID: usize = 32;
/// The largest `sequenceId` (RFC 5424 section 7.3.1), after which it begins again.
const LARGEST_SEQUENCE: u64 = 2_147_483_647;
/// How long the collector may take to read the end.
const CLOSING: Duration = Duration::from_secs(10);

/// Sends a batch.
pub(super) async fn send(endpoint: &Endpoint, lines: &[NumberedLine]) -> io::Result<()> {
    let mut stream = endpoint.connect_tls(PORT).await?;
    let host = host();
    let mut frames = Vec::new();
    for line in lines {
        frame(&host, line, &mut frames)?;
    }
    stream.write_all(&frames).await?;
    stream.shutdown().await?;
    let mut answer = [0; 1024];
    let closed = async {
        while stream.read(&mut answer).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    match timeout(CLOSING, closed).await {
        Ok(Ok(())) => Ok(()),
        // It has closed the socket without TLS's goodbye, after ours.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A message with its length in front (RFC 5425 section 4.3).
fn frame(host: &str, line: &NumberedLine, frames: &mut Vec<u8>) -> io::Result<()> {
    let record = RecordRef::parse(&line.text).map_err(io::Error::other)?;
    let time = &record.time;
    let id: String = record.event.chars().take(LONGEST_ID).collect();
    let sequence = (line.seq - 1) % LARGEST_SEQUENCE + 1;
    let head = format!(
        "{PRIORITY}1 {time} {host} egret - {id} \
         [origin software=\"egret\"][meta sequenceId=\"{sequence}\"] "
    );
    let length = head.len() + line.text.len();
    frames.extend_from_slice(format!("{length} {head}").as_bytes());
    frames.extend_from_slice(&line.text);
    Ok(())
}

/// The name of this machine, or the NILVALUE.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let is_name =
        !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic());
    if is_name {
        name.to_owned()
    } else {
        "-".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::{Entry, Timestamp};

    #[test]
    fn a_message_says_its_length_and_what_it_is() {
        let mut text = Vec::new();
        let time = Timestamp::from_unix_micros(7);
        Chain::start().append(time, &Entry::new("use").encode(), &mut text);
        let text = String::from_utf8(text).unwrap().trim().to_owned();
        let line = NumberedLine {
            seq: 1,
            text: text.clone().into_bytes(),
        };
        let mut frames = Vec::new();
        frame("box", &line, &mut frames).unwrap();
        let frames = String::from_utf8(frames).unwrap();
        let (length, message) = frames.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), message.len());
        let head = "<134>1 1970-01-01T00:00:00.000007Z box egret - use \
                    [origin software=\"egret\"][meta sequenceId=\"1\"] ";
        assert_eq!(message, format!("{head}{text}"));
    }
}
