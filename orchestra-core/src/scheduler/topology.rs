//! The cluster divided by a node label: which nodes are one place.

use std::borrow::Cow;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::node::NodeId;

/// A node that has not the label.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// One label key: for each node the number of its value, so that counting by place is counting in an array.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    of_node: Vec<u32>,
    numbers: HashMap<String, u32, FxBuildHasher>,
    /// How many nodes each place has; a place with none is free to be used for another value.
    sizes: Vec<u32>,
    names: Vec<String>,
    free: Vec<u32>,
}

impl Column {
    /// The place of a node, or [`NOWHERE`].
    pub(crate) fn place(&self, node: NodeId) -> u32 {
        self.of_node.get(node.index()).copied().unwrap_or(NOWHERE)
    }

    /// One more than the largest place number.
    pub(crate) fn places(&self) -> usize {
        self.sizes.len()
    }

    /// Puts a node into the place of its label value, or takes it out.
    pub(crate) fn set(&mut self, node: NodeId, value: Option<&str>) {
        if self.of_node.len() <= node.index() {
            self.of_node.resize(node.index() + 1, NOWHERE);
        }
        let before = self.of_node[node.index()];
        if before != NOWHERE && value == Some(self.names[before as usize].as_str()) {
            return;
        }
        self.leave(before);
        self.of_node[node.index()] = value.map_or(NOWHERE, |v| self.enter(v));
    }

    fn leave(&mut self, place: u32) {
        let Some(size) = self.sizes.get_mut(place as usize) else { return };
        *size -= 1;
        if *size == 0 {
            self.numbers.remove(&self.names[place as usize]);
            self.free.push(place);
        }
    }

    fn enter(&mut self, value: &str) -> u32 {
        let place = match self.numbers.get(value) {
            Some(place) => *place,
            None => {
                let place = self.free.pop().unwrap_or(self.sizes.len() as u32);
                if place as usize == self.sizes.len() {
                    self.sizes.push(0);
                    self.names.push(String::new());
                }
                value.clone_into(&mut self.names[place as usize]);
                self.numbers.insert(value.to_owned(), place);
                place
            }
        };
        self.sizes[place as usize] += 1;
        place
    }
}

/// Counts by place of one column.
#[derive(Clone, Debug)]
pub(crate) struct Counts<'s> {
    pub(crate) column: Cow<'s, Column>,
    by_place: Vec<i64>,
}

impl<'s> Counts<'s> {
    pub(crate) fn none(column: Cow<'s, Column>) -> Self {
        let places = column.places();
        Self { column, by_place: vec![0; places] }
    }

    pub(crate) fn add(&mut self, node: NodeId, amount: i64) {
        let place = self.column.place(node);
        if let Some(count) = self.by_place.get_mut(place as usize) {
            *count += amount;
        }
    }

    /// The count at a node's place; `None` when the node has not the label.
    pub(crate) fn at(&self, node: NodeId) -> Option<i64> {
        self.by_place.get(self.column.place(node) as usize).copied()
    }

    pub(crate) fn of(&self, place: u32) -> i64 {
        self.by_place.get(place as usize).copied().unwrap_or_default()
    }
}
