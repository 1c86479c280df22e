//! Which static pods there are to be, by the manifests of all sources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::context::Context;
use super::ports::Manifests;
use super::static_pods;
use crate::meta::ObjectName;
use crate::watch::Entry;

/// The pods of one source, as it has them now.
pub(super) struct Found {
    source: usize,
    pods: Vec<Arc<Entry>>,
}

/// What the sources have, each at once and whenever it changes.
pub(super) fn read_all(ctx: &Arc<Context>) -> BoxStream<'static, Found> {
    let each = ctx.manifests.iter().cloned().enumerate();
    let each: Vec<_> = each.map(|(index, source)| read(Arc::clone(ctx), index, source)).collect();
    stream::select_all(each).boxed()
}

fn read(ctx: Arc<Context>, index: usize, source: Arc<dyn Manifests>) -> BoxStream<'static, Found> {
    stream::unfold(true, move |first| {
        let (ctx, source) = (Arc::clone(&ctx), Arc::clone(&source));
        async move {
            if !first {
                source.changed().await;
            }
            loop {
                match source.read().await {
                    Ok(manifests) => {
                        let mut pods = Vec::new();
                        for manifest in &manifests {
                            match static_pods::pods(manifest, source.source(), &ctx.name, ctx.now()) {
                                Ok(found) => pods.extend(found),
                                Err(error) => {
                                    tracing::error!(node = ctx.name, %error, "a manifest is no pod")
                                }
                            }
                        }
                        return Some((Found { source: index, pods }, false));
                    }
                    // What was there stays until it is known to be gone.
                    Err(error) => tracing::warn!(node = ctx.name, %error, "manifests cannot be read"),
                }
                source.changed().await;
            }
        }
    })
    .boxed()
}

/// The pods of all sources.
#[derive(Default)]
pub(super) struct Wanted {
    by_source: BTreeMap<usize, Vec<Arc<Entry>>>,
    sources: usize,
}

impl Wanted {
    pub(super) fn of(sources: usize) -> Self {
        Self { by_source: BTreeMap::new(), sources }
    }

    pub(super) fn take(&mut self, found: Found) {
        self.by_source.insert(found.source, found.pods);
    }

    /// Whether every source was read.
    pub(super) fn is_known(&self) -> bool {
        self.by_source.len() == self.sources
    }

    /// One pod for each name: of several of the same, the one of the first source.
    pub(super) fn pods(&self) -> Vec<Arc<Entry>> {
        let mut names = BTreeSet::<ObjectName>::new();
        let all = self.by_source.values().flatten();
        all.filter(|entry| names.insert(entry.name().clone())).cloned().collect()
    }

    /// Whether there is to be a pod of this uid.
    pub(super) fn has(&self, uid: &str) -> bool {
        self.pods().iter().any(|entry| entry.uid().as_str() == uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ports::Manifest;

    fn found(source: usize, images: &[&str]) -> Found {
        let pod = |image: &&str| {
            let text = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {{containers: [{{name: a, image: {image}}}]}}"
            );
            let manifest = Manifest { origin: format!("/{source}"), text: text.into_bytes() };
            static_pods::pods(&manifest, "file", "n1", jiff::Timestamp::UNIX_EPOCH).unwrap().remove(0)
        };
        Found { source, pods: images.iter().map(pod).collect() }
    }

    #[test]
    fn one_pod_a_name_and_the_first_source_before_the_others() {
        let mut wanted = Wanted::of(2);
        let (first, second) = (found(0, &["a:1"]), found(1, &["a:1"]));
        let (one, two) = (first.pods[0].uid().to_string(), second.pods[0].uid().to_string());
        wanted.take(second);
        assert!(!wanted.is_known() && wanted.has(&two));
        wanted.take(first);
        assert!(wanted.is_known() && wanted.has(&one) && !wanted.has(&two));
        wanted.take(found(0, &[]));
        assert!(wanted.has(&two) && wanted.pods().len() == 1);
    }
}
