use std::time::Duration;

use tokio::time::Instant;

use crate::queue::Sender;

/// How the producer got on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Produced {
    /// Messages it got rid of.
    pub(crate) messages: usize,
    /// How long it had to wait for room in the queue, all in all.
    pub(crate) waited: Duration,
}

/// Sends as fast as the queue takes it.
pub(crate) async fn all(messages: usize, queue: Sender) -> Produced {
    let mut produced = Produced {
        messages: 0,
        waited: Duration::ZERO,
    };
    for message in 0..messages {
        let asked = Instant::now();
        if queue.send(message).await.is_err() {
            break;
        }
        produced.messages += 1;
        produced.waited += asked.elapsed();
    }
    produced
}
