//! A server that runs: what it is, how it ends.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use async_channel::Receiver;
use thiserror::Error;

use crate::{
    core::request::CoreRequest,
    server::{endpoint::ListenAddress, events::Events, handle::Handle},
};

/// A thread of the server's has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the server has crashed")]
pub struct Crashed;

/// A server that runs. It ends when it is dropped, at once and without goodbye; see
/// [`shutdown`](Self::shutdown).
#[derive(Debug)]
#[must_use = "a server ends when it is dropped"]
pub struct Server {
    handle: Handle,
    local_addresses: Vec<SocketAddr>,
    end: Receiver<()>,
    /// What is still done when it has ended.
    ends: Vec<Receiver<()>>,
}

impl Server {
    pub(super) fn new(handle: Handle, end: Receiver<()>, ends: Vec<Receiver<()>>) -> Self {
        let tcp = handle.listen_addresses().iter().filter_map(|(address, _)| match address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        });
        Self { local_addresses: tcp.collect(), handle, end, ends }
    }

    /// All addresses that it listens on, in the order in which they were given, and whether
    /// connections there are encrypted.
    #[must_use]
    pub fn listen_addresses(&self) -> &[(ListenAddress, bool)] {
        self.handle.listen_addresses()
    }

    /// The addresses that it listens on over TCP.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.local_addresses
    }

    /// The first address that it listens on over TCP.
    ///
    /// # Panics
    /// It has none: it was started without one, or listens on Unix sockets only.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_addresses[0]
    }

    /// What the other nodes of its cluster call it, in their logs, too; made anew at each start. `None`
    /// for a server on its own.
    #[must_use]
    pub fn node_id(&self) -> Option<&str> {
        self.handle.node_id()
    }

    /// Access from anywhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.handle.events()
    }

    /// Waits until it has ended, and webhooks have been told of it, or have had time enough
    /// ([`WebhookSettings::flush`](crate::WebhookSettings::flush)).
    ///
    /// # Errors
    /// [`Crashed`]: not by a shutdown.
    pub async fn wait(&self) -> Result<(), Crashed> {
        let _ = self.end.recv().await;
        for end in &self.ends {
            let _ = end.recv().await;
        }
        let finished = self.handle.status.finished.load(Ordering::Relaxed);
        if finished { Ok(()) } else { Err(Crashed) }
    }

    /// Tells every peer, closes every connection, all at once or spread over `drain`, and waits
    /// until they are gone (SPEC §12): not longer than the drain and the time for closing
    /// handshakes.
    ///
    /// # Errors
    /// [`Crashed`]: it had ended before.
    pub async fn shutdown(&self, drain: Duration) -> Result<(), Crashed> {
        // One that has ended already need not be told.
        let _ = self.handle.shutdown(drain).await;
        self.wait().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.status.stopped.store(true, Ordering::Relaxed);
        // One that has no room for it is awake.
        let _ = self.handle.requests.try_send(CoreRequest::Wake);
    }
}
