//! Tables: what `kubectl get` prints, computed by the server.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

/// What every object has, whatever its kind.
#[derive(serde::Deserialize)]
pub(super) struct Head {
    pub(super) metadata: ObjectMeta,
}

/// How long ago an object was created, as tables show it.
pub fn age(meta: &ObjectMeta, now: Timestamp) -> String {
    since(meta.creation_timestamp.as_ref(), now)
}

/// How long ago a time was; `<unknown>` for none.
pub fn since(time: Option<&Time>, now: Timestamp) -> String {
    match time {
        Some(time) => duration(now.duration_since(time.0).as_secs()),
        None => "<unknown>".to_owned(),
    }
}

/// A duration of some seconds in the short form of tables: two units at most, and one once it is long.
pub fn duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |major: i64, unit: char, minor: i64, minor_unit: char| match minor {
        0 => format!("{major}{unit}"),
        minor => format!("{major}{unit}{minor}{minor_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_shrink_to_what_matters() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
