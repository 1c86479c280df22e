//! What is other in one cluster than in another that began as the same. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::picture::{NodePicture, Picture};

/// What would be other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The workloads whose pods are not where they would be.
    pub workloads: Vec<WorkloadDifference>,
    /// The pods that wait for a node and would not: their names and why.
    pub waiting: BTreeMap<String, String>,
    /// The budgets that fewer pods are healthy of than must be: how many are, and how many must be.
    pub broken_budgets: BTreeMap<String, (i32, i32)>,
    /// What is used of quotas otherwise: by quota and resource, before, after, and the bound.
    pub quotas: Vec<QuotaDifference>,
    /// The nodes that are otherwise: before and after.
    pub nodes: BTreeMap<String, (Option<NodePicture>, Option<NodePicture>)>,
}

/// A workload whose pods are not where they would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkloadDifference {
    /// The workload, such as `default/deployment/web`.
    pub workload: String,
    /// How many pods each node has before; those without one under the empty name.
    pub before: BTreeMap<String, usize>,
    /// How many after.
    pub after: BTreeMap<String, usize>,
    /// How many pods are others than before: they were made anew.
    pub replaced: usize,
    /// How many are ready before and after.
    pub ready: (usize, usize),
}

/// A quota of which more or less is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuotaDifference {
    /// The quota and the resource.
    pub quota: String,
    /// The resource.
    pub resource: String,
    /// What is used before.
    pub before: String,
    /// What is used after.
    pub after: String,
    /// The bound.
    pub hard: String,
}

impl Difference {
    /// What is other in `after` than in `before`.
    pub fn of(before: &Picture, after: &Picture) -> Self {
        let mut broken_budgets = BTreeMap::new();
        for (name, budget) in &after.budgets {
            let was_broken = before.budgets.get(name).is_some_and(|was| was.healthy < was.wanted);
            if budget.healthy < budget.wanted && !was_broken {
                broken_budgets.insert(name.clone(), (budget.healthy, budget.wanted));
            }
        }
        let waits = |picture: &Picture, name: &str| {
            picture.pods.get(name).is_some_and(|pod| pod.waits.is_some() && !pod.deleting)
        };
        let waiting = after.pods.iter().filter(|(name, _)| waits(after, name) && !waits(before, name));
        let waiting = waiting.filter_map(|(name, pod)| Some((name.clone(), pod.waits.clone()?))).collect();
        let (quotas, nodes) = (quotas(before, after), nodes(before, after));
        Self { workloads: workloads(before, after), waiting, broken_budgets, quotas, nodes }
    }

    /// Whether nothing is other.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn workloads(before: &Picture, after: &Picture) -> Vec<WorkloadDifference> {
    let mut all: BTreeMap<&str, WorkloadDifference> = BTreeMap::new();
    for (picture, is_after) in [(before, false), (after, true)] {
        for (name, pod) in picture.pods.iter().filter(|(_, pod)| !pod.ended && !pod.deleting) {
            let one = all.entry(&pod.workload).or_default();
            let (counts, ready) = match is_after {
                true => (&mut one.after, &mut one.ready.1),
                false => (&mut one.before, &mut one.ready.0),
            };
            *counts.entry(pod.node.clone()).or_default() += 1;
            *ready += usize::from(pod.ready);
            one.replaced += usize::from(is_after && !before.pods.contains_key(name));
        }
    }
    let named =
        all.into_iter().map(|(workload, one)| WorkloadDifference { workload: workload.to_owned(), ..one });
    named.filter(|one| one.before != one.after || one.ready.0 != one.ready.1 || one.replaced > 0).collect()
}

fn quotas(before: &Picture, after: &Picture) -> Vec<QuotaDifference> {
    let mut all = Vec::new();
    for (quota, amounts) in &after.quotas {
        for (resource, (used, hard)) in amounts {
            let was = before.quotas.get(quota).and_then(|was| was.get(resource));
            let was = was.map_or_else(|| "0".to_owned(), |(used, _)| used.clone());
            if was != *used {
                let (quota, resource) = (quota.clone(), resource.clone());
                all.push(QuotaDifference {
                    quota,
                    resource,
                    before: was,
                    after: used.clone(),
                    hard: hard.clone(),
                });
            }
        }
    }
    all
}

fn nodes(before: &Picture, after: &Picture) -> BTreeMap<String, (Option<NodePicture>, Option<NodePicture>)> {
    let names = before.nodes.keys().chain(after.nodes.keys());
    let pairs =
        names.map(|name| (name.clone(), (before.nodes.get(name).cloned(), after.nodes.get(name).cloned())));
    pairs.filter(|(_, (before, after))| before != after).collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "Nothing would be other.");
        }
        if !self.workloads.is_empty() {
            writeln!(f, "Workloads")?;
        }
        for one in &self.workloads {
            let (before, after) = (places(&one.before), places(&one.after));
            let (was, is) = one.ready;
            let replaced = match one.replaced {
                0 => String::new(),
                count => format!(", {count} made anew"),
            };
            writeln!(f, "  {}: {before} -> {after}; ready {was} -> {is}{replaced}", one.workload)?;
        }
        section(f, "Pods that would wait", waiting(&self.waiting).into_iter())?;
        let broken = self.broken_budgets.iter();
        let broken = broken.map(|(name, (healthy, wanted))| format!("{name}: {healthy} healthy of {wanted}"));
        section(f, "Budgets that would be broken", broken)?;
        let quotas = self.quotas.iter();
        let quotas = quotas.map(|one| {
            format!("{} {}: {} -> {} of {}", one.quota, one.resource, one.before, one.after, one.hard)
        });
        section(f, "Quotas", quotas)?;
        let nodes = self.nodes.iter();
        section(f, "Nodes", nodes.map(|(name, (was, is))| format!("{name}: {} -> {}", node(was), node(is))))
    }
}

