//! How often the probes of a node's containers came out how: `/metrics/probes`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;

/// What a count is of, in the order in which Prometheus reads its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Probed {
    uid: String,
    namespace: String,
    pod: String,
    container: String,
    kind: &'static str,
    result: &'static str,
}

/// The counts of one node, since its agent began.
#[derive(Debug, Default)]
pub(super) struct ProbeCounts(Mutex<BTreeMap<Probed, u64>>);

impl ProbeCounts {
    /// Counts one outcome. `about` is what events of the container are about.
    pub(super) fn count(
        &self,
        about: &ObjectReference,
        container: &str,
        kind: &'static str,
        result: &'static str,
    ) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let probed = Probed {
            uid: text(&about.uid),
            namespace: text(&about.namespace),
            pod: text(&about.name),
            container: container.to_owned(),
            kind,
            result,
        };
        *self.lock().entry(probed).or_default() += 1;
    }

    /// A pod is no more.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().retain(|probed, _| probed.uid != uid);
    }

    /// The text of `/metrics/probes`.
    pub(super) fn text(&self) -> String {
        let counts = self.lock();
        let mut text = String::new();
        if !counts.is_empty() {
            text.push_str(
                "# HELP prober_probe_total [BETA] Cumulative number of a liveness, readiness or startup probe for a \
                 container by result.\n# TYPE prober_probe_total counter\n",
            );
        }
        for (probed, count) in counts.iter() {
            let Probed { uid, namespace, pod, container, kind, result } = probed;
            let _ = writeln!(
                text,
                "prober_probe_total{{container={container:?},namespace={namespace:?},pod={pod:?},pod_uid={uid:?},\
                 probe_type={kind:?},result={result:?}}} {count}"
            );
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Probed, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_until_the_pod_goes() {
        let counts = ProbeCounts::default();
        assert_eq!(counts.text(), "");
        let about = |pod: &str| ObjectReference {
            name: Some(pod.into()),
            namespace: Some("shop".into()),
            uid: Some(format!("u-{pod}")),
            ..ObjectReference::default()
        };
        for result in ["successful", "failed", "successful"] {
            counts.count(&about("web"), "app", "Liveness", result);
        }
        counts.count(&about("db"), "app", "Readiness", "unknown");
        let line = "prober_probe_total{container=\"app\",namespace=\"shop\",pod=\"web\",pod_uid=\"u-web\",\
                    probe_type=\"Liveness\",result=\"successful\"} 2\n";
        assert!(counts.text().ends_with(line), "{}", counts.text());
        assert_eq!(counts.text().lines().count(), 5);
        counts.forget("u-web");
        assert_eq!(counts.text().lines().count(), 3);
    }
}
