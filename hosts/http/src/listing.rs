//! A long list on its way out, part by part: it is in memory as the objects that the caches hold anyway, and never as one
//! text.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use orchestra_core::api::represent::{Form, IncludeObject, Writer};
use orchestra_core::api::{ObjectList, Resource, Status, Target};
use orchestra_core::jiff::Timestamp;

/// About how long a part is: it is written in a moment, and a list in parts takes hardly longer to send than one in a piece. A
/// list that ends in the first is answered at once, and so is whatever is wrong in it.
const PART: usize = 128 * 1024;

/// A list, and how far it is written.
pub(crate) struct Listing {
    pub(crate) list: ObjectList,
    pub(crate) resource: Arc<Resource>,
    pub(crate) target: Target,
    pub(crate) form: Form,
    pub(crate) include: IncludeObject,
    pub(crate) now: Timestamp,
    /// How many of its objects are written.
    pub(crate) written: usize,
}

impl Listing {
    /// The first part, and the rest if there is any.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub(crate) fn begin(mut self) -> Result<(Vec<u8>, Option<Self>), Status> {
        // A short list is written once, and not moved whenever it outgrows its room.
        let room =
            self.list.objects.iter().take(PART / 64).map(|entry| entry.bytes().len() + 64).sum::<usize>();
        let mut out = Vec::with_capacity(room.min(PART + PART / 4));
        self.writer().list_head(&self.list, &mut out);
        let ended = self.write(PART, &mut out)?;
        Ok((out, (!ended).then_some(self)))
    }

    /// The first part, and then all others as they are taken. An error is the last.
    pub(crate) fn parts(self, first: Vec<u8>) -> impl Stream<Item = Result<Bytes, Status>> + Send {
        let rest = stream::try_unfold(Some(self), |listing| async move {
            let Some(mut listing) = listing else { return Ok(None) };
            let mut out = Vec::with_capacity(PART + PART / 4);
            let ended = listing.write(PART, &mut out)?;
            Ok(Some((out.into(), (!ended).then_some(listing))))
        });
        futures::StreamExt::chain(stream::iter([Ok(first.into())]), rest)
    }

    fn writer(&self) -> Writer<'_> {
        let version = (&*self.target.group, &*self.target.version);
        Writer::new(&self.resource, version, self.form, self.now).including(self.include)
    }

    /// Appends objects until so many bytes are there, and the end after the last of them. Whether that was the end.
    fn write(&mut self, enough: usize, out: &mut Vec<u8>) -> Result<bool, Status> {
        let mut written = self.written;
        let writer = self.writer();
        for entry in &self.list.objects[written..] {
            if out.len() >= enough {
                break;
            }
            writer.list_item(entry, written == 0, out)?;
            written += 1;
        }
        let ended = written == self.list.objects.len();
        if ended {
            writer.list_tail(&self.list, out);
        }
        self.written = written;
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use orchestra_core::api::represent::MetaVersion;
    use orchestra_core::meta::Revision;
    use orchestra_core::objects::builtin;
    use orchestra_core::watch::{Entry, IndexedFields};

    use super::*;

    fn listing(objects: usize, bytes: usize, form: Form) -> Listing {
        let kinds = builtin();
        let resource = Arc::clone(kinds.served("", "v1", "configmaps").unwrap());
        let entry = |number: usize| {
            let filling = "x".repeat(bytes);
            let json = format!(
                r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"m{number}","namespace":"a","uid":"u"}},"data":{{"k":"{filling}"}}}}"#
            );
            Arc::new(Entry::read(json.into(), Revision(7), &IndexedFields::none()).unwrap())
        };
        let list = ObjectList {
            objects: (0..objects).map(entry).collect(),
            revision: Revision(9),
            continue_token: None,
            remaining: None,
        };
        let target = Target::collection(("", "v1", "configmaps"), None);
        let (include, now) = (IncludeObject::default(), Timestamp::UNIX_EPOCH);
        Listing { list, resource, target, form, include, now, written: 0 }
    }

    /// The parts that a list is sent in.
    async fn parts(listing: Listing) -> Vec<Bytes> {
        let (first, rest) = listing.begin().unwrap();
        match rest {
            Some(rest) => rest.parts(first).try_collect().await.unwrap(),
            None => vec![first.into()],
        }
    }

    #[tokio::test]
    async fn a_list_is_the_same_in_parts_as_in_one_piece() {
        for form in [Form::Object, Form::Metadata(MetaVersion::V1), Form::Table(MetaVersion::V1)] {
            for (objects, bytes) in [(0, 0), (1, 0), (3, 1000), (100, 5000), (2000, 300), (3, 300_000)] {
                let whole = listing(objects, bytes, form);
                let mut text = Vec::new();
                whole.writer().list(&whole.list, &mut text).unwrap();
                let parts = parts(listing(objects, bytes, form)).await;
                assert_eq!(parts.concat(), text, "{form:?} of {objects} objects of {bytes} bytes");
                let most = PART + bytes + 1000;
                assert!(parts.iter().all(|part| (1..=most).contains(&part.len())), "{objects} of {bytes}");
            }
        }
        assert_eq!(parts(listing(100, 500, Form::Object)).await.len(), 1, "a short list is one piece");
        assert!(parts(listing(100, 5000, Form::Object)).await.len() > 3, "a long one is many");
    }
}
