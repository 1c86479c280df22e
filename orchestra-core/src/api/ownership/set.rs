//! Sets of paths, as a tree: what a manager owns, what a write changes.

use std::cmp::Ordering;
use std::fmt::{self, Display, Write as _};

use super::element::Element;
use super::types::{NodeId, Schema};

/// A set of paths into objects of a kind.
///
/// That a path is in it says nothing of the paths below: who owns a list's element need not own its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet<'a> {
    /// Ordered by their elements. Each is a member or has something below.
    pub(super) nodes: Vec<SetNode<'a>>,
}

/// What a set has at and below one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetNode<'a> {
    pub(super) element: Element<'a>,
    /// Whether the path that ends here is in the set.
    pub(super) member: bool,
    pub(super) below: FieldSet<'a>,
}

impl<'a> FieldSet<'a> {
    /// The set without a path.
    pub const EMPTY: FieldSet<'static> = FieldSet { nodes: Vec::new() };

    /// The set of one path.
    pub fn of(path: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self::default();
        set.insert(path.into_iter().map(Element::field));
        set
    }

    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many paths are in it.
    pub fn len(&self) -> usize {
        self.nodes.iter().map(|node| usize::from(node.member) + node.below.len()).sum()
    }

    /// Puts a path in.
    pub fn insert(&mut self, path: impl IntoIterator<Item = Element<'a>>) {
        let mut path = path.into_iter().peekable();
        let mut set = self;
        while let Some(element) = path.next() {
            let node = set.descend(element);
            if path.peek().is_none() {
                node.member = true;
                return;
            }
            set = &mut node.below;
        }
    }

