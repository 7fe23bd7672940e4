//! `GET /metrics`: what is counted, in the OpenMetrics text format (R-I2).
//!
//! Everything is counted where it happens, by the engine and the driver; a scrape asks for the
//! numbers and writes them. No label has a value that a client chooses.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::{Request, State as Extract},
    middleware::Next,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{StatusCode, header};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use symple_driver::{ClosedBy, ServerStats};
use symple_engine::server::{FrameKind, Latency};
use symple_proto::CloseCode;

use super::{Shared, State, error::ApiError, process::Process};

/// The content type of OpenMetrics.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// No labels.
const NONE: [(&str, &str); 0] = [];

/// What is counted beside what the server counts.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: RequestCounts,
    /// Tells how many lines the log has lost, where that is counted.
    dropped_log_lines: Option<fn() -> u64>,
}

impl Metrics {
    pub(super) fn new(dropped_log_lines: Option<fn() -> u64>) -> Self {
        Self { requests: RequestCounts::default(), dropped_log_lines }
    }
}

/// The route of the metrics.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/metrics", get(metrics))
}

/// Numbers of answers, by status.
#[derive(Debug, Default)]
struct RequestCounts([AtomicU64; RequestCounts::STATUSES.len() + 1]);

impl RequestCounts {
    const STATUSES: [u16; 16] =
        [200, 202, 204, 303, 304, 307, 400, 401, 403, 404, 405, 409, 413, 415, 422, 503];

    fn add(&self, status: StatusCode) {
        let place = Self::STATUSES.iter().position(|known| *known == status.as_u16());
        self.0[place.unwrap_or(Self::STATUSES.len())].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Vec<(String, u64)> {
        let statuses = Self::STATUSES.iter().map(ToString::to_string);
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        statuses.chain(["other".into()]).zip(counts).collect()
    }
}

/// Counts a request by the status of its answer.
pub(super) async fn count(Extract(shared): State, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    shared.metrics.requests.add(response.status());
    response
}

/// Answers `GET /metrics`.
async fn metrics(Extract(shared): State) -> Result<Response, ApiError> {
    let stats = shared.handle.stats().await?;
    let metrics = &shared.metrics;
    let scrape = Scrape {
        stats,
        process: Process::look(),
        requests: metrics.requests.read(),
        dropped_log_lines: metrics.dropped_log_lines.map(|dropped| dropped()),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut page = String::with_capacity(32 * 1024);
    // To write into a text does not fail.
    let _ = text::encode(&mut page, &registry);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response())
}

/// The numbers of one scrape.
#[derive(Debug)]
struct Scrape {
    stats: ServerStats,
    process: Process,
    requests: Vec<(String, u64)>,
    dropped_log_lines: Option<u64>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.connections(&mut page)?;
        self.traffic(&mut page)?;
        self.refusals(&mut page)?;
        self.hooks(&mut page)?;
        self.redis(&mut page)?;
        self.cluster(&mut page)?;
        self.own(&mut page)?;
        self.process(&mut page)
    }
}

