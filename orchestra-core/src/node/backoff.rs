//! How long to wait before something is tried again: 10 seconds, doubling to 5 minutes, forgotten after 10 quiet minutes.
//!
//! One of these counts the restarts of a pod's containers, another the pulls of its images. The rules are the
//! kubelet's: the first restart is immediate, and a wait is counted from the moment the container ended.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// Waits by key (a container with its hash, or an image).
#[derive(Debug, Clone)]
pub struct BackOff {
    initial: Duration,
    max: Duration,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    wait: Duration,
    updated: Timestamp,
}

impl Default for BackOff {
    /// 10 seconds to 5 minutes.
    fn default() -> Self {
        Self::new(Duration::from_secs(10), Duration::from_secs(300))
    }
}

impl BackOff {
    /// Waits that begin at `initial` and double up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, entries: BTreeMap::new() }
    }

    /// Until when to wait, and how long that is in all, for what ended at `ended`. `None` when there is nothing to wait
    /// for.
    pub fn until(&self, key: &str, ended: Timestamp, now: Timestamp) -> Option<(Timestamp, Duration)> {
        let entry = self.entries.get(key)?;
        if self.expired(entry, ended) {
            return None;
        }
        let until = add(ended, entry.wait);
        (now < until).then_some((until, entry.wait))
    }

    /// Until when to wait, and how long in all, since a key was last noted.
    pub fn until_next(&self, key: &str, now: Timestamp) -> Option<(Timestamp, Duration)> {
        self.until(key, self.entries.get(key)?.updated, now)
    }

    /// Notes that it is tried again now, so that the next wait is longer.
    pub fn next(&mut self, key: &str, ended: Timestamp, now: Timestamp) {
        let wait = match self.entries.get(key) {
            Some(entry) if !self.expired(entry, ended) => (entry.wait * 2).min(self.max),
            _ => self.initial,
        };
        self.entries.insert(key.to_owned(), Entry { wait, updated: now });
    }

    /// Forgets a key.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn expired(&self, entry: &Entry, at: Timestamp) -> bool {
        add(entry.updated, self.max * 2) < at
    }
}

/// `at` + `wait`, at most the end of time.
pub(super) fn add(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// The time from `from` to `to`, zero when it is past.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// A wait as Go prints it: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(wait: Duration) -> String {
    let seconds = wait.as_secs();
    let rest = wait.subsec_millis();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) if rest > 0 => format!("{rest}ms"),
        (0, 0, s) => format!("{}s", with_millis(s, rest)),
        (0, m, s) => format!("{m}m{}s", with_millis(s, rest)),
        (h, m, s) => format!("{h}h{m}m{}s", with_millis(s, rest)),
    }
}

fn with_millis(seconds: u64, millis: u32) -> String {
    match millis {
        0 => seconds.to_string(),
        _ => format!("{seconds}.{millis:03}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_first_restart_is_immediate_and_waits_double_to_five_minutes() {
        let mut back_off = BackOff::default();
        let (mut now, mut waits) = (at(1000), Vec::new());
        for _ in 0..9 {
            let ended = now;
            let wait = back_off.until("app", ended, now).map_or(Duration::ZERO, |(_, wait)| wait);
            waits.push(wait.as_secs());
            now = add(now, wait);
            assert_eq!(back_off.until("app", ended, now), None, "the wait is over");
            back_off.next("app", ended, now);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_reset_it() {
        let mut back_off = BackOff::default();
        back_off.next("app", at(0), at(0));
        back_off.next("app", at(10), at(20));
        assert_eq!(back_off.until("app", at(100), at(100)), Some((at(120), Duration::from_secs(20))));
        assert_eq!(back_off.until("app", at(621), at(621)), None);
        back_off.next("app", at(621), at(621));
        assert_eq!(back_off.until("app", at(621), at(621)), Some((at(631), Duration::from_secs(10))));
    }

    #[test]
    fn durations_print_as_go_does() {
        for (millis, text) in [
            (0, "0s"),
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (250, "250ms"),
            (1_500, "1.5s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_secs(3_661)), "1h1m1s");
    }
}
