mod bombs;
mod properties;

use serde_json::{Value, json};

use super::*;
use crate::api::field::{Errors, Path, Shown};

fn schema(document: &Value) -> Schema {
    Schema::read(document).unwrap()
}

/// What is wrong with a value.
fn faults(document: &Value, new: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = schema(document);
    let mut errors = Errors::new();
    schema.validate(new, old).say(&Path::root(), &mut errors);
    schema.check_embedded(new, &mut errors);
    check_lists(&schema, new, &mut errors);
    if let Some(rules) = RuleSet::compile(&schema) {
        rules.check(&schema, new, old, &mut errors);
    }
    errors.iter().map(ToString::to_string).collect()
}

fn of(property: Value) -> Value {
    json!({"type": "object", "properties": {"v": property}})
}

#[test]
fn values_are_refused_in_kubernetes_words() {
    for (property, value, expected) in [
        (
            json!({"type": "string"}),
            json!(5),
            "v: Invalid value: \"integer\": v in body must be of type string: \"integer\"",
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            "v: Invalid value: \"number\": v in body must be of type integer: \"number\"|<nil>: \
             Invalid value: \"\": Checked value must be of type integer (default format) in v",
        ),
        (json!({"type": "integer"}), json!(2.0), ""),
        (json!({"type": "number"}), json!(2), ""),
        (
            json!({"type": "string"}),
            json!(null),
            "v: Invalid value: \"null\": v in body must be of type string: \"null\"",
        ),
        (json!({"type": "string", "nullable": true}), json!(null), ""),
        (json!({"x-kubernetes-int-or-string": true}), json!("5%"), ""),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(5.5),
            "v: Invalid value: \"number\": v in body must be of type integer,string: \"number\"",
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("äöü"),
            "v: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "pattern": "^\\d+$"}),
            json!("٣"),
            "v: Invalid value: \"٣\": v in body should match '^\\d+$'",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "v: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (json!({"type": "integer", "enum": [1, 2]}), json!(1), ""),
        (
            json!({"type": "integer", "multipleOf": 2}),
            json!(3),
            "v: Invalid value: 3: v in body should be a multiple of 2",
        ),
        (json!({"type": "number", "multipleOf": 0.5}), json!(1.5), ""),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(1),
            "v: Invalid value: 0: factor MultipleOf declared for v must be positive: 0",
        ),
        (
            json!({"type": "number", "minimum": 0, "exclusiveMinimum": true}),
            json!(0),
            "v: Invalid value: 0: v in body should be greater than 0",
        ),
        (
            json!({"type": "number", "maximum": 1e21}),
            json!(2e21),
            "v: Invalid value: 2e+21: v in body should be less than or equal to 1e+21",
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(2_147_483_648_i64),
            "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in v",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            "v: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            json!(["a", "a", "a"]),
            "v[1]: Duplicate value: \"a\"",
        ),
        (
            json!({
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "j"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "j": {"type": "string"}}},
            }),
            json!([{"k": "a", "j": "b"}, {"k": "a"}, {"k": "a", "j": "b", "x": 1}]),
            "v[2]: Duplicate value: {\"j\":\"b\",\"k\":\"a\"}",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"a": "x"}),
            "v.a: Invalid value: \"string\": v.a in body must be of type integer: \"string\"",
        ),
        (json!({"type": "object", "required": ["r"]}), json!({}), "v.r: Required value"),
        (
            json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": 1, "b": 1}),
            "<nil>: Invalid value: \"\": \"v\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
        (
            json!({"type": "string", "not": {"enum": ["bad"]}}),
            json!("bad"),
            "<nil>: Invalid value: \"\": \"v\" must not validate the schema (not)",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("2020-01-01"),
            "v: Invalid value: \"2020-01-01\": v in body must be of type date-time: \"2020-01-01\"",
        ),
    ] {
        let found = faults(&of(property.clone()), &json!({"v": value}), None);
        let expected: Vec<String> =
            expected.split('|').filter(|text| !text.is_empty()).map(ToString::to_string).collect();
        assert_eq!(found, expected, "{property}");
    }
}