fn section(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl ExactSizeIterator<Item = String>,
) -> fmt::Result {
    if lines.len() > 0 {
        writeln!(f, "{title}")?;
    }
    lines.into_iter().try_for_each(|line| writeln!(f, "  {line}"))
}

/// How many pods that wait for one reason are named one by one.
const NAMED: usize = 3;

/// Pods that wait, with why; of many that wait for the same reason, the first and how many there are.
fn waiting(pods: &BTreeMap<String, String>) -> Vec<String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (pod, why) in pods {
        reasons.entry(why).or_default().push(pod);
    }
    let lines = reasons.into_iter().flat_map(|(why, pods)| match &*pods {
        [first, rest @ ..] if rest.len() >= NAMED => {
            vec![format!("{first} and {} more: {why}", rest.len())]
        }
        few => few.iter().map(|pod| format!("{pod}: {why}")).collect(),
    });
    lines.collect()
}

fn places(counts: &BTreeMap<String, usize>) -> String {
    let shown = counts.iter().map(|(node, count)| match node.as_str() {
        "" => format!("{count} nowhere"),
        node => format!("{count} on {node}"),
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

fn node(shown: &Option<NodePicture>) -> String {
    let Some(node) = shown else { return "not there".to_owned() };
    let share = |part: i64, of: i64| (part * 100).checked_div(of).unwrap_or(0);
    let (cpu, memory) = (share(node.cpu_requested, node.cpu), share(node.memory_requested, node.memory));
    let ready = if node.ready { "ready" } else { "not ready" };
    let cordoned = if node.cordoned { ", cordoned" } else { "" };
    format!("{ready}{cordoned}, cpu {cpu}%, memory {memory}%")
}

#[cfg(test)]
mod tests {
    use super::super::picture::{BudgetPicture, PodPicture};
    use super::*;

    #[test]
    fn many_pods_that_wait_for_one_reason_are_counted() {
        let pods = |names: &[&str], why: &str| -> Vec<(String, String)> {
            names.iter().map(|name| ((*name).to_owned(), why.to_owned())).collect()
        };
        let all = [pods(&["a", "b", "c", "d"], "no room"), pods(&["e", "f"], "a quota")].concat();
        assert_eq!(
            waiting(&all.into_iter().collect()),
            ["e: a quota", "f: a quota", "a and 3 more: no room"]
        );
    }

    fn pod(workload: &str, node: &str) -> PodPicture {
        PodPicture {
            workload: workload.into(),
            node: node.into(),
            ready: !node.is_empty(),
            ..Default::default()
        }
    }

    fn picture(pods: &[(&str, &str, &str)]) -> Picture {
        let pods = pods.iter().map(|(name, workload, node)| ((*name).to_owned(), pod(workload, node)));
        Picture { pods: pods.collect(), ..Picture::default() }
    }

    #[test]
    fn what_is_the_same_is_not_said() {
        let same = picture(&[("n/a", "n/deployment/web", "n1"), ("n/b", "n/deployment/web", "n2")]);
        let difference = Difference::of(&same, &same);
        assert!(difference.is_empty());
        assert_eq!(difference.to_string(), "Nothing would be other.\n");
    }

    #[test]
    fn pods_that_move_wait_or_break_a_budget_are_said() {
        let mut before = picture(&[("n/a", "n/deployment/web", "n1"), ("n/b", "n/deployment/web", "n2")]);
        let mut after = picture(&[("n/c", "n/deployment/web", ""), ("n/b", "n/deployment/web", "n2")]);
        if let Some(waiting) = after.pods.get_mut("n/c") {
            waiting.waits = Some("0/2 nodes are available".into());
        }
        let budget = |healthy| [("n/web".to_owned(), BudgetPicture { healthy, wanted: 2 })].into();
        (before.budgets, after.budgets) = (budget(2), budget(1));
        let used = |used: &str| {
            let amounts = [("pods".to_owned(), (used.to_owned(), "9".to_owned()))].into();
            [("n/all".to_owned(), amounts)].into()
        };
        (before.quotas, after.quotas) = (used("2"), used("3"));
        let node = NodePicture { ready: true, cpu: 1000, cpu_requested: 500, ..NodePicture::default() };
        before.nodes.insert("n1".into(), node.clone());
        after.nodes.insert("n1".into(), NodePicture { ready: false, cpu_requested: 0, ..node });
        let expected = "\
Workloads
  n/deployment/web: 1 on n1, 1 on n2 -> 1 nowhere, 1 on n2; ready 2 -> 1, 1 made anew
Pods that would wait
  n/c: 0/2 nodes are available
Budgets that would be broken
  n/web: 1 healthy of 2
Quotas
  n/all pods: 2 -> 3 of 9
Nodes
  n1: ready, cpu 50%, memory 0% -> not ready, cpu 0%, memory 0%
";
        assert_eq!(Difference::of(&before, &after).to_string(), expected);
        // What was broken before is not the change's fault.
        assert!(Difference::of(&after, &after).is_empty());
    }
}
