//! What must hold for every text. Compiled into the fuzz target, and into the test that runs the kept corpus.

use crate::selector::{FieldSelector, Interned, LabelSet, Selector};

pub fn check(text: &str) {
    match Selector::parse(text) {
        Ok(selector) => check_selector(&selector),
        Err(error) => {
            assert!(error.position() <= text.len(), "{error:?}");
            assert!(!error.point_in(text).is_empty());
        }
    }
    if let Ok(fields) = FieldSelector::parse(text) {
        assert_eq!(FieldSelector::parse(&fields.to_string()), Ok(fields));
    }
}

fn check_selector(selector: &Selector) {
    assert_eq!(Selector::parse(&selector.to_string()).as_ref(), Ok(selector), "printing is not canonical");
    let example = selector.example();
    assert_eq!(example.is_some(), selector.is_satisfiable());
    assert_eq!(selector.overlap(selector), example);
    assert!(selector.contains(selector) && Selector::everything().contains(selector));
    if let Some(labels) = example {
        assert!(selector.matches(&labels), "{selector} does not match its example {labels:?}");
        assert!(selector.compile().matches(&LabelSet::new(&labels)));
    }
    assert!(Interned::now().pairs < 1_000_000, "labels that are gone are still interned");
}
