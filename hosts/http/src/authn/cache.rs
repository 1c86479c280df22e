//! Answers of others, remembered for a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use orchestra_core::clock::SharedClock;

/// How many answers are remembered.
const MOST: usize = 8192;

/// By what an answer is found again: what was asked is a secret, or long, and is not kept.
pub(crate) type Key = [u8; 32];

/// Answers by what was asked.
pub(crate) struct Answers<T> {
    clock: SharedClock,
    salt: [u8; 32],
    held: Mutex<HashMap<Key, (Duration, T)>>,
}

impl<T> fmt::Debug for Answers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

impl<T: Clone> Answers<T> {
    pub(crate) fn new(clock: &SharedClock) -> Self {
        let mut salt = [0; 32];
        // Without it, a key is still not what was asked.
        let _ = aws_lc_rs::rand::fill(&mut salt);
        Self { clock: clock.clone(), salt, held: Mutex::default() }
    }

    pub(crate) fn key(&self, asked: &[u8]) -> Key {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.salt);
        context.update(asked);
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }

    pub(crate) fn get(&self, key: &Key) -> Option<T> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(key).filter(|(until, _)| *until > self.clock.elapsed()).map(|(_, answer)| answer.clone())
    }

    pub(crate) fn put(&self, key: Key, answer: T, time: Duration) {
        if time.is_zero() {
            return;
        }
        let now = self.clock.elapsed();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.retain(|_, (until, _)| *until > now);
        }
        if held.len() >= MOST {
            // Strangers fill it: what is forgotten is asked again.
            held.clear();
        }
        held.insert(key, (now + time, answer));
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::clock::TokioClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_remembered_for_its_time_and_no_more_than_a_bound_are() {
        let answers = Answers::new(&TokioClock::system());
        let (a, b) = (answers.key(b"a"), answers.key(b"b"));
        answers.put(a, 1, Duration::from_secs(10));
        answers.put(b, 2, Duration::ZERO);
        assert_eq!((answers.get(&a), answers.get(&b)), (Some(1), None));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(answers.get(&a), None);
        for number in 0..3 * MOST {
            answers.put(answers.key(&number.to_be_bytes()), 3, Duration::from_secs(10));
            assert!(answers.held.lock().unwrap().len() <= MOST);
        }
        assert_ne!(Answers::<u8>::new(&TokioClock::system()).key(b"a"), a, "keys of others are others");
    }
}