#[test]
fn alternatives_name_the_nearest() {
    let document = of(json!({
        "type": "object",
        "anyOf": [{"required": ["a"]}, {"properties": {"b": {"minimum": 5}}, "required": ["b", "c"]}],
    }));
    assert_eq!(
        faults(&document, &json!({"v": {"b": 7}}), None),
        [
            "<nil>: Invalid value: \"\": \"v\" must validate at least one schema (anyOf)",
            "v.c: Required value",
        ]
    );
}

#[test]
fn formats_are_those_of_kubernetes() {
    for (format, right, wrong) in [
        ("ipv4", "1.2.3.4", "1.2.3"),
        ("ipv6", "::1", "1.2.3.4"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ("mac", "00:00:5e:00:53:01", "00:00:5e:00:53"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("email", "A <a@example.com>", "a"),
        ("hostname", "example.com", "-example.com"),
        ("uri", "https://example.com/%20", "example.com"),
        ("byte", "YQ==", "!!"),
        ("date", "2020-02-29", "2021-02-29"),
        ("date-time", "2020-01-01T00:00:00Z", "2020-01-01T25:00:00Z"),
        ("duration", "1h30m", "5x"),
        ("duration", "3 days", "days"),
        ("isbn10", "0321751043", "0321751044"),
        ("isbn13", "978-0321751041", "978-0321751042"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("ssn", "111-11-1111", "111-11-111"),
        ("hexcolor", "#fff", "#ffff"),
        ("rgbcolor", "rgb(1, 2,255)", "rgb(1,2,256)"),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f1f77"),
        ("k8s-short-name", "a-b", "a.b"),
        ("k8s-long-name", "a.b", "a..b"),
        ("no-such-format", "anything", ""),
    ] {
        let document = of(json!({"type": "string", "format": format}));
        assert!(faults(&document, &json!({"v": right}), None).is_empty(), "{format}: {right}");
        assert_eq!(
            faults(&document, &json!({"v": wrong}), None).is_empty(),
            wrong.is_empty(),
            "{format}: {wrong}"
        );
    }
    let mut unknown = Vec::new();
    let document = of(json!({"type": "array", "items": {"type": "string", "format": "no-such"}}));
    unrecognized_formats(&schema(&document), &mut unknown);
    assert_eq!(unknown, ["no-such"]);
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let document = json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "properties": {
            "keep": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"in": {"type": "object", "properties": {"y": {"type": "string"}}}},
            },
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"x": {"type": "string"}}},
        },
    }}});
    let mut object = json!({
        "apiVersion": "a/v1", "kind": "A", "metadata": {"anything": 1}, "extra": 1,
        "spec": {
            "zz": 1, "keep": {"x": 1, "in": {"y": "1", "z": 2}}, "map": {"m": {"a": "1", "b": 1}},
            "list": [{"k": "1", "drop": 1}], "embedded": {"kind": "K", "metadata": {"name": "n", "nosuch": 1}, "q": 1},
        },
    });
    let schema = schema(&document);
    assert_eq!(schema.coerce_embedded(&mut object).unwrap(), ["spec.embedded.metadata.nosuch"]);
    assert_eq!(
        schema.prune(&mut object),
        ["extra", "spec.embedded.q", "spec.keep.in.z", "spec.list[0].drop", "spec.map.m.b", "spec.zz"]
    );
    assert_eq!(
        object,
        json!({
            "apiVersion": "a/v1", "kind": "A", "metadata": {"anything": 1},
            "spec": {
                "keep": {"x": 1, "in": {"y": "1"}}, "map": {"m": {"a": "1"}}, "list": [{"k": "1"}],
                "embedded": {"kind": "K", "metadata": {"name": "n"}},
            },
        })
    );
}

