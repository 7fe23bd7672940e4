//! Signals, on a thread that waits for them: no runtime has a part in it.

use std::{io, pin::pin, thread};

use async_channel::{Receiver, Sender};
use futures_util::future::{Either, select};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    End,
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no such signal"))]
    ReloadTls,
}

/// The signals that a server obeys, from when this is made.
pub(crate) struct Signals(Receiver<Wish>);

impl Signals {
    /// Begins to listen for signals.
    ///
    /// # Errors
    /// There can be no handler, or no thread.
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, wishes) = async_channel::unbounded();
        listen(sender)?;
        Ok(Self(wishes))
    }

    /// Waits for a signal, or for something that ends before there is one. Signals come first: what
    /// is always ready must not keep them waiting.
    pub(crate) async fn next_or<T>(&self, other: impl Future<Output = T>) -> Result<Wish, T> {
        match select(pin!(self.0.recv()), pin!(other)).await {
            Either::Left((Ok(wish), _)) => Ok(wish),
            // There will be no more signals.
            Either::Left((Err(_), other)) => Err(other.await),
            Either::Right((other, _)) => Err(other),
        }
    }
}

#[cfg(unix)]
fn listen(sender: Sender<Wish>) -> io::Result<()> {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
    };

    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let wait = move || {
        for signal in signals.forever() {
            let wish = if signal == SIGHUP { Wish::ReloadTls } else { Wish::End };
            if sender.try_send(wish).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

#[cfg(not(unix))]
fn listen(sender: Sender<Wish>) -> io::Result<()> {
    let obey = move || drop(sender.try_send(Wish::End));
    ctrlc::set_handler(obey).map_err(io::Error::other)
}
