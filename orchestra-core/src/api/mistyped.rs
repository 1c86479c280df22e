//! What is said of an object that does not fit its kind's type: which field, of which struct, and what it should be,
//! in the words that clients of Kubernetes know from its JSON decoder.
//!
//! Of Kubernetes' own types the [table of types](super::schema::fit) says it. The others themselves are asked: a document
//! with something impossible at a place is refused with the name of what was expected there.

use serde_json::{Value, json};

use super::schema::go::number;
pub(crate) use super::spot::Step;

/// What a decoder did not like: where, and its message.
pub(crate) type Refusal = (Vec<Step>, String);

/// Says what is wrong with a document that `decode` refuses. `root` is the name of the type as a whole.
pub(crate) fn explain(
    root: &str,
    document: &Value,
    (path, error): Refusal,
    decode: &dyn Fn(&Value) -> Option<Refusal>,
) -> String {
    let expected_at = |path: &[Step], there: Value| {
        let (_, error) = decode(&with(document, path, there)?)?;
        mismatch(&error).map(|(_, wanted)| wanted.trim_start_matches("struct ").to_owned())
    };
    let Some((found, wanted)) = mismatch(&error) else {
        return match dotted(&path) {
            path if path.is_empty() => error,
            path => format!("{path}: {error}"),
        };
    };
    let wanted = match wanted.trim_start_matches("struct ") {
        "a sequence" => {
            let of = expected_at(&path, json!([true]));
            format!("[]{}", of.map_or("bool".to_owned(), |of| go_type(&of)))
        }
        "a map" => {
            let of = expected_at(&path, json!({"": true}));
            format!("map[string]{}", of.map_or("bool".to_owned(), |of| go_type(&of)))
        }
        other => go_type(other),
    };
    let found = go_value(found, &wanted);
    // Lists and maps are on the way; the field is that of the struct they are in.
    let owner = (1..path.len()).rev().find_map(|length| {
        let name = expected_at(&path[..length], Value::Bool(true))?;
        (name != "a sequence" && name != "a map").then_some((name, length))
    });
    let (owner, length) = owner.unwrap_or_else(|| (root.to_owned(), 0));
    match path.get(..=length) {
        None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        Some(field) => {
            let field = dotted(field);
            format!("json: cannot unmarshal {found} into Go struct field {owner}.{field} of type {wanted}")
        }
    }
}

/// The document with another value at a place that it has.
fn with(document: &Value, path: &[Step], there: Value) -> Option<Value> {
    let mut document = document.clone();
    let place = path.iter().try_fold(&mut document, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    });
    *place? = there;
    Some(document)
}

/// What a message of serde says was found, and what was expected.
fn mismatch(error: &str) -> Option<(&str, &str)> {
    let rest = error.strip_prefix("invalid type: ").or_else(|| error.strip_prefix("invalid value: "))?;
    rest.split_once(", expected ")
}

/// The fields of a path. Elements of lists are not told apart.
fn dotted(path: &[Step]) -> String {
    let keys = path.iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

fn go_value(found: &str, wanted: &str) -> String {
    let (what, literal) = found.split_once(" `").unwrap_or((found, ""));
    match what {
        "integer" | "floating point" => number(literal.trim_end_matches('`'), wanted),
        "boolean" => "bool".to_owned(),
        "map" => "object".to_owned(),
        "sequence" => "array".to_owned(),
        other => other.split(' ').next().unwrap_or_default().to_owned(),
    }
}

fn go_type(name: &str) -> String {
    match name {
        "i32" | "IntOrString" => "int32".to_owned(),
        "i64" => "int64".to_owned(),
        "f64" => "float64".to_owned(),
        "a string" | "Time" | "MicroTime" => "string".to_owned(),
        "a boolean" => "bool".to_owned(),
        "ByteString" => "[]uint8".to_owned(),
        other => format!("v1.{other}"),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DeploymentSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use crate::api::Resource;
    use crate::meta::{Object, Scope};

    /// A type that the table does not know, with parts that are as Kubernetes'.
    #[derive(Serialize, Deserialize)]
    struct Deployment {
        #[serde(default)]
        metadata: ObjectMeta,
        spec: Option<DeploymentSpec>,
    }

    impl Object for Deployment {
        const GROUP: &'static str = "example.org";
        const VERSION: &'static str = "v1";
        const KIND: &'static str = "Deployment";
        const PLURAL: &'static str = "deployments";
        const SCOPE: Scope = Scope::Namespaced;

        fn meta(&self) -> &ObjectMeta {
            &self.metadata
        }

        fn meta_mut(&mut self) -> &mut ObjectMeta {
            &mut self.metadata
        }
    }

    #[test]
    fn a_mistyped_field_is_named_as_the_decoder_of_kubernetes_names_it() {
        let row = Resource::plain::<Deployment>();
        let container = |field: &str, value| {
            let mut container = json!({"name": "c"});
            container[field] = value;
            json!({"spec": {"selector": {}, "template": {"spec": {"containers": [container]}}}})
        };
        for (mut object, says) in [
            (
                json!({"spec": {"replicas": "three"}}),
                "string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"replicas": 1.5}}),
                "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"paused": 1}}),
                "number into Go struct field DeploymentSpec.spec.paused of type bool",
            ),
            (json!({"spec": [1]}), "array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
            (
                json!({"metadata": {"labels": {"a": 5}}}),
                "number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({"metadata": {"labels": true}}),
                "bool into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (
                container("command", json!("sh")),
                "string into Go struct field Container.spec.template.spec.containers.command of type []string",
            ),
            (
                container("command", json!([5])),
                "number into Go struct field Container.spec.template.spec.containers.command of type string",
            ),
            (
                container("ports", json!({})),
                "object into Go struct field Container.spec.template.spec.containers.ports of type []v1.ContainerPort",
            ),
            (
                container("ports", json!([{"containerPort": "80"}])),
                "string into Go struct field ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
            ),
        ] {
            let Err(message) = row.rules.check(&mut object) else { panic!("{object} is taken") };
            assert_eq!(message, format!("json: cannot unmarshal {says}"), "{object}");
        }
    }
}
