use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::expression::{Budget, Environment, Val};

static OBJECT: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "spec": {"name": "web-1", "replicas": 3, "ratio": 0.5, "on": true, "none": null, "ports": [80, 443, 8080],
            "labels": {"app": "web", "tier": "front"}, "items": [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
            "since": "2026-01-01T00:00:00Z", "cpu": "250m"},
    })
});

/// An expression is compiled and evaluated: no panic, and never more work than its budget pays for.
pub(super) fn check(text: &str) {
    let environment = Environment::new().variable("self").variable("oldSelf");
    let Ok(program) = environment.compile(text) else { return };
    let variables = [Val::json(&OBJECT), Val::json(&OBJECT)];
    for units in [0, 100, 10_000] {
        let mut budget = Budget::new(units);
        let outcome = program.evaluate(&variables, &mut budget);
        if let Ok(value) = outcome {
            assert!(budget.used() <= units, "{} units were used of {units}", budget.used());
            let _ = value.to_json();
        }
    }
}
