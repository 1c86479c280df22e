//! Which pods have to go so that one that the system needs may begin. Pure.
//!
//! Whoever asked for nothing goes before whoever asked for something, and that one before whoever was promised all that it asked
//! for; of these as few as can be, and the smallest. It is what a kubelet does.

use k8s_openapi::api::core::v1::Pod;

use super::admission::{Fault, is_needed};
use super::resources::{QosClass, qos_class};
use crate::scheduler::Resources;

/// The reason of a pod that had to go for another.
pub const PREEMPTED: &str = "Preempting";
/// What is said of it.
pub(super) const WHY: &str = "Preempted in order to admit critical pod";

/// A pod that has room.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) pod: Pod,
    pub(super) uid: String,
    pub(super) has: Resources,
}

/// How much of something is lacking.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lack<'a> {
    what: &'a str,
    amount: i64,
}

impl Tenant {
    fn has(&self, what: &str) -> i64 {
        match what {
            "pods" => 1,
            "cpu" => self.has.milli_cpu,
            "memory" => self.has.memory,
            "ephemeral-storage" => self.has.ephemeral_storage,
            other => self.has.other(other),
        }
    }

    /// How far the lack would be from being made up for by it.
    fn distance(&self, lacks: &[Lack<'_>]) -> f64 {
        let left = |lack: &Lack<'_>| {
            let left = lack.amount.saturating_sub(self.has(lack.what)).max(0);
            (left as f64 / lack.amount as f64).powi(2)
        };
        lacks.iter().map(left).sum()
    }

    fn class(&self) -> QosClass {
        self.pod.spec.as_ref().map_or(QosClass::BestEffort, qos_class)
    }
}

/// The uids of the pods that go for one that lacks all of this, and nothing else.
///
/// # Errors
/// All that may go would not be enough; what would be lacking, in Kubernetes' words.
pub(super) fn victims(pod: &Pod, tenants: &[Tenant], faults: &[Fault]) -> Result<Vec<String>, String> {
    let lacks: Vec<Lack<'_>> = faults
        .iter()
        .filter_map(|fault| match fault {
            Fault::Short { what, requested, used, capacity } => {
                Some(Lack { what, amount: requested - (capacity - used) })
            }
            Fault::Rule(..) => None,
        })
        .collect();
    let of = |class: QosClass| -> Vec<&Tenant> {
        tenants.iter().filter(|tenant| tenant.class() == class && goes_for(&tenant.pod, pod)).collect()
    };
    let [best, burst, sure] = [QosClass::BestEffort, QosClass::Burstable, QosClass::Guaranteed].map(of);
    enough(&left(&lacks, &[&best, &burst, &sure]))?;
    let sure = fewest(sure, left(&lacks, &[&best, &burst]))?;
    let burst = fewest(burst, left(&lacks, &[&best, &sure]))?;
    let best = fewest(best, left(&lacks, &[&burst, &sure]))?;
    Ok(best.into_iter().chain(burst).chain(sure).map(|tenant| tenant.uid.clone()).collect())
}

/// Whether a pod may have to go for another: it is not needed, or less than the other.
fn goes_for(pod: &Pod, other: &Pod) -> bool {
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority);
    is_needed(other) && !is_needed(pod)
        || priority(pod).zip(priority(other)).is_some_and(|(own, others)| own < others)
}

/// What is lacking when these have gone.
fn left<'a>(lacks: &[Lack<'a>], gone: &[&[&Tenant]]) -> Vec<Lack<'a>> {
    let left = lacks.iter().map(|lack| {
        let freed = gone.iter().flat_map(|some| some.iter()).map(|tenant| tenant.has(lack.what));
        Lack { amount: freed.fold(lack.amount, i64::saturating_sub), ..*lack }
    });
    left.filter(|lack| lack.amount > 0).collect()
}

fn enough(lacks: &[Lack<'_>]) -> Result<(), String> {
    if lacks.is_empty() {
        return Ok(());
    }
    let listed: String =
        lacks.iter().map(|lack| format!("(res: {}, q: {}), ", lack.what, lack.amount)).collect();
    Err(format!("no set of running pods found to reclaim resources: [{listed}]"))
}

/// As few as can be of those that make up for what is lacking: again and again the one that comes nearest, of equal ones the
/// smallest.
fn fewest<'t>(mut of: Vec<&'t Tenant>, mut lacks: Vec<Lack<'_>>) -> Result<Vec<&'t Tenant>, String> {
    let mut chosen = Vec::new();
    while !lacks.is_empty() {
        let size = |tenant: &Tenant| (tenant.has.memory, tenant.has.milli_cpu);
        let nearest = of.iter().enumerate().min_by(|(_, a), (_, b)| {
            a.distance(&lacks).total_cmp(&b.distance(&lacks)).then_with(|| size(a).cmp(&size(b)))
        });
        let Some((place, _)) = nearest else {
            enough(&lacks)?;
            break;
        };
        let tenant = of.swap_remove(place);
        lacks = left(&lacks, &[&[tenant]]);
        chosen.push(tenant);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A pod by its name: `b` asks for nothing, `u` for something, `g` for all that it may have.
    fn tenant(name: &str, priority: i32, cpu: i64, memory: i64) -> Tenant {
        let amounts = json!({ "cpu": format!("{cpu}m"), "memory": memory.to_string() });
        let resources = match name.as_bytes()[0] {
            b'b' => json!({}),
            b'u' => json!({ "requests": amounts }),
            _ => json!({ "requests": amounts, "limits": amounts }),
        };
        let spec = json!({ "priority": priority, "containers": [{ "name": "c", "resources": resources }] });
        Tenant {
            pod: serde_json::from_value(json!({ "spec": spec })).unwrap(),
            uid: name.to_owned(),
            has: Resources { milli_cpu: cpu, memory, ..Resources::default() },
        }
    }

    fn gone(tenants: &[Tenant], lacks: &[(&str, i64)]) -> Result<Vec<String>, String> {
        let short = |(what, amount): &(&str, i64)| Fault::Short {
            what: (*what).to_owned(),
            requested: *amount,
            used: 10,
            capacity: 10,
        };
        let faults: Vec<Fault> = lacks.iter().map(short).collect();
        victims(&tenant("g", 2_000_000_000, 0, 0).pod, tenants, &faults)
    }

    #[test]
    fn as_few_go_as_can_be_and_those_first_that_were_promised_least() {
        let named = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let all = [
            tenant("b1", 0, 0, 0),
            tenant("u1", 0, 100, 10),
            tenant("u2", 0, 300, 20),
            tenant("u3", 0, 300, 10),
            tenant("g1", 0, 500, 50),
            tenant("g2", 2_000_000_000, 900, 90),
        ];
        assert_eq!(gone(&all, &[("pods", 1)]), named(&["b1"]));
        assert_eq!(gone(&all, &[("cpu", 250)]), named(&["u3"]), "the smaller of two that are enough");
        assert_eq!(gone(&all, &[("cpu", 400)]), named(&["u3", "u1"]), "the fewest");
        assert_eq!(gone(&all, &[("cpu", 250), ("memory", 20)]), named(&["u2"]));
        assert_eq!(gone(&all, &[("cpu", 700), ("memory", 1)]), named(&["u3", "u2", "u1"]));
        assert_eq!(gone(&all, &[("cpu", 800)]), named(&["u3", "g1"]), "none that is not needed any more");
        let none = "no set of running pods found to reclaim resources: [(res: cpu, q: 1), ]";
        assert_eq!(gone(&all, &[("cpu", 1201)]), Err(none.to_owned()), "who is needed too stays");
    }
}
