//! Writes bytes as they stand in the test, and reads one answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(super) enum Answer {
    Status(u16),
    /// The connection, without an answer.
    Closed,
    /// Not a byte, for as long as anybody would wait.
    Nothing,
}

impl Answer {
    /// Whether it has this status.
    pub(super) fn is(&self, wanted: Option<u16>) -> bool {
        matches!((self, wanted), (Self::Status(status), Some(wanted)) if *status == wanted)
    }
}

/// Longer than what the server waits for a body that never comes.
const SILENCE: Duration = Duration::from_secs(2);

pub(super) async fn send(to: SocketAddr, request: &[u8]) -> Result<Answer> {
    let mut stream = timeout(PATIENCE, TcpStream::connect(to))
        .await
        .context("nobody accepts the connection")??;
    let mut received = Vec::new();
    let mut buffer = [0; 8 << 10];
    // A server that has answered need not read the rest; the answer is there all the same.
    let mut unsent = request;
    let mut is_closed = false;
    let read = timeout(SILENCE, async {
        while !is_whole(&received) {
            let (mut reader, mut writer) = stream.split();
            tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => {
                        is_closed = true;
                        break;
                    }
                    Ok(count) => received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                },
                written = writer.write(unsent), if !unsent.is_empty() => {
                    let count = written.unwrap_or(unsent.len());
                    unsent = unsent.get(count..).unwrap_or_default();
                }
            }
        }
    })
    .await;
    let status = status(&received);
    Ok(match (status, read) {
        (Some(status), _) => Answer::Status(status),
        (None, Ok(())) if is_closed => Answer::Closed,
        (None, _) => Answer::Nothing,
    })
}

/// The status of the answer, if there is as much of it.
fn status(received: &[u8]) -> Option<u16> {
    let line = received.split(|byte| *byte == b'\r').next()?;
    let word = line.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Whether the head is there and as much of a body as it announces; the back end always does.
fn is_whole(received: &[u8]) -> bool {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head =
        String::from_utf8_lossy(received.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0);
    received.len() >= end + 4 + length
}
