//! Tells a client that asked for progress how long its call has been running. Clients extend their own time-outs with it.

use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::{Peer, RoleServer};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// The time between two notifications.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs `call`, and notifies the client meanwhile if it sent a token. A client that doesn't read delays nothing but its own
/// notifications.
pub(super) async fn report<T>(
    token: Option<ProgressToken>,
    peer: &Peer<RoleServer>,
    call: impl Future<Output = T>,
) -> T {
    let _notifying = token.map(|token| AbortOnDropHandle::new(tokio::spawn(notify(token, peer.clone()))));
    call.await
}

async fn notify(token: ProgressToken, peer: Peer<RoleServer>) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval_at(started + INTERVAL, INTERVAL);
    loop {
        ticks.tick().await;
        let seconds = started.elapsed().as_secs();
        let progress = ProgressNotificationParam::new(token.clone(), started.elapsed().as_secs_f64())
            .with_message(format!("running for {seconds} s"));
        if peer.notify_progress(progress).await.is_err() {
            return;
        }
    }
}
