//! The objects and selectors that the benches use: the same in every run.

use std::cmp::Ordering;
use std::sync::Arc;

use orchestra_core::selector::{IndexKey, LabelIndex, LabelSet, Labels, Selector, SelectorIndex};

/// The selector that Kubernetes' own package was measured with: four requirements of four kinds.
pub const FOUR: &str = "app in (app-3,app-4),tier!=db,env=prod,!legacy";

/// A namespace and a name in one allocation, as a cache shares them with its index.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<(String, String)>);

impl IndexKey for Name {
    fn cmp_namespace(&self, namespace: &str) -> Ordering {
        self.0.0.as_str().cmp(namespace)
    }
}

/// A small generator of numbers; the benches must not depend on a seed of the moment.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

pub fn labels<const N: usize>(pairs: [(&str, String); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Six labels, none of which has to do with the object's name: about 1 object in 45 fulfils [`FOUR`].
pub fn six(random: &mut Random) -> Labels {
    let mut pick = |prefix: &str, count| format!("{prefix}-{}", random.below(count));
    let mut all = labels([
        ("app", pick("app", 20)),
        ("team", pick("team", 25)),
        ("version", pick("v", 10)),
        ("tier", ["web", "api", "db", "cache"][random.below(4) as usize].to_owned()),
        ("env", ["prod", "staging", "dev"][random.below(3) as usize].to_owned()),
    ]);
    let last = if random.below(10) == 0 { ("legacy", "true") } else { ("zone", "eu-1") };
    all.insert(last.0.to_owned(), last.1.to_owned());
    all
}

/// Five labels, as a pod of a Deployment has them, over which a match hits about as often as it fails.
pub fn five(random: &mut Random) -> Labels {
    let mut all = six(random);
    if random.below(2) == 0 {
        all.insert("app".to_owned(), "app-3".to_owned());
        all.insert("env".to_owned(), "prod".to_owned());
    }
    all.remove("version");
    all
}

pub struct Objects {
    pub objects: Vec<(Name, Labels)>,
    pub index: LabelIndex<Name>,
}

/// So many objects in 20 namespaces, with names in no order.
pub fn objects(count: usize) -> Vec<(Name, Labels)> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut all: Vec<_> = (0..count)
        .map(|_| {
            let name = format!("{:08x}-{:05x}", random.below(1 << 32), random.below(1 << 20));
            (Name(Arc::new((format!("team-{}", random.below(20)), name))), six(&mut random))
        })
        .collect();
    all.dedup_by(|a, b| a.0 == b.0);
    all
}

pub fn indexed(objects: &[(Name, Labels)]) -> LabelIndex<Name> {
    let mut index = LabelIndex::new();
    for (name, labels) in objects {
        index.insert(name.clone(), &LabelSet::new(labels));
    }
    index
}

impl Objects {
    pub fn new(count: usize) -> Self {
        let mut objects = objects(count);
        let index = indexed(&objects);
        objects.sort_by(|a, b| a.0.cmp(&b.0));
        Objects { objects, index }
    }
}

/// So many selectors of one namespace, each with a pair that no other has beside one that all share.
pub fn distinct_selectors(count: usize) -> Vec<Selector> {
    let text = |number| format!("app=app-{number},tier=web");
    (0..count).map(|number| Selector::parse(&text(number)).expect("good")).collect()
}

/// So many selectors over few labels, of which 1 in 35 selects [`busy_pod`].
pub fn crowded_selectors(count: usize) -> Vec<Selector> {
    let text = |number: usize| match number % 35 {
        0 => format!("app=app-{},team!=team-{}", number % 7, number % 24),
        kind => format!("app=app-{},team=team-{kind}", number % 7),
    };
    (0..count).map(|number| Selector::parse(&text(number)).expect("good")).collect()
}

/// A pod whose label is that of one selector in seven.
pub fn busy_pod() -> Labels {
    labels([("app", "app-0".into()), ("team", "team-99".into()), ("tier", "web".into())])
}

pub fn reverse(selectors: &[Selector]) -> SelectorIndex<u32> {
    let mut index = SelectorIndex::new();
    for (id, selector) in selectors.iter().enumerate() {
        index.insert("default", id as u32, selector);
    }
    index
}
