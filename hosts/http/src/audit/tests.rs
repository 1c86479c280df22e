use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::queue::Queue;
use super::record::shown;
use super::*;

fn event(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn a_queue_holds_no_more_than_its_bounds_and_counts_the_rest() {
    let queue = Queue::bounded(3, 10);
    for text in ["12345", "1234", "123456789", "1", "2"] {
        queue.offer(&event(text));
    }
    assert_eq!((queue.len(), queue.dropped()), (3, 2), "nine bytes would be too many, and so would a fourth");
    assert_eq!(queue.take(2), [event("12345"), event("1234")]);
    queue.offer(&event("123456789"));
    assert_eq!(queue.len(), 2, "there is room again");
    queue.close();
    queue.offer(&event("3"));
    assert_eq!((queue.len(), queue.dropped()), (2, 3), "what comes after the end is lost");
    assert_eq!(queue.wait(10).map(|events| events.len()), Some(2));
    assert_eq!(queue.wait(10), None);
}

#[tokio::test(start_paused = true)]
async fn events_are_sent_when_they_are_enough_or_have_waited_long_enough() {
    let (queue, wait) = (Queue::new(), Duration::from_secs(30));
    let began = tokio::time::Instant::now();
    queue.offer(&event("a"));
    queue.gathered(2, wait).await;
    assert_eq!((began.elapsed(), queue.len()), (wait, 1));
    queue.offer(&event("b"));
    queue.gathered(2, wait).await;
    assert_eq!(began.elapsed(), wait, "they are enough");
}

#[test]
fn times_are_written_as_go_writes_them() {
    for (nanos, text) in [
        (0, "0s"),
        (12, "12ns"),
        (1_500, "1.5µs"),
        (501_250_000, "501.25ms"),
        (1_234_567_000, "1.234567s"),
        (61_500_000_000, "1m1.5s"),
        (3_600_000_000_000, "1h0m0s"),
    ] {
        assert_eq!(shown(Duration::from_nanos(nanos)), text);
    }
}

/// The lines of a file.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// The files of a directory, the log first and then the old ones, the oldest first.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn a_log_is_begun_anew_when_it_is_large_and_no_more_old_ones_are_kept_than_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    fs::write(directory.path().join("audit-notes.log"), "not ours").unwrap();
    let rotation = Rotation { bytes: 10, age: None, backups: Some(2) };
    for number in 0..5 {
        // Each is opened anew, so that all that it was told is written when it is dropped.
        let sink = FileSink::open(&path, rotation).unwrap();
        sink.take(&event(&format!("{number}2345")));
        drop(sink);
    }
    let found = files(directory.path());
    let [first, second, notes, log] = &*found else { panic!("{found:?}") };
    assert_eq!(lines(log), ["42345"]);
    assert_eq!((lines(first), lines(second)), (vec!["22345".to_owned()], vec!["32345".to_owned()]));
    assert_eq!(lines(notes), ["not ours"]);
}

#[test]
fn what_is_larger_than_a_file_goes_into_one_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let sink = FileSink::open(&path, Rotation { bytes: 10, ..Rotation::default() }).unwrap();
    let long = "x".repeat(100);
    for text in ["1", "2", &long, "3"] {
        sink.take(&event(text));
    }
    drop(sink);
    let mut all = files(directory.path());
    all.rotate_right(1);
    all.rotate_left(1);
    let written: Vec<String> = all.iter().flat_map(|path| lines(path)).collect();
    assert_eq!(written.len(), 4);
    assert_eq!(lines(&path), ["3"]);
    assert!(all.iter().all(|path| lines(path).len() == 1 || lines(path) == ["1", "2"]), "{written:?}");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_and_one_that_is_there_is_added_to() {
    let directory = tempfile::tempdir().unwrap();
    assert!(FileSink::open(&directory.path().join("none/audit.log"), Rotation::default()).is_err());
    let path = directory.path().join("audit.log");
    for text in ["a", "b"] {
        FileSink::open(&path, Rotation::default()).unwrap().take(&event(text));
    }
    assert_eq!(lines(&path), ["a", "b"]);
}