impl Scrape {
    fn connections(&self, page: &mut Page<'_>) -> fmt::Result {
        let (engine, transport) = (&self.stats.engine, &self.stats.transport);
        page.gauge("symple_connections", "WebSocket connections", engine.connections)?;
        page.gauge(
            "symple_unauthenticated_connections",
            "WebSocket connections that are no peers, or not yet",
            engine.unauthenticated,
        )?;
        page.gauge("symple_sockets", "Open client sockets of any kind", transport.sockets)?;
        page.gauge(
            "symple_handshakes",
            "Open client sockets that are no WebSocket connections, or not yet",
            transport.handshakes,
        )?;
        page.gauge("symple_peers", "Peers of this node that are online", engine.peers)?;
        page.gauge("symple_rooms", "Rooms with members on any node", engine.rooms)?;
        page.gauge("symple_states", "States of rooms that this node holds", engine.states)?;
        page.byte_gauges(
            "symple_state",
            "Bytes of these states, as their limit counts them",
            [(NONE, engine.state_bytes as u64)],
        )?;
        page.gauge(
            "symple_paused_connections",
            "Connections that are not read from: too fast, or waiting for a decision or the bus",
            engine.paused_now,
        )?;
        page.counter("symple_pauses", "Times that a peer sent too fast", engine.paused)?;
        page.counter("symple_connections_opened", "Connections opened", engine.opened)?;
        let results = [("admitted", engine.admitted), ("refused", engine.refused)];
        page.counters(
            "symple_authentications",
            "Authentications by result",
            results.map(|(result, count)| ([("result", result)], count)),
        )?;
        page.histograms(
            "symple_authentication_duration",
            "How long authentications took that a session look-up or a hook decided",
            [(NONE, &engine.authentication)],
        )?;
        let closes = self.stats.closes.iter().filter(|(by, code, _)| is_possible(*by, *code));
        page.counters(
            "symple_closes",
            "Ended WebSocket connections by who ended them and the close code",
            closes.map(|(by, code, count)| {
                let code = code.map_or("other".into(), |code| code.to_string());
                ([("by", by.name().into()), ("code", code)], count)
            }),
        )
    }