#[test]
fn defaults_fill_what_is_missing() {
    let document = json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "A"},
        "o": {"type": "object", "default": {}, "properties": {"p": {"type": "string", "default": "P"}}},
        "o2": {"type": "object", "properties": {"p": {"type": "string", "default": "P2"}}},
        "n": {"type": "string", "nullable": true, "default": "N"},
        "plain": {"type": "string"},
        "l": {"type": "array", "items": {"type": "object", "properties": {"v": {"type": "string", "default": "V"}}}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
    }});
    let schema = schema(&document);
    for (given, expected) in [
        (json!({}), json!({"a": "A", "o": {"p": "P"}, "n": "N"})),
        (
            json!({"a": null, "n": null, "plain": null, "o2": {}, "l": [{}], "m": {"x": null}}),
            json!({"a": "A", "o": {"p": "P"}, "n": null, "o2": {"p": "P2"}, "l": [{"v": "V"}], "m": {}}),
        ),
    ] {
        let mut object = given;
        schema.fill_in(&mut object);
        assert_eq!(object, expected);
        schema.fill_in(&mut object);
        assert_eq!(object, expected, "it is idempotent");
    }
}

/// What is wrong with a schema.
fn wrong(document: &Value) -> Vec<String> {
    let (path, mut errors) = (Path::new("s"), Errors::new());
    check_structure(document, &path, &mut errors);
    if errors.is_empty() {
        check_defaults(&schema(document), &path, &mut errors);
    }
    check_properties(document, Checked { types: true }, &path, &mut errors);
    if errors.is_empty() {
        check_rules(
            &schema(document),
            document,
            &path,
            &|rule| Shown::from(rule["rule"].clone()),
            &mut errors,
        );
    }
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn schemas_are_refused_in_kubernetes_words() {
    let rule = |rule: &str| of(json!({"type": "string", "x-kubernetes-validations": [{"rule": rule}]}));
    for (document, expected) in [
        (json!({"properties": {}}), vec!["s.type: Required value: must not be empty at the root"]),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            vec!["s.additionalProperties: Forbidden: must not be used at the root"],
        ),
        (of(json!({"type": "array"})), vec!["s.properties[v].items: Required value: must be specified"]),
        (
            of(json!({"oneOf": [{"type": "string"}]})),
            vec![
                "s.properties[v].oneOf[0].type: Forbidden: must be empty to be structural",
                "s.properties[v].type: Required value: must not be empty for specified object fields",
            ],
        ),
        (
            of(
                json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            vec![],
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"q": {"minimum": 1}}}]}),
            vec!["s.properties[q]: Required value: because it is defined in s.anyOf[0].properties[q]"],
        ),
        (
            of(json!({"type": "string", "pattern": "("})),
            vec![
                "s.properties[v].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing \
             regexp: missing closing ): `(`",
            ],
        ),
        (
            of(json!({"type": "integer", "default": "seven"})),
            vec![
                "s.properties[v].default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
            ],
        ),
        (
            of(json!({"type": "object", "default": {"x": 1}})),
            vec!["s.properties[v].default: Invalid value: {\"x\":1}: must not have unknown fields"],
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "required": ["x"]}}}),
            vec![
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata \
             is implicitly specified",
            ],
        ),
        (of(json!({"$ref": "#/x"})), vec!["s.properties[v].$ref: Forbidden: $ref is not supported"]),
        (
            rule(""),
            vec!["s.properties[v].x-kubernetes-validations[0].rule: Required value: rule is not specified"],
        ),
        (
            rule("self"),
            vec![
                "s.properties[v].x-kubernetes-validations[0].rule: Invalid value: \"self\": cel expression must evaluate to a \
             bool",
            ],
        ),
        (rule("self == oldSelf"), vec![]),
        (
            of(json!({"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 10},
                "x-kubernetes-validations": [
                    {"rule": "self.all(x, x.startsWith('a'))", "messageExpression": "'got ' + self.join(',')"},
                ],
            })),
            vec![],
        ),
        (
            of(json!({"type": "array", "maxItems": 2, "items": {
                "type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}],
            }})),
            vec![
                "s.properties[v].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf \
                 cannot be used on the uncorrelatable portion of the schema within s.properties[v]",
            ],
        ),
        (
            of(
                json!({"type": "string", "x-kubernetes-validations": [{"rule": "self != ''", "optionalOldSelf": true}]}),
            ),
            vec![
                "s.properties[v].x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if \
                 oldSelf is not used in rule",
            ],
        ),
    ] {
        assert_eq!(wrong(&document), expected, "{document}");
    }
}

