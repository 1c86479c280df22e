//! Time and chance as a port.
//!
//! Nothing in this crate reads the machine's clock or rolls a dice but through a [`Clock`]. It tells two times, for two
//! uses that must not be mixed:
//!
//! - [`Clock::now`] is the time of day: for what people and other programs read, such as `creationTimestamp`. It is
//!   the machine's, so it jumps when somebody sets the machine's clock or a suspended machine wakes.
//! - [`Clock::elapsed`] only goes on: for deadlines, back-off, terms of leases and how long ago something was seen. Its
//!   differences are time that passed; those of two times of day may be anything.
//!
//! Timers are tokio's, so that in a test with paused time a day passes as soon as every task waits; both times then
//! follow tokio's. [`run_virtual`] needs nothing of tokio's time: it has a clock of its own, which a program may use
//! that was not built for tests.

#![cfg_attr(
    not(test),
    expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the one place that asks tokio for the time"
    )
)]

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

mod virtual_time;

pub use virtual_time::{Stuck, VirtualClock, run_virtual};

/// Now, timers and randomness.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time of day. May jump either way.
    fn now(&self) -> Timestamp;

    /// The time since some moment that stays the same while the process runs. It never goes back and never jumps. Those
    /// of different clocks have nothing to do with each other.
    fn elapsed(&self) -> Duration;

    /// Waits for a duration to pass, as [`Clock::elapsed`] counts it.
    async fn sleep(&self, duration: Duration);

    /// 64 random bits. Not for secrets: those come from the host's TLS library.
    fn random(&self) -> u64;
}

#[async_trait]
impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn elapsed(&self) -> Duration {
        (**self).elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        (**self).sleep(duration).await;
    }

    fn random(&self) -> u64 {
        (**self).random()
    }
}

/// A [`Clock`] that is shared.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of a program: the machine's time and unpredictable randomness; or, by [`TokioClock::simulated`], that
/// of a simulation: a given start and seed, in step with tokio's paused time.
#[derive(Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
    /// The time of day at the start, if the time of day follows tokio's; otherwise it is the machine's.
    simulated: Option<Timestamp>,
    random: Mutex<SplitMix>,
}

impl TokioClock {
    /// The machine's time, with randomness seeded by the system. Where tokio's time is paused, the time of day begins
    /// at the machine's and goes on with tokio's.
    ///
    /// Must be called within a tokio runtime.
    pub fn system() -> SharedClock {
        // RandomState is the one source of entropy in std; each carries keys drawn from the system.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        Arc::new(Self::starting_at(is_paused().then(Timestamp::now), seed))
    }

    /// A clock that starts at 2026-01-01T00:00:00Z and whose every random number follows from `seed`.
    ///
    /// In a runtime with paused time, time passes only when all tasks wait.
    pub fn simulated(seed: u64) -> SharedClock {
        Arc::new(Self::starting_at(Some(SIMULATED_START), seed))
    }

    fn starting_at(simulated: Option<Timestamp>, seed: u64) -> Self {
        Self { start: tokio::time::Instant::now(), simulated, random: Mutex::new(SplitMix(seed)) }
    }
}

/// When simulated time begins: 2026-01-01T00:00:00Z.
const SIMULATED_START: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// Whether tokio's time stands still while the machine's goes on.
fn is_paused() -> bool {
    let (virtual_time, real_time) = (tokio::time::Instant::now(), std::time::Instant::now());
    while std::time::Instant::now() == real_time {}
    tokio::time::Instant::now() == virtual_time
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let Some(start) = self.simulated else { return Timestamp::now() };
        start.checked_add(self.start.elapsed()).unwrap_or(Timestamp::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// Steele, Lea and Flood's generator: one addition and three mixes a number, and any seed is a good one.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Chance that follows from a seed, for plans that are made before there is a clock.
#[derive(Debug)]
pub struct Chance(SplitMix);

impl Chance {
    /// The chance of a seed. Any seed is a good one.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix(seed))
    }

    /// A number below a bound; 0, if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next().checked_rem(bound).unwrap_or(0)
    }

    /// One of some things, if there are any.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u64) as usize)
    }
}

/// Waits until the clock's [`elapsed`](Clock::elapsed) is `at`; for ever without one.
pub async fn sleep_until(clock: &dyn Clock, at: Option<Duration>) {
    match at {
        Some(at) => clock.sleep(at.saturating_sub(clock.elapsed())).await,
        None => std::future::pending().await,
    }
}

/// What comes out of `work`; `None` when it takes longer than `limit`, by the clock.
pub async fn timeout<T>(clock: &dyn Clock, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = work => Some(value),
        () = clock.sleep(limit) => None,
    }
}

/// A length of time as options of programs give it, such as `40s`, `1m30s` or `72h`.
///
/// # Errors
/// A sentence for the user, when it is none or is negative.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = |_| format!("{text:?} is not a length of time such as 40s, 1m30s or 72h");
    let parsed: jiff::SignedDuration = text.parse().map_err(wrong)?;
    Duration::try_from(parsed).map_err(wrong)
}

/// The alphabet of generated names: no vowels, so no words, and no digits that look like letters.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A random suffix of `length` letters for a generated name, as in `web-7d4b9-x2x5z`.
pub fn random_suffix(clock: &dyn Clock, length: usize) -> String {
    (0..length)
        .map(|_| {
            let index = clock.random() % NAME_ALPHABET.len() as u64;
            char::from(NAME_ALPHABET[index as usize])
        })
        .collect()
}

/// A random version-4 UUID.
pub fn random_uid(clock: &dyn Clock) -> crate::meta::Uid {
    // Of version 4, and of the variant that has versions.
    let first = clock.random() & !0xf000 | 0x4000;
    let second = clock.random() & !(0b11 << 62) | 0b10 << 62;
    let mut text = String::with_capacity(36);
    for (place, byte) in [first.to_be_bytes(), second.to_be_bytes()].into_iter().flatten().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.extend([byte >> 4, byte & 0xf].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    crate::meta::Uid(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_time_of_day_is_the_machines() {
        let clock = TokioClock::system();
        let (before, now, after) = (Timestamp::now(), clock.now(), Timestamp::now());
        // Equal only if it is asked for: a clock that counts from its start is some microseconds off.
        assert!(before <= now && now <= after, "{before} {now} {after}");
    }

    #[tokio::test]
    async fn uids_are_those_of_version_4() {
        let clock = TokioClock::simulated(1);
        for _ in 0..100 {
            let uid = random_uid(&*clock);
            let lengths: Vec<usize> = uid.as_str().split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{uid}");
            let digits = |letter: u8| matches!(letter, b'-' | b'0'..=b'9' | b'a'..=b'f');
            assert!(uid.as_str().bytes().all(digits), "{uid}");
            let (version, variant) = (uid.as_str().as_bytes()[14], uid.as_str().as_bytes()[19]);
            assert!(version == b'4' && matches!(variant, b'8' | b'9' | b'a' | b'b'), "{uid}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn both_times_follow_a_paused_one() {
        for clock in [TokioClock::system(), TokioClock::simulated(1)] {
            let (now, elapsed) = (clock.now(), clock.elapsed());
            clock.sleep(Duration::from_secs(86_400)).await;
            assert_eq!(clock.elapsed() - elapsed, Duration::from_secs(86_400));
            assert_eq!(clock.now().duration_since(now), jiff::SignedDuration::from_hours(24));
        }
    }
}
