//! When a CronJob is due. Pure.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::cron::Schedule;

/// More missed times than these are worth a warning: something is wrong with a clock, or nobody was there for long.
const MANY: i64 = 100;
/// How long after the time itself a CronJob is looked at: clocks are not exact.
const AFTER: Duration = Duration::from_millis(100);

/// The schedule of a CronJob in its time zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times<'s> {
    pub(super) schedule: &'s Schedule,
    pub(super) zone: &'s TimeZone,
}

/// The last time at which it was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) last: Option<Timestamp>,
    /// About how many such times there were.
    pub(super) missed: i64,
}

impl Due {
    pub(super) fn are_many(&self) -> bool {
        self.missed > MANY
    }
}

/// A schedule whose times do not come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Never;

impl Times<'_> {
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        self.schedule.next(time, self.zone)
    }

    /// The last time after `since` and not after `now`. Counting starts from the distance of the first two times, so that
    /// years without anybody cost no more than a minute without.
    pub(super) fn due(&self, since: Timestamp, now: Timestamp) -> Result<Due, Never> {
        let first = self.after(since).ok_or(Never)?;
        if now < first {
            return Ok(Due::default());
        }
        let second = self.after(first).ok_or(Never)?;
        if now < second {
            return Ok(Due { last: Some(first), missed: 1 });
        }
        let between = second.duration_since(first).as_secs();
        if between < 1 {
            return Err(Never);
        }
        let missed = now.duration_since(first).as_secs() / between + 1;
        let skipped = SignedDuration::from_secs((missed - 2).saturating_mul(between));
        let mut last = None;
        let mut next = first.checked_add(skipped).ok().and_then(|from| self.after(from));
        while let Some(time) = next.filter(|time| *time <= now) {
            last = Some(time);
            next = self.after(time);
        }
        Ok(Due { last, missed })
    }

    /// How long it is until the next time.
    pub(super) fn left(&self, since: Timestamp, now: Timestamp) -> Option<Duration> {
        let from = match self.due(since, now) {
            Ok(Due { last: Some(last), .. }) => last,
            Ok(Due { missed: 0, .. }) => since,
            Ok(_) | Err(Never) => now,
        };
        let next = self.after(from)?;
        Some(Duration::try_from(next.duration_since(now)).unwrap_or_default() + AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_is_found_however_long_ago_the_first_was() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        for (schedule, since, now, last, missed) in [
            ("*/10 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:09:59Z", None, 0),
            ("*/10 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z", Some("2026-01-01T00:10:00Z"), 1),
            ("*/10 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:35:00Z", Some("2026-01-01T00:30:00Z"), 3),
            (
                "*/10 * * * *",
                "1996-01-01T00:00:00Z",
                "2026-01-01T00:35:00Z",
                Some("2026-01-01T00:30:00Z"),
                1_577_955,
            ),
            ("@every 5m", "2026-01-01T00:01:00Z", "2026-01-01T01:02:00Z", Some("2026-01-01T01:01:00Z"), 12),
            (
                "30 6-16/4 * * 1-5",
                "2026-01-02T00:00:00Z",
                "2026-01-02T15:00:00Z",
                Some("2026-01-02T14:30:00Z"),
                3,
            ),
        ] {
            let schedule = schedule.parse().unwrap();
            let times = Times { schedule: &schedule, zone: &TimeZone::UTC };
            let due = times.due(time(since), time(now)).unwrap();
            assert_eq!(due, Due { last: last.map(time), missed }, "{since} {now}");
        }
        let never = "59 23 31 2 *".parse().unwrap();
        let times = Times { schedule: &never, zone: &TimeZone::UTC };
        assert_eq!(times.due(time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z")), Err(Never));
    }
}