    /// The node of an element, made if there is none: whoever asks puts something in it.
    pub(super) fn descend(&mut self, element: Element<'a>) -> &mut SetNode<'a> {
        let place = match self.nodes.binary_search_by(|node| node.element.cmp(&element)) {
            Ok(place) => place,
            Err(place) => {
                self.nodes.insert(place, SetNode { element, member: false, below: Self::default() });
                place
            }
        };
        &mut self.nodes[place]
    }

    /// What it has at and below an element.
    pub(super) fn get(&self, element: &Element<'_>) -> Option<&SetNode<'a>> {
        let place = self.nodes.binary_search_by(|node| node.element.cmp(element)).ok()?;
        self.nodes.get(place)
    }

    /// Whether a path of fields is in it.
    pub fn has(&self, path: &[&str]) -> bool {
        let [first, rest @ ..] = path else { return false };
        self.get(&Element::field(first))
            .is_some_and(|node| if rest.is_empty() { node.member } else { node.below.has(rest) })
    }

    /// Adds what a walk found at an element, if that is anything. The elements come in their order.
    pub(super) fn push(&mut self, element: Element<'a>, member: bool, below: Self) {
        if member || !below.is_empty() {
            self.nodes.push(SetNode { element, member, below });
        }
    }

    /// The paths that are in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.clone().or(other.clone())
    }

    /// [`FieldSet::union`] of sets that nobody else wants: what only one has is not copied.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self };
        }
        let mut out = Self { nodes: Vec::with_capacity(self.nodes.len() + other.nodes.len()) };
        let (mut ours, mut theirs) = (self.nodes.into_iter().peekable(), other.nodes.into_iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (Some(ours), Some(theirs)) => ours.element.cmp(&theirs.element),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return out,
            };
            let ours = if order.is_le() { ours.next() } else { None };
            let theirs = if order.is_ge() { theirs.next() } else { None };
            out.nodes.extend(match (ours, theirs) {
                (Some(ours), Some(theirs)) => Some(SetNode {
                    member: ours.member || theirs.member,
                    below: ours.below.or(theirs.below),
                    element: ours.element,
                }),
                (one, other) => one.or(other),
            });
        }
    }

    /// The paths that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return Self::default();
        }
        self.shared(other, &|ours, theirs| {
            (ours.member && theirs.member, ours.below.intersection(&theirs.below))
        })
    }

    /// The paths that are in this one only.
    #[must_use]
    pub fn difference(&self, other: &FieldSet<'_>) -> Self {
        self.clone().minus(other)
    }

    /// [`FieldSet::difference`] of a set that nobody else wants: what is left is not copied.
    #[must_use]
    pub(super) fn minus(self, other: &FieldSet<'_>) -> Self {
        self.filtered(other, &|mut ours, theirs| {
            ours.member &= !theirs.member;
            ours.below = ours.below.minus(&theirs.below);
            ours
        })
    }

    /// The paths that are not in the other, nor below one that is.
    #[must_use]
    pub fn without(self, other: &FieldSet<'_>) -> Self {
        self.filtered(other, &|mut ours, theirs| {
            ours.member &= !theirs.member;
            ours.below = if theirs.member { Self::default() } else { ours.below.without(&theirs.below) };
            ours
        })
    }

    /// What stays when each node that the other has too is changed so. What is empty then goes.
    fn filtered(
        mut self,
        other: &FieldSet<'_>,
        change: &dyn Fn(SetNode<'a>, &SetNode<'_>) -> SetNode<'a>,
    ) -> Self {
        let mut theirs = other.nodes.iter().peekable();
        self.nodes.retain_mut(|node| {
            while theirs.next_if(|theirs| theirs.element < node.element).is_some() {}
            let Some(theirs) = theirs.next_if(|theirs| theirs.element == node.element) else { return true };
            let nothing = SetNode { element: Element::Index(0), member: false, below: Self::default() };
            *node = change(std::mem::replace(node, nothing), theirs);
            node.member || !node.below.is_empty()
        });
        self
    }

    /// The paths at or below those of the other.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        self.shared(other, &|ours, theirs| match theirs.member {
            true => (ours.member, ours.below.clone()),
            false => (false, ours.below.within(&theirs.below)),
        })
    }

    /// What is made of each node that the other has too. What is empty then is left out.
    fn shared(&self, other: &Self, decide: &dyn Fn(&SetNode<'a>, &SetNode<'a>) -> (bool, Self)) -> Self {
        let mut out = Self::default();
        let mut theirs = other.nodes.iter().peekable();
        for ours in &self.nodes {
            while theirs.next_if(|theirs| theirs.element < ours.element).is_some() {}
            let Some(theirs) = theirs.next_if(|theirs| theirs.element == ours.element) else { continue };
            let (member, below) = decide(ours, theirs);
            out.push(ours.element.clone(), member, below);
        }
        out
    }

    /// The set with the fields that lead to what is in it, if the schema names them: with `a.b.c` also `a`, if `a` is a
    /// field of a type, but not `a.b`, if `b` is an entry of a map.
    #[must_use]
    pub(super) fn with_named_fields(&self, schema: &Schema, node: Option<NodeId>) -> Self {
        let shape = node.map(|node| schema.node(node));
        let (map, list) =
            (shape.and_then(|shape| shape.map.as_ref()), shape.and_then(|shape| shape.list.as_ref()));
        let nodes = self.nodes.iter().map(|node| {
            let (named, below) = match &node.element {
                Element::Field(name) => {
                    let field = map.and_then(|map| map.field(name));
                    (field.is_some(), field.map(|field| field.of).or_else(|| map?.element))
                }
                Element::Key(_) => (false, list.map(|list| list.element)),
                Element::Value(_) | Element::Index(_) => (false, None),
            };
            SetNode {
                element: node.element.clone(),
                member: node.member || named && !node.below.is_empty(),
                below: node.below.with_named_fields(schema, below),
            }
        });
        Self { nodes: nodes.collect() }
    }

    /// The set as the schema has it now: of what has become one value, whoever had something within has all.
    #[must_use]
    pub fn reconciled(&self, schema: &Schema, node: NodeId) -> Self {
        let shape = schema.node(node);
        if shape.is_deduced() {
            return self.clone();
        }
        let nodes = self.nodes.iter().map(|held| {
            let below = match &held.element {
                Element::Field(name) => shape.map.as_ref().and_then(|map| map.type_of(name)),
                _ => shape.list.as_ref().map(|list| list.element),
            };
            match below {
                Some(below) if !held.below.is_empty() && schema.node(below).is_atomic() => {
                    SetNode { element: held.element.clone(), member: true, below: Self::default() }
                }
                Some(below) => SetNode {
                    element: held.element.clone(),
                    member: held.member,
                    below: held.below.reconciled(schema, below),
                },
                None => held.clone(),
            }
        });
        Self { nodes: nodes.collect() }
    }

    /// Every path, in Kubernetes' order: what stands at a level before what stands below it.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.write_paths(&mut String::new(), &mut out);
        out
    }

    fn write_paths(&self, prefix: &mut String, out: &mut Vec<String>) {
        out.extend(
            self.nodes.iter().filter(|node| node.member).map(|node| format!("{prefix}{}", node.element)),
        );
        for node in self.nodes.iter().filter(|node| !node.below.is_empty()) {
            let length = prefix.len();
            let _ = write!(prefix, "{}", node.element);
            node.below.write_paths(prefix, out);
            prefix.truncate(length);
        }
    }
}

impl Display for FieldSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.paths().join("\n"))
    }
}
