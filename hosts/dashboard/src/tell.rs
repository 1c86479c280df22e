//! Values as people read them.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

/// How long ago something was, as kubectl says it.
pub(crate) fn age(then: &str, now: Timestamp) -> String {
    let Ok(then) = then.parse::<Timestamp>() else { return String::new() };
    span(now.as_second() - then.as_second())
}

/// A span of time in at most two units.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    // Two units where one would say little, as kubectl has it.
    if seconds < 120 {
        format!("{seconds}s")
    } else if seconds < 600 && seconds % 60 != 0 {
        format!("{minutes}m{}s", seconds % 60)
    } else if hours < 3 {
        format!("{minutes}m")
    } else if hours < 8 && minutes % 60 != 0 {
        format!("{hours}h{}m", minutes % 60)
    } else if hours < 48 {
        format!("{hours}h")
    } else if days < 8 && hours % 24 != 0 {
        format!("{days}d{}h", hours % 24)
    } else if days < 730 {
        format!("{days}d")
    } else {
        format!("{}y", days / 365)
    }
}

/// A time, as how long ago it was; the time itself is told too.
pub(crate) fn when(time: &str, now: Timestamp) -> Markup {
    html! { @if !time.is_empty() { time datetime=(time) title=(time) { (age(time, now)) } } }
}

/// How good a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Busy,
    Bad,
    Plain,
}

impl Tone {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }

    /// Of a word in a column for states.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "Running" | "Ready" | "Active" | "Bound" | "Complete" | "Completed" | "Succeeded"
            | "Available" => Self::Good,
            "Normal" | "True" | "False" | "Unknown" | "" | "<none>" => Self::Plain,
            "Pending"
            | "ContainerCreating"
            | "PodInitializing"
            | "Terminating"
            | "Progressing"
            | "Released"
            | "Suspended"
            | "SchedulingGated"
            | "Warning"
            | "Ready,SchedulingDisabled" => Self::Busy,
            word if word.starts_with("Init:") && !word.contains("Err") && !word.contains("Crash") => {
                Self::Busy
            }
            word if [
                "Err",
                "Fail",
                "BackOff",
                "NotReady",
                "Evicted",
                "OOM",
                "Lost",
                "Invalid",
                "Dead",
                "Unavailable",
            ]
            .iter()
            .any(|part| word.contains(part)) =>
            {
                Self::Bad
            }
            _ => Self::Plain,
        }
    }

    /// Of a share such as `1/3`.
    pub(crate) fn of_share(share: &str) -> Self {
        match share.split_once('/').map(|(a, b)| (a.parse::<i64>(), b.parse::<i64>())) {
            Some((Ok(a), Ok(b))) if a < b => {
                if a == 0 {
                    Self::Bad
                } else {
                    Self::Busy
                }
            }
            _ => Self::Plain,
        }
    }
}

/// A word with its tone, which is told by a shape too, for those who see no colours.
pub(crate) fn state(word: &str) -> Markup {
    toned(word, Tone::of(word))
}

pub(crate) fn toned(word: &str, tone: Tone) -> Markup {
    html! { span class={ "state " (tone.class()) } { (word) } }
}

/// A number of bytes.
pub(crate) fn bytes(count: f64) -> String {
    let mut count = count;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if count < 1024.0 {
            let digits = usize::from(count < 10.0 && unit != "B");
            return format!("{count:.digits$} {unit}");
        }
        count /= 1024.0;
    }
    format!("{count:.1} PiB")
}

/// Milli-CPUs.
pub(crate) fn cpus(milli: f64) -> String {
    if milli < 1000.0 {
        format!("{milli:.0}m")
    } else {
        format!("{:.4}", milli / 1000.0).trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// A text of an object; empty if there is none.
pub(crate) fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn number(value: &Value, path: &str) -> i64 {
    value.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

pub(crate) fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A scalar as it is read; anything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Labels, each a filter of the table that it is in.
pub(crate) fn labels(value: &Value) -> Vec<(String, String)> {
    let map = value.as_object().into_iter().flatten();
    map.map(|(key, value)| (key.clone(), plain(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_kubectl_tells_them() {
        for (seconds, told) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (700_000, "8d"),
            (70_000_000, "2y"),
        ] {
            assert_eq!(span(seconds), told, "{seconds}");
        }
    }

    #[test]
    fn amounts_are_told_in_the_unit_that_fits() {
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(64.0 * 1024.0 * 1024.0 * 1024.0), "64 GiB");
        assert_eq!(cpus(250.0), "250m");
        assert_eq!(cpus(4000.0), "4");
        assert_eq!(cpus(1500.0), "1.5");
    }

    #[test]
    fn words_have_tones() {
        for (word, tone) in [
            ("Running", Tone::Good),
            ("CrashLoopBackOff", Tone::Bad),
            ("ImagePullBackOff", Tone::Bad),
            ("ErrImagePull", Tone::Bad),
            ("Init:0/1", Tone::Busy),
            ("Init:CrashLoopBackOff", Tone::Bad),
            ("Pending", Tone::Busy),
            ("web", Tone::Plain),
            ("NotReady", Tone::Bad),
        ] {
            assert_eq!(Tone::of(word), tone, "{word}");
        }
        assert_eq!(Tone::of_share("0/3"), Tone::Bad);
        assert_eq!(Tone::of_share("1/3"), Tone::Busy);
        assert_eq!(Tone::of_share("3/3"), Tone::Plain);
    }
}