    fn traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let (engine, transport) = (&self.stats.engine, &self.stats.transport);
        let received = engine.received.iter().filter(|(kind, _)| is_received(*kind));
        let sent = engine.sent.iter().filter(|(kind, _)| is_sent(*kind));
        let all = received
            .map(|(kind, count)| ("in", kind, count))
            .chain(sent.map(|(kind, count)| ("out", kind, count)));
        page.counters(
            "symple_frames",
            "Frames by direction and type; those out once for each receiver",
            all.map(|(direction, kind, count)| {
                ([("direction", direction), ("type", kind.name())], count)
            }),
        )?;
        page.counter(
            "symple_deliveries",
            "Frames that went out, once for each receiver",
            engine.deliveries,
        )?;
        page.counter("symple_roster_batches", "Batches of presence sent", engine.batches)?;
        let bytes = [("in", transport.received), ("out", transport.sent)];
        page.bytes(
            "symple_traffic",
            "Bytes read from and written to clients, HTTP included, without TLS",
            bytes.map(|(direction, count)| ([("direction", direction)], count)),
        )?;
        let compressed = [("in", transport.inflated), ("out", transport.deflated)];
        page.counters(
            "symple_compressed_messages",
            "Messages inflated and texts deflated, each once however many receivers it has",
            compressed.map(|(direction, count)| ([("direction", direction)], count)),
        )?;
        let queues = [("connections", transport.waiting as u64), ("bus", engine.bus_waiting)];
        page.byte_gauges(
            "symple_queue",
            "Bytes that wait in memory, in either direction",
            queues.map(|(queue, count)| ([("queue", queue)], count)),
        )
    }

    fn refusals(&self, page: &mut Page<'_>) -> fmt::Result {
        let (engine, transport) = (&self.stats.engine, &self.stats.transport);
        page.counters(
            "symple_refusals",
            "What was refused, or closed for breaking a limit, by reason",
            refusals(&self.stats).map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        page.counters(
            "symple_errors",
            "Error frames by status",
            engine.errors_by_status.iter().map(|(status, count)| {
                ([("status", status.map_or("other".into(), |status| status.to_string()))], count)
            }),
        )?;
        page.counters(
            "symple_refused_upgrades",
            "Upgrades refused, by HTTP status",
            self.stats.refused_upgrades.iter().map(|(status, count)| {
                let status = status.map_or("other".into(), |status| status.as_u16().to_string());
                ([("status", status)], count)
            }),
        )?;
        page.counter(
            "symple_http_answers",
            "Requests answered with something else than an upgrade",
            transport.answered,
        )?;
        page.counter(
            "symple_dropped_handshakes",
            "Sockets dropped before they were WebSocket connections: too slow, or at capacity",
            transport.upgrades_dropped,
        )?;
        page.counter(
            "symple_expired_sessions",
            "Peers closed because their session was gone",
            engine.sessions_expired,
        )?;
        page.counter("symple_kicks", "Peers kicked by the application", engine.kicked)
    }

    fn hooks(&self, page: &mut Page<'_>) -> fmt::Result {
        let engine = &self.stats.engine;
        page.counter(
            "symple_hook_questions",
            "Joins and frames that a hook was asked about",
            engine.hooks_asked,
        )?;
        page.counter(
            "symple_hook_denials",
            "Those of them that were not let through as they were",
            engine.hooks_denied,
        )?;
        page.counter(
            "symple_hook_timeouts",
            "Those of them whose answer did not come in time",
            engine.hooks_late,
        )?;
        let Some(webhooks) = &self.stats.webhooks else { return Ok(()) };
        page.gauge(
            "symple_webhook_waiting_events",
            "Events that have not been told to webhooks",
            webhooks.waiting,
        )?;
        page.counter(
            "symple_webhook_dropped_events",
            "Events that were dropped: too many waited, or nobody took them for too long",
            webhooks.dropped,
        )
    }

    fn redis(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(redis) = &self.stats.redis else { return Ok(()) };
        page.gauge("symple_redis_up", "Whether Redis can be used", usize::from(redis.up))?;
        page.counter(
            "symple_redis_losses",
            "Times that the connection to Redis was lost, or could not be made",
            redis.losses,
        )?;
        let kinds = [("bus", &redis.round_trips.bus), ("lookup", &redis.round_trips.lookups)];
        page.histograms(
            "symple_redis_round_trip",
            "How long Redis took to answer to what was sent together",
            kinds.map(|(kind, latency)| ([("kind", kind)], latency)),
        )
    }

    fn cluster(&self, page: &mut Page<'_>) -> fmt::Result {
        let engine = &self.stats.engine;
        page.gauge("symple_cluster_nodes", "Other nodes that are known", engine.nodes)?;
        page.gauge("symple_cluster_peers", "Peers of other nodes", engine.remote_peers)?;
        page.duration(
            "symple_cluster_lag",
            "The longest time for which a known node has not been heard",
            engine.cluster_lag.as_secs_f64(),
        )?;
        let counters = [
            ("symple_cluster_published", "Envelopes published to other nodes", engine.published),
            ("symple_cluster_lost_nodes", "Nodes taken for dead", engine.nodes_lost),
            (
                "symple_cluster_resyncs",
                "Times that something was missed of what another node told",
                engine.resyncs,
            ),
            (
                "symple_cluster_pulls",
                "Times that another node was asked for all its peers, and began to tell them",
                engine.pulls,
            ),
            (
                "symple_cluster_repeats",
                "Envelopes dropped because they, or later ones, had been heard before",
                engine.repeats,
            ),
            (
                "symple_cluster_missed_frames",
                "Frames from other nodes dropped because something was missed",
                engine.frames_missed,
            ),
        ];
        counters.into_iter().try_for_each(|(name, help, count)| page.counter(name, help, count))
    }

    /// Of the program and what surrounds the server.
    fn own(&self, page: &mut Page<'_>) -> fmt::Result {
        page.info("symple_build", "The version", &[("version", env!("CARGO_PKG_VERSION"))])?;
        if let Some(dropped) = self.dropped_log_lines {
            page.counter("symple_dropped_log_lines", "Lines that the log has lost", dropped)?;
        }
        page.counters(
            "symple_admin_requests",
            "Requests to this interface by the status of the answer",
            self.requests.iter().map(|(status, count)| ([("status", status)], *count)),
        )
    }

    /// Of the process, under the names that Prometheus has for that.
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        let process = &self.process;
        if let Some(cpu) = process.cpu {
            let mut family = page.family(
                "process_cpu",
                "Processor time used",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            family.encode_counter::<NoLabelSet, _, u64>(&cpu.as_secs_f64(), None)?;
        }
        if let Some(started) = process.started {
            page.duration("process_start_time", "When it was started, since 1970", started)?;
        }
        let sizes = [
            ("process_resident_memory", "Memory in use", process.resident),
            ("process_virtual_memory", "Address space", process.mapped),
        ];
        for (name, help, size) in sizes {
            if let Some(size) = size {
                page.byte_gauges(name, help, [(NONE, size)])?;
            }
        }
        let counts = [
            ("process_open_fds", "Open descriptors", process.descriptors),
            ("process_max_fds", "How many descriptors may be open", process.most_descriptors),
            ("process_threads", "Threads", process.threads),
        ];
        for (name, help, count) in counts {
            if let Some(count) = count {
                page.gauge(name, help, usize::try_from(count).unwrap_or(usize::MAX))?;
            }
        }
        Ok(())
    }
}

