//! Keys that are fetched from a URL: again from time to time, and when a token names one that is not
//! there (R-V1).

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use async_channel::{Receiver, Sender};

use super::{FetchError, Fetcher, endpoint::HttpEndpoint};
use crate::{
    client::transport::Connect,
    jwt::{FetchedKeys, JwtKeys},
    runtime::Timer as _,
};

/// The most bytes that a key set may have.
pub(crate) const MAX_KEY_SET: usize = 256 * 1024;
/// When it is tried again after the first failure; each further one doubles that.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest time between two attempts while they fail.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How often keys are fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// After so long they are fetched again.
    pub(crate) refresh: Duration,
    /// For a key that is missing they are not fetched more often than this.
    pub(crate) refetch: Duration,
}

/// Keeps keys up to date until nobody can ask for missing ones any more. What cannot be fetched
/// leaves those that are there.
pub(crate) async fn keep<R: Connect>(
    fetcher: Fetcher<R>,
    keys: FetchedKeys,
    pace: Pace,
    missing: Receiver<Sender<()>>,
) {
    let mut failures = 0;
    let mut asker = None;
    loop {
        failures = match fetch(&fetcher).await {
            Ok(fetched) => {
                let count = fetched.len();
                keys.set(fetched);
                if failures > 0 {
                    let url = fetcher.endpoint();
                    tracing::info!(count, "the keys of {url} can be fetched again");
                }
                0
            }
            Err(error) => {
                complain(&fetcher, &error, failures, keys.get().is_some());
                failures + 1
            }
        };
        // Whoever has asked learns that it has been tried.
        drop(asker.take());
        let fetched = Instant::now();
        let next = fetched + if failures == 0 { pace.refresh } else { retry(failures) };
        let mut timer = fetcher.runtime().timer();
        // Whoever asks too early hears that there is nothing new.
        loop {
            let mut asked = pin!(missing.recv());
            let asked = poll_fn(|cx| match asked.as_mut().poll(cx) {
                Poll::Ready(asked) => Poll::Ready(Some(asked)),
                Poll::Pending => timer.poll_until(cx, next).map(|()| None),
            });
            match asked.await {
                None => break,
                Some(Err(_)) => return,
                Some(Ok(reply)) if fetched.elapsed() < pace.refetch => drop(reply),
                Some(Ok(reply)) => {
                    asker = Some(reply);
                    break;
                }
            }
        }
    }
}

async fn fetch<R: Connect>(fetcher: &Fetcher<R>) -> Result<JwtKeys, FetchError> {
    let answer = fetcher.get().await?;
    let text = std::str::from_utf8(&answer);
    let text = text.map_err(|_| FetchError::Nonsense("the answer is not UTF-8".into()))?;
    JwtKeys::read_jwks(text, false)
        .map_err(|error| FetchError::Nonsense(format!("the answer cannot be used: {error}")))
}

/// Fetches the keys of a JSON Web Key Set once. A server does so by itself
/// ([`ServerBuilder::jwt_with_jwks`](crate::ServerBuilder::jwt_with_jwks)).
///
/// # Errors
/// Why there are none, in one line.
pub async fn fetch_jwks<R: Connect>(runtime: &R, url: &HttpEndpoint) -> Result<JwtKeys, String> {
    let fetcher = Fetcher::new(runtime.clone(), url.clone(), MAX_KEY_SET);
    fetch(&fetcher).await.map_err(|error| format!("the keys of {url} cannot be fetched: {error}"))
}

fn retry(failures: u32) -> Duration {
    let factor = 1 << (failures - 1).min(10);
    (FIRST_RETRY * factor).min(LAST_RETRY)
}

/// Less and less often while it lasts.
fn complain<R: Connect>(fetcher: &Fetcher<R>, error: &FetchError, failures: u32, has_keys: bool) {
    if failures == 0 || failures.is_power_of_two() {
        let url = fetcher.endpoint();
        if has_keys {
            tracing::warn!(%error, failures, "the keys of {url} cannot be fetched: those from before count");
        } else {
            tracing::error!(%error, failures, "the keys of {url} cannot be fetched: nobody can come in with them");
        }
    }
}
