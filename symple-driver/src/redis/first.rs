//! The first of several answers.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use super::RedisError;

/// The first that succeeds of those that are asked at once; if none does, what the last of them
/// to fail says. Together they have this address, as a URL.
pub(super) async fn first<F, T>(
    asked: impl IntoIterator<Item = F>,
    address: &str,
) -> Result<T, RedisError>
where
    F: Future<Output = Result<T, RedisError>>,
{
    let mut asked: Vec<Option<Pin<Box<F>>>> =
        asked.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut failure = None;
    let first = poll_fn(|cx| {
        for slot in &mut asked {
            let Some(answer) = slot else { continue };
            match pin!(answer).poll(cx) {
                Poll::Ready(Ok(found)) => return Poll::Ready(Some(found)),
                Poll::Ready(Err(error)) => (*slot, failure) = (None, Some(error)),
                Poll::Pending => {}
            }
        }
        if asked.iter().any(Option::is_some) { Poll::Pending } else { Poll::Ready(None) }
    });
    first.await.ok_or_else(|| failure.unwrap_or_else(|| RedisError::timeout(address)))
}