#[test]
fn rules_hold_for_changes_as_for_what_is_new() {
    let document = json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "name": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "name is immutable"},
            ]},
            "short": {"type": "string", "x-kubernetes-validations": [{
                "rule": "self.size() < 3", "messageExpression": "'too long: ' + self", "reason": "FieldValueForbidden",
            }]},
            "once": {"type": "string", "x-kubernetes-validations": [{
                "rule": "!oldSelf.hasValue() || oldSelf.value() == self", "optionalOldSelf": true,
            }]},
            "items": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {
                    "k": {"type": "string"},
                    "v": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
                }},
            },
        },
        "x-kubernetes-validations": [
            {"rule": "!has(self.min) || !has(self.max) || self.min <= self.max", "message": "min above max", "fieldPath": ".min"},
        ],
    }}});
    let spec =
        |spec: Value| json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "n"}, "spec": spec});
    for (new, old, expected) in [
        (json!({"min": 2, "max": 1}), None, vec!["spec.min: Invalid value: min above max"]),
        (json!({"min": 1, "max": 2, "name": "a"}), None, vec![]),
        (
            json!({"name": "b"}),
            Some(json!({"name": "a"})),
            vec!["spec.name: Invalid value: \"b\": name is immutable"],
        ),
        (json!({"short": "abc"}), None, vec!["spec.short: Forbidden: too long: abc"]),
        // What was wrong before and has not changed is let be.
        (json!({"short": "abc", "name": "a"}), Some(json!({"short": "abc", "name": "a"})), vec![]),
        (
            json!({"once": "b"}),
            Some(json!({"once": "a"})),
            vec![
                "spec.once: Invalid value: \"b\": failed rule: !oldSelf.hasValue() || oldSelf.value() == self",
            ],
        ),
        (json!({"once": "b"}), Some(json!({})), vec![]),
        (
            json!({"items": [{"k": "2", "v": "y"}, {"k": "1", "v": "z"}]}),
            Some(json!({"items": [{"k": "1", "v": "x"}, {"k": "2", "v": "y"}]})),
            vec!["spec.items[1].v: Invalid value: \"z\": failed rule: self == oldSelf"],
        ),
    ] {
        let found = faults(&document, &spec(new.clone()), old.map(spec).as_ref());
        assert_eq!(found, expected, "{new}");
    }
}

#[test]
fn what_was_allowed_once_stays_as_long_as_it_is_not_changed() {
    let document = of(
        json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "string"}}}),
    );
    let (old, new) = (json!({"v": {"a": "long"}}), json!({"v": {"a": "long", "b": "x"}}));
    assert!(faults(&document, &new, Some(&old)).is_empty());
    assert_eq!(
        faults(&document, &json!({"v": {"a": "other"}}), Some(&old)),
        ["v.a: Too long: may not be more than 1 byte"]
    );
}

#[test]
fn a_schema_that_is_nested_too_deep_is_refused() {
    let mut document = json!({"type": "object"});
    for _ in 0..MAX_DEPTH + 2 {
        document = json!({"type": "object", "properties": {"a": document}});
    }
    assert_eq!(Schema::read(&document).unwrap_err(), Unreadable::TooDeep);
    assert_eq!(Schema::read(&json!(5)).unwrap_err(), Unreadable::NoObject);
}

#[test]
fn patterns_are_read_as_go_reads_them() {
    for (pattern, text, matches) in [
        ("^\\w+$", "ä", false),
        ("^[\\w.-]+$", "a.b-c", true),
        ("^[[:alpha:]]+$", "abc", true),
        ("^[[:alpha:]]+$", "ab1", false),
        ("^[]a]+$", "]a", true),
        ("^[a&&b~]+$", "&&~", true),
        ("\\bfoo\\b", "a foo b", true),
        ("(?i)^ABC$", "abc", true),
        ("^\\p{L}+$", "äö", true),
        ("^[^\\s]+$", "a b", false),
    ] {
        assert_eq!(Pattern::new(pattern).matches(text), Some(matches), "{pattern}");
    }
    assert_eq!(Pattern::new("(").matches("x"), None);
    // One that would take more room than it may is none.
    assert_eq!(Pattern::new("(((a{100}){100}){100}){100}").matches("x"), None);
}