/// What was refused, by reason.
pub(super) fn refusals(stats: &ServerStats) -> [(&'static str, u64); 12] {
    let ServerStats { engine, transport, .. } = stats;
    [
        ("capacity", engine.over_capacity),
        ("authentication", engine.refused),
        ("permission", engine.not_permitted),
        ("message_size", engine.too_big),
        ("message_timeout", engine.unfinished),
        ("protocol", engine.protocol_errors),
        ("slow_reader", engine.too_slow),
        ("slow_receiver", engine.undelivered),
        ("memory", transport.shed),
        ("bus", engine.bus_refused),
        ("hook", engine.hooks_denied),
        ("departed", engine.departed_cut_short),
    ]
}

/// Whether connections can end in this way: others would be lines that are 0 for ever.
fn is_possible(by: ClosedBy, code: Option<CloseCode>) -> bool {
    let code = code.map(|code| code.0);
    match by {
        ClosedBy::Network | ClosedBy::Silence => code == Some(1006),
        ClosedBy::Server => !matches!(code, Some(1005 | 1006)),
        _ => code != Some(1006),
    }
}

/// Whether clients send such frames.
fn is_received(kind: FrameKind) -> bool {
    use FrameKind::{Error, JoinOk, LeaveOk, Roster, StateOk, Welcome};
    !matches!(kind, Welcome | Error | JoinOk | LeaveOk | StateOk | Roster)
}

/// Whether clients are sent such frames.
fn is_sent(kind: FrameKind) -> bool {
    use FrameKind::{Auth, Close, Control, Join, Leave};
    !matches!(kind, Auth | Join | Leave | Close | Control)
}

/// The page that a scrape gets.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<prometheus_client::encoding::MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        self.family(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn duration(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Gauge)?.encode_gauge(&seconds)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut family = self.family(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.counters_in(None, name, help, rows)
    }

    fn bytes<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.counters_in(Some(&Unit::Bytes), name, help, rows)
    }

    fn counters_in<L: EncodeLabelSet>(
        &mut self,
        unit: Option<&Unit>,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, unit, MetricType::Counter)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn byte_gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histograms<'a, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, &'a Latency)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, latency) in rows {
            #[allow(clippy::cast_precision_loss, reason = "the bounds are small")]
            let seconds =
                |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound as f64 / 1e6);
            let classes: Vec<_> =
                latency.classes().map(|(bound, count)| (seconds(bound), count)).collect();
            let (sum, count) = (latency.sum().as_secs_f64(), latency.count());
            let mut row = family.encode_family(&labels)?;
            row.encode_histogram::<NoLabelSet>(sum, count, &classes, None)?;
        }
        Ok(())
    }

    fn info(&mut self, name: &str, help: &str, labels: &impl EncodeLabelSet) -> fmt::Result {
        self.family(name, help, None, MetricType::Info)?.encode_info(labels)
    }
}
