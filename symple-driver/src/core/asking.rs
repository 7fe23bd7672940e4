//! Asking the host's functions, on its runtime.

use std::{future::Future, sync::Arc, time::Duration};

use async_channel::Sender;
use symple_engine::server::ConnId;

use crate::{
    core::request::CoreRequest,
    http::Upgrade,
    runtime::{Runtime, within},
    server::hooks::{Hooks, UpgradeDecision},
    server::log,
};

/// Sends an answer when it is dropped: the host's function has panicked, or its runtime is gone.
struct Otherwise(Option<(Sender<CoreRequest>, CoreRequest)>);

impl Drop for Otherwise {
    fn drop(&mut self) {
        if let Some((requests, answer)) = self.0.take() {
            log::no_answer();
            // Where there is no room this waits for the server's thread, which waits for nobody.
            let _ = requests.send_blocking(answer);
        }
    }
}

/// Asks the host something, on its runtime. Whatever becomes of it, there is an answer.
///
/// What has not answered within the limit, of which zero is for ever, is dropped (R-H5): whoever asks
/// has a deadline of its own, and does without.
pub(crate) fn ask<R: Runtime>(
    runtime: &R,
    requests: &Sender<CoreRequest>,
    limit: Duration,
    answer: impl Future<Output = CoreRequest> + Send + 'static,
    otherwise: CoreRequest,
) {
    let (requests, timers) = (requests.clone(), runtime.clone());
    runtime.spawn(async move {
        let mut otherwise = Otherwise(Some((requests.clone(), otherwise)));
        let answer = within(&timers, limit, answer).await;
        otherwise.0 = None;
        match answer {
            Some(answer) => drop(requests.send(answer).await),
            None => log::late_answer(),
        }
    });
}

/// Asks the host's hook about an upgrade, and waits no longer for it than the limit. False if there is
/// none.
pub(crate) fn ask_upgrade(
    runtime: &impl Runtime,
    requests: &Sender<CoreRequest>,
    hooks: &Hooks,
    limit: Duration,
    id: ConnId,
    upgrade: &Upgrade,
) -> bool {
    let (Some(hook), Some(request)) = (hooks.upgrade.clone(), upgrade.request.clone()) else {
        return false;
    };
    let request = Arc::new(request);
    let answer = async move { CoreRequest::UpgradeDecided(id, hook(request).await) };
    let refuse = UpgradeDecision::reject(http::StatusCode::INTERNAL_SERVER_ERROR, "");
    ask(runtime, requests, limit, answer, CoreRequest::UpgradeDecided(id, refuse));
    true
}
