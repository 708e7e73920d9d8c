use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{queue::Sender, report::Gauges};

/// Sends as fast as the queue takes it. Returns how long it had to wait for room, all in all.
pub(crate) async fn all(messages: usize, queue: Sender, gauges: Arc<Gauges>) -> Duration {
    let mut waited = Duration::ZERO;
    for message in 0..messages {
        let asked = Instant::now();
        if queue.send(message).await.is_err() {
            break;
        }
        waited += asked.elapsed();
        gauges.sent();
    }
    waited
}
