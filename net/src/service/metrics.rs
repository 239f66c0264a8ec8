//! What an operator watches, in the text format of Prometheus. No names, no addresses, no parameters.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

/// Counters since the service began.
#[derive(Default)]
pub(super) struct Metrics {
    /// By call and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// By call: how long all of them took.
    time: Mutex<BTreeMap<&'static str, Duration>>,
    /// Bytes of bodies.
    pub received: AtomicU64,
    /// Bytes of replies.
    pub sent: AtomicU64,
    /// Connections that are open.
    pub connections: AtomicU64,
}

impl Metrics {
    /// Counts a request that was answered.
    pub fn count(&self, call: &'static str, status: u16, took: Duration) {
        *self.requests.lock().entry((call, status)).or_default() += 1;
        *self.time.lock().entry(call).or_default() += took;
    }

    /// All of them, with the number of accounts.
    pub fn render(&self, accounts: usize) -> String {
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, rows: Vec<(String, f64)>| {
            // strings take everything
            let _ = write!(text, "# HELP peergos_{name} {help}\n# TYPE peergos_{name} {kind}\n");
            for (labels, value) in rows {
                let _ = writeln!(text, "peergos_{name}{labels} {value}");
            }
        };
        let requests = self.requests.lock().clone().into_iter();
        let requests =
            requests.map(|((call, status), n)| (format!("{{call=\"{call}\",status=\"{status}\"}}"), n as f64));
        metric("requests_total", "counter", "Requests answered.", requests.collect());
        let time = self.time.lock().clone().into_iter();
        let time = time.map(|(call, time)| (format!("{{call=\"{call}\"}}"), time.as_secs_f64()));
        metric("request_seconds_total", "counter", "Time spent on requests.", time.collect());
        let number = |counter: &AtomicU64| vec![(String::new(), counter.load(Ordering::Relaxed) as f64)];
        metric("received_bytes_total", "counter", "Bytes of request bodies.", number(&self.received));
        metric("sent_bytes_total", "counter", "Bytes of reply bodies.", number(&self.sent));
        metric("connections", "gauge", "Connections that are open.", number(&self.connections));
        metric("accounts", "gauge", "Accounts that this node is home to.", vec![(String::new(), accounts as f64)]);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_format() {
        let metrics = Metrics::default();
        metrics.count("block/get", 200, Duration::from_millis(250));
        metrics.count("block/get", 200, Duration::from_millis(250));
        metrics.count("block/get", 400, Duration::ZERO);
        metrics.connections.store(3, Ordering::Relaxed);
        let text = metrics.render(2);
        for line in [
            "# TYPE peergos_requests_total counter",
            "peergos_requests_total{call=\"block/get\",status=\"200\"} 2",
            "peergos_requests_total{call=\"block/get\",status=\"400\"} 1",
            "peergos_request_seconds_total{call=\"block/get\"} 0.5",
            "peergos_connections 3",
            "peergos_accounts 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
