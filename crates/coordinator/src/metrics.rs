//! What `/metrics` tells Prometheus.

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Counted and measured since the start.
pub(crate) struct Metrics {
    registry: Registry,
    /// Executors that are here.
    pub(crate) executors: Gauge,
    /// Leases that they hold.
    pub(crate) leases: Gauge,
    /// 1 while nothing is leased until the operator resumes it.
    pub(crate) paused: Gauge,
    /// WebSockets of executors, welcomed or not.
    pub(crate) executor_connections: Gauge,
    /// WebSockets of watchers.
    pub(crate) watcher_connections: Gauge,
    /// Connections over which other coordinators talk with seats here, for executors and watchers that are there.
    pub(crate) lines: Gauge,
    /// TCP connections.
    pub(crate) connections: Gauge,
    /// Requests that wait for a run.
    pub(crate) pending_runs: Gauge,
    /// Runs accepted.
    pub(crate) runs: Counter,
    /// Tasks of the runs accepted.
    pub(crate) tasks: Counter,
    /// Receipts that came of work.
    pub(crate) receipts: Counter,
    /// Tasks given up.
    pub(crate) given_up: Counter,
    /// Connections ended for what they said or for not listening.
    pub(crate) refused_connections: Counter,
    /// Seconds from handing a batch to the journal until it is durable.
    pub(crate) journal_seconds: Histogram,
    /// Events in a batch.
    pub(crate) journal_events: Histogram,
    /// Bytes of blobs that came.
    pub(crate) blob_bytes_in: Counter,
    /// Bytes of blobs that went.
    pub(crate) blob_bytes_out: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("asterism");
        let journal_seconds = Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        let journal_events = Histogram::new(exponential_buckets(1.0, 4.0, 8));
        registry.register(
            "journal_commit_seconds",
            "Time until a batch is durable",
            journal_seconds.clone(),
        );
        registry.register(
            "journal_batch_events",
            "Events in a batch",
            journal_events.clone(),
        );
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let executors = gauge("executors", "Executors that are here");
        let leases = gauge("leases", "Leases that executors hold");
        let paused = gauge("paused", "1 while nothing is leased until it is resumed");
        let executor_connections = gauge("executor_connections", "WebSockets of executors");
        let watcher_connections = gauge("watcher_connections", "WebSockets of watchers");
        let lines = gauge(
            "lines",
            "Connections for executors and watchers that are at other coordinators",
        );
        let connections = gauge("connections", "TCP connections");
        let pending_runs = gauge("pending_runs", "Requests that wait for a run to end");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let runs = counter("runs", "Runs accepted");
        let tasks = counter("tasks", "Tasks of the runs accepted");
        let receipts = counter("receipts", "Receipts that came of work");
        let given_up = counter("tasks_given_up", "Tasks whose attempts were used up");
        let refused_connections = counter(
            "connections_refused",
            "WebSockets ended for what they said or for not listening",
        );
        let blob_bytes_in = counter("blob_bytes_received", "Bytes of blobs that came");
        let blob_bytes_out = counter("blob_bytes_sent", "Bytes of blobs that went");
        Self {
            registry,
            executors,
            leases,
            paused,
            executor_connections,
            watcher_connections,
            lines,
            connections,
            pending_runs,
            runs,
            tasks,
            receipts,
            given_up,
            refused_connections,
            journal_seconds,
            journal_events,
            blob_bytes_in,
            blob_bytes_out,
        }
    }

    /// In the text format of OpenMetrics.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

/// Counts for as long as it lives.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
