//! The first of several answers.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

/// The first that succeeds of those that are asked at once; if none does, what the last of them
/// to fail says, if there was any.
pub(super) async fn first<F, T, E>(asked: impl IntoIterator<Item = F>) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
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
    first.await.ok_or(failure)
}
