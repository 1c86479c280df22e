//! What a pod's annotations say of how much it may receive and send. Pure.

use std::collections::BTreeMap;

use orchestra_core::quantity::Quantity;

/// Where a pod says how much it may receive.
pub(crate) const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
/// Where it says how much it may send.
pub(crate) const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// The least and the most bits a second that can be meant.
const LEAST: i64 = 1_000;
const MOST: i64 = 1_000_000_000_000_000;

/// How much a pod may receive and send, in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) ingress: Option<u64>,
    pub(crate) egress: Option<u64>,
}

impl Limits {
    /// What a pod with these annotations may.
    ///
    /// # Errors
    /// Which of them is none that can be meant, and why.
    pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Result<Self, String> {
        let said = |name: &str| {
            let text = annotations.get(name);
            text.map(|text| bits(text).map_err(|why| format!("{name}: {text:?}: {why}"))).transpose()
        };
        Ok(Self { ingress: said(INGRESS)?, egress: said(EGRESS)? })
    }

    /// Whether there are none.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

fn bits(text: &str) -> Result<u64, String> {
    let quantity = Quantity::parse(text).map_err(|error| error.to_string())?;
    match quantity.value() {
        ..LEAST => Err("resource is unreasonably small (< 1kbit)".into()),
        value @ LEAST..=MOST => Ok(value.unsigned_abs()),
        _ => Err("resource is unreasonably large (> 1Pbit)".into()),
    }
}

/// What a queue that holds to a rate is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Bytes a second.
    pub(super) rate: u64,
    /// How many bytes may go at once after a silence.
    pub(super) burst: u32,
    /// How many bytes may be on their way or wait for it; more are dropped.
    pub(super) limit: u32,
}

/// What goes around a packet on a cable, with a tag.
const FRAME: u32 = 18;

impl Bucket {
    /// That of a rate in bits a second, on a device with packets of at most so many bytes. What is lent is what the rate
    /// lets through in 50 ms, and what waits does so for 25 ms: little, so that the rate is held from the beginning and
    /// nobody waits long behind others. A few packets have room in any case.
    pub(super) fn new(bits: u64, mtu: u32) -> Self {
        let (rate, frame) = ((bits / 8).max(1), mtu.saturating_add(FRAME));
        let bytes = |of_second: u64| u32::try_from(rate / of_second).unwrap_or(u32::MAX);
        let burst = bytes(20).clamp(frame.saturating_mul(2), 1 << 30);
        let waiting = bytes(40).clamp(frame.saturating_mul(16), 1 << 30);
        Self { rate, burst, limit: burst.saturating_add(waiting) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ingress: &str) -> Result<Limits, String> {
        Limits::of(&[(INGRESS.to_owned(), ingress.to_owned())].into())
    }

    #[test]
    fn annotations_say_bits_a_second() {
        assert!(Limits::of(&BTreeMap::new()).unwrap().is_none());
        for (text, bits) in [
            ("1k", 1_000),
            ("10M", 10_000_000),
            ("1Mi", 1 << 20),
            ("1P", MOST.unsigned_abs()),
            ("2500", 2_500),
        ] {
            assert_eq!(read(text), Ok(Limits { ingress: Some(bits), egress: None }), "{text}");
        }
        let both = [(INGRESS, "1M"), (EGRESS, "2M")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        let limits = Limits { ingress: Some(1_000_000), egress: Some(2_000_000) };
        assert_eq!(Limits::of(&both.into()), Ok(limits));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (text, why) in [
            ("999", "unreasonably small"),
            ("0", "unreasonably small"),
            ("-5M", "unreasonably small"),
            ("1001T", "unreasonably large"),
            ("9E", "unreasonably large"),
            ("fast", "quantities must match"),
            ("", "quantities must match"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(INGRESS) && error.contains(why), "{text}: {error}");
        }
        let error = Limits::of(&[(EGRESS.to_owned(), "1 M".to_owned())].into()).unwrap_err();
        assert!(error.starts_with(EGRESS), "{error}");
    }

    #[test]
    fn a_bucket_has_room_for_packets_and_no_more_than_fits() {
        let slow = Bucket::new(1_000, 1_500);
        assert_eq!((slow.rate, slow.burst), (125, 2 * 1_518));
        let usual = Bucket::new(80_000_000, 1_500);
        assert_eq!((usual.rate, usual.burst, usual.limit), (10_000_000, 500_000, 750_000));
        let fast = Bucket::new(MOST.unsigned_abs(), 65_535);
        assert_eq!((fast.burst, fast.limit), (1 << 30, 2 << 30));
    }
}
