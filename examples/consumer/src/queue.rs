//! A stand-in for the broker: a queue that holds so many messages and lets its producer wait for room.

use tokio::sync::mpsc;

/// A message: its number.
pub(crate) type Message = usize;

pub(crate) type Sender = mpsc::Sender<Message>;
pub(crate) type Queue = mpsc::Receiver<Message>;

pub(crate) fn bounded(messages: usize) -> (Sender, Queue) {
    mpsc::channel(messages)
}
