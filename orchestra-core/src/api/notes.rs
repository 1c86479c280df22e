//! What is noted of a request for the audit log while it is worked on.
//!
//! Notes belong to the request, and not to an object or an answer: they are kept when it fails, and of all that lies
//! between whoever records it and whoever has something to note, nothing need know of them. So they go with the task, as
//! the span of a log does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    static NOTES: Notes;
}

/// The notes of one request. Clones are the same notes.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<BTreeMap<String, Note>>>);

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// What it says.
    pub text: String,
    /// Whether it says what was sent, so that it is kept only where that is recorded too.
    pub quotes: bool,
}

impl Notes {
    /// Does work, and takes what is noted meanwhile.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        NOTES.scope(self.clone(), work).await
    }

    /// What was noted, by name.
    pub fn all(&self) -> BTreeMap<String, Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes something of the request that this task works on. The first note of a name counts. Nothing is said when nobody
    /// records the request.
    pub(super) fn note(name: &str, quotes: bool, text: impl FnOnce() -> String) {
        // An error says that no request is worked on, or none that is recorded.
        let _ = NOTES.try_with(|notes| {
            let mut notes = notes.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !notes.contains_key(name) {
                notes.insert(name.to_owned(), Note { text: text(), quotes });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_note_of_a_name_counts_and_nothing_is_said_for_nobody() {
        Notes::note("a", false, || panic!("nobody records"));
        let notes = Notes::default();
        let work = async {
            Notes::note("a", false, || "1".to_owned());
            Notes::note("a", false, || panic!("it is noted already"));
            Notes::note("b", true, || "2".to_owned());
        };
        notes.during(work).await;
        let note = |text: &str, quotes| Note { text: text.to_owned(), quotes };
        let all = [("a".to_owned(), note("1", false)), ("b".to_owned(), note("2", true))];
        assert_eq!(notes.all(), BTreeMap::from(all));
    }
}
