//! A value that one side sets and others wait for.
//!
//! As tokio's `watch`, but for the order in which those are woken who wait: there it is one of chance, so that the same
//! seed would not give the same life; here it is that in which they came.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The value and those who wait for it.
#[derive(Debug)]
pub(crate) struct Signal<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Signal<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    pub(crate) fn get(&self) -> T {
        *self.lock()
    }

    /// Changes the value, and wakes those who wait if `change` says so.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T) -> bool) {
        if change(&mut self.lock()) {
            self.changed.notify_waiters();
        }
    }

    /// Waits until the value is as it is wanted to be.
    pub(crate) async fn until(&self, wanted: impl Fn(&T) -> bool) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the value is looked at: who changes it afterwards finds this one waiting.
            changed.as_mut().enable();
            let value = self.get();
            if wanted(&value) {
                return value;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let (signal, order) = (Arc::new(Signal::new(0)), Arc::<Mutex<Vec<u32>>>::default());
        let waiters: Vec<_> = (0..50)
            .map(|number| {
                let (signal, order) = (Arc::clone(&signal), Arc::clone(&order));
                tokio::spawn(async move {
                    signal.until(|value| *value > 1).await;
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        for _ in 0..2 {
            signal.change(|value| {
                *value += 1;
                true
            });
            tokio::task::yield_now().await;
        }
        futures::future::join_all(waiters).await;
        assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
        assert_eq!(signal.until(|_| true).await, 2);
    }
}
