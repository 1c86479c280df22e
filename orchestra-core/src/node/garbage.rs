//! Which images of a node go, and in which order: Kubernetes' rules. Pure.
//!
//! An image is unused when no container is of it, running or not. What was not used for the longest goes first, and of what
//! was never used what came first.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::between;
use crate::runtime::{DiskStats, Image};

/// When images are removed that no container is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageCollection {
    /// Begin when so much of the disk is in use, in hundredths; never at 100.
    pub high_percent: u8,
    /// Go on until no more than this is.
    pub low_percent: u8,
    /// An image that came later than this stays.
    pub least_age: Duration,
    /// An image that was not used for so long goes, however much room there is.
    pub most_age: Option<Duration>,
}

impl Default for ImageCollection {
    /// The kubelet's.
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, least_age: Duration::from_secs(120), most_age: None }
    }
}

impl ImageCollection {
    /// How many bytes are to be given back, if it is time.
    pub(super) fn wanted(&self, disk: &DiskStats) -> Option<u64> {
        let used = disk.capacity_bytes.saturating_sub(disk.available_bytes);
        let hundredths = u128::from(used) * 100;
        let is_time = self.high_percent < 100
            && disk.capacity_bytes > 0
            && hundredths >= u128::from(disk.capacity_bytes) * u128::from(self.high_percent);
        let kept = u128::from(disk.capacity_bytes) * u128::from(self.low_percent) / 100;
        is_time.then(|| used.saturating_sub(u64::try_from(kept).unwrap_or(u64::MAX)))
    }
}

/// What is known of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    first_seen: Timestamp,
    last_used: Option<Timestamp>,
    size: u64,
    names: Vec<String>,
}

/// An image that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unused {
    pub(super) id: String,
    /// All that it is called: it goes with the last of these.
    pub(super) names: Vec<String>,
    /// Bytes that it gives back at most: others may have layers of it.
    pub(super) size: u64,
    /// It was not used for longer than images may be.
    pub(super) aged: bool,
}

/// The images of a node, as they were seen since the agent began.
#[derive(Debug, Default)]
pub(super) struct Images(BTreeMap<String, Record>);

impl Images {
    /// Takes what is there now. `used` says of an image whether some container is of it.
    pub(super) fn see(&mut self, there: &[Image], used: impl Fn(&Image) -> bool, now: Timestamp) {
        self.0.retain(|id, _| there.iter().any(|image| image.id == *id));
        for image in there {
            let new = || Record { first_seen: now, last_used: None, size: 0, names: Vec::new() };
            let record = self.0.entry(image.id.clone()).or_insert_with(new);
            record.size = image.size_bytes;
            record.names = names(image);
            if used(image) {
                record.last_used = Some(now);
            }
        }
    }

    /// Those that may go, in the order in which they do. What was seen to be used `now` is not among them.
    pub(super) fn unused(&self, rules: &ImageCollection, now: Timestamp) -> Vec<Unused> {
        let may_go = |record: &Record| {
            record.last_used.is_none_or(|used| used < now)
                && between(record.first_seen, now) >= rules.least_age
        };
        let mut all: Vec<_> = self.0.iter().filter(|(_, record)| may_go(record)).collect();
        all.sort_by_key(|(id, record)| (record.last_used, record.first_seen, *id));
        let aged = |record: &Record| {
            let since = record.last_used.unwrap_or(record.first_seen);
            rules.most_age.is_some_and(|most| between(since, now) > most)
        };
        all.into_iter()
            .map(|(id, record)| Unused {
                id: id.clone(),
                names: record.names.clone(),
                size: record.size,
                aged: aged(record),
            })
            .collect()
    }
}

/// What an image is called: its tags, else its digests, else its id.
fn names(image: &Image) -> Vec<String> {
    let all = [&image.tags, &image.digests].into_iter().find(|names| !names.is_empty());
    all.cloned().unwrap_or_else(|| vec![image.id.clone()])
}

/// Whether a container whose image is shown like this is of an image.
pub(super) fn is_of(image: &Image, shown: &str) -> bool {
    !shown.is_empty() && (image.id == shown || image.digests.iter().any(|digest| digest == shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn image(id: &str) -> Image {
        Image { id: id.into(), tags: vec![format!("{id}:1")], size_bytes: 10, ..Image::default() }
    }

    #[test]
    fn room_is_made_from_the_high_to_the_low_threshold() {
        let rules = ImageCollection::default();
        let disk = |capacity, available| DiskStats {
            capacity_bytes: capacity,
            available_bytes: available,
            ..DiskStats::default()
        };
        for (capacity, available, wanted) in
            [(1000, 151, None), (1000, 150, Some(50)), (1000, 0, Some(200)), (0, 0, None)]
        {
            assert_eq!(rules.wanted(&disk(capacity, available)), wanted, "{capacity} {available}");
        }
        let never = ImageCollection { high_percent: 100, ..rules };
        assert_eq!(never.wanted(&disk(1000, 0)), None);
    }

    #[test]
    fn what_was_not_used_for_the_longest_goes_first() {
        let (rules, mut images) = (ImageCollection::default(), Images::default());
        let mut there: Vec<Image> = ["a", "b", "c", "d"].map(image).into();
        images.see(&there, |image| matches!(image.id.as_str(), "a" | "b" | "d"), at(0));
        images.see(&there, |image| matches!(image.id.as_str(), "a" | "d"), at(60));
        there.push(image("new"));
        images.see(&there, |image| image.id == "d", at(130));
        let order = |images: &Images, now| -> Vec<String> {
            images.unused(&rules, at(now)).into_iter().map(|unused| unused.id).collect()
        };
        // Never used, used at 0, used at 60; what is used stays, and so does what came a moment ago.
        assert_eq!(order(&images, 130), ["c", "b", "a"]);
        images.see(&there, |_| false, at(300));
        assert_eq!(order(&images, 300), ["c", "new", "b", "a", "d"]);
        images.see(&there[..1], |_| false, at(301));
        assert_eq!(order(&images, 301), ["a"], "what is gone is forgotten");
    }

    #[test]
    fn what_was_not_used_for_too_long_is_known() {
        let rules =
            ImageCollection { most_age: Some(Duration::from_secs(600)), ..ImageCollection::default() };
        let mut images = Images::default();
        images.see(&[image("a"), image("b")], |image| image.id == "a", at(0));
        images.see(&[image("a"), image("b")], |image| image.id == "a", at(500));
        let aged = |now| images.unused(&rules, at(now)).into_iter().filter(|one| one.aged).map(|one| one.id);
        assert_eq!(aged(600).count(), 0);
        assert_eq!(aged(601).collect::<Vec<_>>(), ["b"]);
        assert_eq!(aged(1101).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn an_image_goes_by_all_its_names() {
        let mut image = image("sha256:1");
        image.tags.push("other:2".into());
        image.digests.push("sha256:1@sha256:2".into());
        assert_eq!(names(&image), ["sha256:1:1", "other:2"]);
        assert!(is_of(&image, "sha256:1@sha256:2") && is_of(&image, "sha256:1") && !is_of(&image, ""));
        image.tags.clear();
        assert_eq!(names(&image), ["sha256:1@sha256:2"]);
        image.digests.clear();
        assert_eq!(names(&image), ["sha256:1"]);
    }
}
