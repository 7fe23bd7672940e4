//! The API for operators, on a thread and a runtime of its own: it works with any runtime of the
//! server's, and does not disturb it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    thread::{self, JoinHandle},
};

use symple_driver::Server;
use symple_tokio::admin;

use crate::{
    Failure,
    settings::{AdminSettings, Settings},
};

/// The thread of the API; it ends when this is dropped.
pub(crate) struct Admin {
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens where the settings say, and answers; nothing if they say nothing.
    pub(crate) fn start(settings: &Settings, server: &Server) -> Result<Option<Self>, Failure> {
        let Some(AdminSettings { address, key }) = settings.admin.clone() else { return Ok(None) };
        let (listener, address) = listen(address)
            .map_err(|error| Failure::usage(format!("cannot listen on {address}: {error}")))?;
        let mut api = admin::Admin::new(server.handle()).body_limit(body_limit(settings));
        api = api.dropped_log_lines(crate::stderr::lost_lines);
        if let Some(key) = key {
            api = api.key(key);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::crash)?;
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let serve = move || {
            let serve = async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                api.serve(listener, async { drop(ended.await) }).await;
                io::Result::Ok(())
            };
            // The server goes on without it. A panic is in the log already.
            if let Ok(Err(error)) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve))) {
                tracing::error!(%error, "the API for operators has ended");
            }
        };
        let thread = thread::Builder::new()
            .name("symple-admin".into())
            .spawn(serve)
            .map_err(Failure::crash)?;
        tracing::info!("the API for operators listens on http://{address}");
        Ok(Some(Self { end: Some(end), thread: Some(thread) }))
    }
}

/// A frame may be emitted that a client may send, and JSON may double it.
fn body_limit(settings: &Settings) -> usize {
    settings.config.engine.limits.message.saturating_mul(2).max(1024 * 1024)
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
