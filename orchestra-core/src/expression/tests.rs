mod faults;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The value of an expression over an object, as JSON, or why it has none.
fn value(text: &str, object: &Value) -> Result<Value, String> {
    let program = Environment::new().variable("object").compile(text).map_err(|error| error.to_string())?;
    let outcome = program.evaluate(&[Val::json(object)], &mut Budget::new(Budget::CALL));
    outcome.and_then(|value| value.to_json()).map_err(|error| error.to_string())
}

fn object() -> Value {
    json!({
        "metadata": {"name": "abc", "labels": {"a.b/c": "v"}},
        "spec": {"replicas": 3, "ratio": 1.5, "names": ["x", "y", "z"], "ports": [{"name": "http", "port": 80}], "none": null},
    })
}

#[test]
fn expressions_have_the_values_that_cel_gives_them() {
    for (text, expected) in [
        // Literals and operators.
        ("1 + 2 * 3 - 4 / 2", json!(5)),
        ("7 % 4 == 3 && -7 % 4 == -3", json!(true)),
        ("0x1F + 1", json!(32)),
        ("1u + 2u == 3u", json!(true)),
        ("1.5 * 2.0", json!(3.0)),
        ("-9223372036854775808 < 0", json!(true)),
        ("'a' + \"b\" + r'\\n' + '''c'''", json!("ab\\nc")),
        ("'\\u00e4\\x41\\101\\t'", json!("äAA\t")),
        ("b'ab' == bytes('ab')", json!(true)),
        ("[1, 2] + [3] == [1, 2, 3]", json!(true)),
        ("{'a': 1, 'b': 2}['b']", json!(2)),
        ("1 < 2.5 && 2.5 > 1 && 1u <= 1", json!(true)),
        ("true ? 'yes' : 'no'", json!("yes")),
        ("!(1 == 2) && 1 != 2", json!(true)),
        ("null == null", json!(true)),
        ("dyn('a') == dyn(1)", json!(false)),
        ("dyn(1) == dyn(1.0)", json!(true)),
        // What decides is enough.
        ("true || object.nothing", json!(true)),
        ("object.nothing || true", json!(true)),
        ("false && object.nothing", json!(false)),
        ("object.nothing == 1 && false", json!(false)),
        // Fields.
        ("object.spec.replicas", json!(3)),
        ("object['spec']['ratio']", json!(1.5)),
        ("object.metadata.labels['a.b/c']", json!("v")),
        ("has(object.spec.replicas) && !has(object.spec.nothing)", json!(true)),
        ("object.spec.none == null", json!(true)),
        ("object.?spec.?nothing.orValue('d')", json!("d")),
        ("object.?spec.?replicas.value()", json!(3)),
        ("object.spec.?nothing.hasValue()", json!(false)),
        ("object.spec.names[?7].orValue('d')", json!("d")),
        ("optional.of(3).optMap(x, x + 1).value()", json!(4)),
        ("optional.none().or(optional.of(1)).value()", json!(1)),
        ("[?object.spec.?nothing, dyn(1)] == [1]", json!(true)),
        ("{?'a': object.spec.?nothing, 'b': dyn(1)} == {'b': 1}", json!(true)),
        // Loops.
        ("object.spec.names.all(n, n.size() == 1)", json!(true)),
        ("object.spec.names.exists(n, n == 'y')", json!(true)),
        ("object.spec.names.exists_one(n, n > 'x')", json!(false)),
        ("object.spec.names.map(n, n + n)", json!(["xx", "yy", "zz"])),
        ("object.spec.names.map(n, n != 'y', n + n)", json!(["xx", "zz"])),
        ("object.spec.names.filter(n, n != 'y')", json!(["x", "z"])),
        ("object.metadata.labels.all(k, k.startsWith('a'))", json!(true)),
        ("object.metadata.labels.exists(k, v, k == 'a.b/c' && v == 'v')", json!(true)),
        ("[1, 2].transformList(i, v, i * 10 + v)", json!([1, 12])),
        ("{'a': 1}.transformMap(k, v, v + 1)", json!({"a": 2})),
        ("[3, 1, 2].sortBy(x, -x)", json!([3, 2, 1])),
        ("[1, 2].all(x, [3, 4].all(y, x < y))", json!(true)),
        ("'y' in object.spec.names && 'a.b/c' in object.metadata.labels", json!(true)),
        // Text.
        ("'abc'.contains('b') && 'abc'.endsWith('c')", json!(true)),
        ("'abc'.matches('^a.c$') && !'abc'.matches('^b')", json!(true)),
        ("'tacocat'.charAt(3) + 'tacocat'.substring(1, 3)", json!("oac")),
        ("'tacocat'.indexOf('c') + 'tacocat'.lastIndexOf('c')", json!(6)),
        ("'a,b,c'.split(',').join('-')", json!("a-b-c")),
        ("'a,b,c'.split(',', 2)", json!(["a", "b,c"])),
        ("' aB '.trim().upperAscii() + 'Cd'.lowerAscii()", json!("ABcd")),
        ("'hello hello'.replace('he', 'we', 1)", json!("wello hello")),
        (
            "'%s has %d, %.2f, %x and %s'.format(['a', 2, 1.005, 255, [1, 'b']])",
            json!("a has 2, 1.00, ff and [1, b]"),
        ),
        ("'abc 123'.find('[0-9]+')", json!("123")),
        ("'123 abc 456'.findAll('[0-9]+', 1)", json!(["123"])),
        ("[1, 2].reverse()", json!([2, 1])),
        ("[1, 2].first().value() + [1, 2].last().value()", json!(3)),
        ("size('äöü') == 3 && size([1]) == 1 && size({'a': 1}) == 1", json!(true)),
        ("string(1) + string(true) + string(1.5)", json!("1true1.5")),
        ("int('12') + int(1.9) + int(3u)", json!(16)),
        ("double('1.5') + double(1)", json!(2.5)),
        ("type(1) == int && type('a') == string", json!(true)),
        // Lists.
        ("[1, 2, 3].isSorted() && ![2, 1].isSorted()", json!(true)),
        ("[1, 2, 3].sum() + [4, 5].max() + [4, 5].min()", json!(15)),
        ("['a', 'b', 'a'].indexOf('b') + ['a', 'b', 'a'].lastIndexOf('a')", json!(3)),
        (
            "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2])",
            json!(true),
        ),
        ("[[1], [2, 3]].flatten().size() == 3 && [1, 1, 2].distinct().size() == 2", json!(true)),
        // Time.
        ("duration('1h30m') == duration('90m')", json!(true)),
        (
            "timestamp('2020-01-01T00:00:00Z') + duration('24h') == timestamp('2020-01-02T00:00:00Z')",
            json!(true),
        ),
        (
            "timestamp('2020-02-03T04:05:06Z').getFullYear() + timestamp('2020-02-03T04:05:06Z').getMonth()",
            json!(2021),
        ),
        ("timestamp('2020-01-01T23:00:00Z').getHours('+02:00')", json!(1)),
        ("duration('90m').getMinutes()", json!(90)),
        // Kubernetes' libraries.
        (
            "quantity('1Gi').isGreaterThan(quantity('1M')) && isQuantity('5m') && !isQuantity('x')",
            json!(true),
        ),
        ("quantity('1').add(quantity('500m')).compareTo(quantity('1500m'))", json!(0)),
        ("quantity('2k').asInteger() + quantity('-1').sign()", json!(1999)),
        ("url('https://user@example.com:8080/a/b?q=1&q=2').getHost()", json!("example.com:8080")),
        (
            "url('https://example.com:8080/a').getPort() + url('https://[::1]:80/').getHostname()",
            json!("8080::1"),
        ),
        ("url('https://e.com/a?q=1&q=2').getQuery()", json!({"q": ["1", "2"]})),
        ("isURL('/abc') && !isURL('abc def')", json!(true)),
        ("ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('1.2.3')", json!(true)),
        ("ip.isCanonical('127.0.0.1') && ip('127.0.0.1').isLoopback()", json!(true)),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.1.1.1'))",
            json!(true),
        ),
        (
            "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked().prefixLength() == 8",
            json!(true),
        ),
        ("string(cidr('10.1.2.3/8').masked().ip())", json!("10.0.0.0")),
        (
            "format.dns1123Label().validate('a-b').hasValue() || !format.named('uuid').hasValue()",
            json!(false),
        ),
        (
            "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))",
            json!(true),
        ),
        ("isSemver('v1.0', true) && !isSemver('v1.0')", json!(true)),
    ] {
        assert_eq!(value(text, &object()), Ok(expected), "{text}");
    }
}

#[test]
fn what_has_no_value_says_why() {
    for (text, why) in [
        ("object.nothing", "no such key: nothing"),
        ("object.spec.names[7]", "index out of bounds: 7"),
        ("1 / (object.spec.replicas - 3)", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("object.spec.replicas.size() == 1", "no such overload"),
        ("object.spec.replicas && true", "no such overload"),
        ("optional.none().value()", "optional.none() dereference"),
        ("{'a': 1, 'a': 2}", "Failed with repeated key: a"),
        ("duration('x')", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        (
            "quantity('zz')",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(value(text, &object()), Err(why.to_owned()), "{text}");
    }
}

fn declared(kind: DeclaredKind, most: u64) -> Arc<Declared> {
    Arc::new(Declared { kind, most, least_bytes: 2 })
}

fn field(name: &str, of: &Arc<Declared>) -> (Arc<str>, DeclaredField) {
    (escape(name).unwrap().into(), DeclaredField { name: name.into(), of: Arc::clone(of) })
}

fn schema() -> Arc<Declared> {
    let text = declared(DeclaredKind::String, 3_145_726);
    let list = declared(DeclaredKind::List(Arc::clone(&text), Elements::InOrder), 1_048_574);
    let set = declared(DeclaredKind::List(Arc::clone(&text), Elements::Set), 10);
    let (float, whole) = (declared(DeclaredKind::Double, 1), declared(DeclaredKind::Int, 1));
    let fields = BTreeMap::from([
        field("a", &text),
        field("l", &list),
        field("s", &set),
        field("f", &float),
        field("n", &whole),
        field("in", &text),
        field("if", &text),
        field("x-y.z", &text),
        field("when", &declared(DeclaredKind::Timestamp, 32)),
    ]);
    declared(DeclaredKind::Object(fields), 1)
}

#[test]
fn what_does_not_fit_is_said_with_its_place() {
    let environment = Environment::new().declared("self", &schema());
    let pointed = |message: &str, text: &str, column: usize| {
        format!("ERROR: <input>:1:{}: {message}\n | {text}\n | {}^", column + 1, ".".repeat(column))
    };
    for (text, message, column) in [
        ("self.nosuch == 1", "undefined field 'nosuch'", 4),
        ("nosuch == 1", "undeclared reference to 'nosuch' (in container '')", 0),
        ("self.a.matches(\"(\")", "invalid matches argument", 15),
        ("self.a == 1", "found no matching overload for '_==_' applied to '(string, int)'", 7),
        ("self.a + 1 == 'b'", "found no matching overload for '_+_' applied to '(string, int)'", 7),
        ("size(1) == 1", "found no matching overload for 'size' applied to '(int)'", 4),
        ("self.a.nosuch()", "undeclared reference to 'nosuch' (in container '')", 13),
        ("has(self)", "invalid argument to has() macro", 4),
        (
            "self.a ==",
            "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', \
             NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            9,
        ),
    ] {
        assert_eq!(environment.compile(text).unwrap_err().to_string(), pointed(message, text, column));
    }
}

#[test]
fn declared_values_are_what_they_are_declared_as() {
    let schema = schema();
    let environment = Environment::new().declared("self", &schema).optional("old", &schema);
    let holds = |text: &str, object: &Value, old: Option<&Value>| {
        let program = environment.compile(text).unwrap();
        let before = old.map(|old| std::rc::Rc::new(Val::declared(old, Some(&schema))));
        let variables = [Val::declared(object, Some(&schema)), Val::Optional(before)];
        program.evaluate(&variables, &mut Budget::new(Budget::CALL)).map(|value| value.as_bool())
    };
    let object = json!({
        "a": "t", "f": 1, "n": 2, "in": "i", "if": "k", "x-y.z": "q", "s": ["a", "b"], "when": "2020-01-01T00:00:00Z",
    });
    for text in [
        "self.f == 1.0 && self.f < 1.5",
        "self.n + 1 == 3",
        "self.__in__ == 'i' && self.x__dash__y__dot__z == 'q'",
        // A word that may be no variable may be a field.
        "self.if == 'k' && self.__if__ == 'k' && has(self.if)",
        "self.when.getFullYear() == 2020",
        "self.s == ['b', 'a'] && self.s != ['b', 'c']",
        "!has(self.l) && !old.hasValue()",
        "old.optMap(o, o.a).orValue('none') == 'none'",
    ] {
        assert_eq!(holds(text, &object, None), Ok(Some(true)), "{text}");
    }
    assert_eq!(holds("old.a.value() == self.a", &object, Some(&json!({"a": "t"}))), Ok(Some(true)));
}

#[test]
fn costs_are_estimated_and_counted() {
    let environment = Environment::new().declared("self", &schema());
    let most = |text: &str| environment.compile(text).unwrap().most_cost();
    // Kubernetes' own limit lets the first of these pass, and refuses the second by far.
    assert!((1_000_000..10_000_000).contains(&most("self.l.all(x, x == \"a\")")));
    assert!(most("self.l.all(x, self.l.all(y, x != y))") > 1_000_000_000);
    assert!(most("self.n < 5") < 10);
    // What costs too much ends, whatever is in the way.
    let numbers: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    let list = format!("[{}]", numbers.join(","));
    let bomb = format!("{list}.all(x, {list}.all(y, {list}.all(z, x + y + z >= 0) || true))");
    let program = Environment::new().compile(&bomb).unwrap();
    let mut budget = Budget::new(Budget::CALL);
    assert_eq!(program.evaluate(&[], &mut budget).map(|_| ()), Err(EvalError::TooExpensive));
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    for deep in [
        format!("{}1{}", "(".repeat(1000), ")".repeat(1000)),
        format!("{}1", "-".repeat(1000)),
        format!("{}true", "!".repeat(1000)),
        format!("{}{}", "[".repeat(1000), "]".repeat(1000)),
        format!("a{}", ".a".repeat(1000)),
        format!("1{}", "+1".repeat(1000)),
    ] {
        let error = Environment::new().compile(&deep).unwrap_err().to_string();
        assert!(error.contains("max recursion depth exceeded"), "{error}");
    }
    // A long chain of conditions is not deep.
    let chain = vec!["true"; 2000].join(" && ");
    assert!(Environment::new().compile(&chain).is_ok());
}

#[test]
fn every_function_can_be_called_with_anything() {
    let values = ["1", "1u", "1.5", "'a'", "b'a'", "true", "null", "[1]", "{'a': 1}", "dyn('x')"];
    for (name, member) in library::names() {
        for value in values {
            for text in [
                format!("{name}({value})"),
                format!("{name}({value}, {value})"),
                format!("{name}({value}, {value}, {value})"),
            ] {
                let text = if member {
                    format!("dyn({value}).{}", text.replacen(&format!("{value}, "), "", 1))
                } else {
                    text
                };
                // No answer is wrong, as long as there is one.
                if let Ok(program) = Environment::new().compile(&text) {
                    let _ =
                        program.evaluate(&[], &mut Budget::new(Budget::CALL)).map(|value| value.to_json());
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[ -~]{0,60}") {
        if let Ok(program) = Environment::new().variable("object").compile(&text) {
            let object = object();
            let _ = program.evaluate(&[Val::json(&object)], &mut Budget::new(10_000)).map(|value| value.to_json());
        }
    }

    #[test]
    fn parts_of_expressions_in_any_order_make_none_panic(
        parts in prop::collection::vec(prop::sample::select(vec![
            "object", ".spec", ".names", "[", "]", "(", ")", "{", "}", "'a'", "1", "-", "+", "&&", "||", "?", ":", ",",
            ".all", "x", "has", "in", "==", "!", ".?a", ".map", ".size()", "1.5", "null",
        ]), 0..24)
    ) {
        let text = parts.join(" ");
        if let Ok(program) = Environment::new().variable("object").compile(&text) {
            let object = object();
            let _ = program.evaluate(&[Val::json(&object)], &mut Budget::new(10_000)).map(|value| value.to_json());
        }
    }

    #[test]
    fn sizes_of_text_are_those_of_its_characters(text in "\\PC{0,20}") {
        let object = json!({"t": text});
        prop_assert_eq!(value("object.t.size()", &object), Ok(json!(text.chars().count())));
        prop_assert_eq!(value("object.t.substring(0) == object.t", &object), Ok(json!(true)));
    }
}

#[test]
fn variables_have_scopes_and_those_without_a_value_fail_when_they_are_asked_for() {
    let environment =
        Environment::new().variable("object").scope("variables").typed("variables.a", Type::Int);
    let program = environment.compile("variables.a + 1").unwrap();
    assert!(program.uses("variables.a") && !program.uses("object"));
    let run = |value| {
        let values = vec![Ok(Val::Null), Ok(Val::Null), value];
        let outcome = program.evaluate_with(values, &mut Budget::new(Budget::CALL));
        outcome.and_then(|value| value.to_json()).map_err(|error| error.to_string())
    };
    assert_eq!(run(Ok(Val::Int(1))), Ok(json!(2)));
    assert_eq!(run(Err(EvalError::Failed("why".to_owned()))), Err("why".to_owned()));
    // What an environment gets later is no matter to what was compiled before.
    let earlier =
        Environment::new().variable("object").compile("[1, 2].all(x, x > 0 && object == null)").unwrap();
    let values = vec![Ok(Val::Null), Ok(Val::Int(7)), Ok(Val::Int(7))];
    let outcome = earlier.evaluate_with(values, &mut Budget::new(Budget::CALL)).unwrap();
    assert_eq!(outcome.as_bool(), Some(true));
    for (text, why) in [
        ("variables.b", "undefined field 'b'"),
        ("variables.a == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("variables", "undeclared reference to 'variables' (in container '')"),
    ] {
        let error = environment.compile(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    let none = Environment::new().compile("variables.b").unwrap_err().to_string();
    assert!(none.contains("<input>:1:1: undeclared reference to 'variables'"), "{none}");
}

#[test]
fn objects_are_made_of_the_types_that_there_are() {
    let fields = vec![("op".into(), Type::String), ("value".into(), Type::Dyn)];
    let environment = Environment::new()
        .variable("object")
        .made(MadeType::Open("Object".into()))
        .made(MadeType::Closed("JSONPatch".into(), fields));
    for (text, ty, expected) in [
        (
            "Object{spec: Object.spec{replicas: 1, ?none: optional.none()}}",
            "Object",
            json!({"spec": {"replicas": 1}}),
        ),
        ("[JSONPatch{op: 'add', value: [1]}]", "list(JSONPatch)", json!([{"op": "add", "value": [1]}])),
        ("Object{}", "Object", json!({})),
        ("Object{spec: Object.spec{a: 2}}.spec.a == 2", "bool", json!(true)),
    ] {
        let program = environment.compile(text).unwrap();
        assert_eq!(program.output().to_string(), ty, "{text}");
        let value = program.evaluate(&[Val::Null], &mut Budget::new(Budget::CALL)).unwrap();
        assert_eq!(value.to_json().unwrap(), expected, "{text}");
    }
    for (text, why) in [
        ("Object{nosuch: 1", "<input>:1:17: Syntax error: mismatched input '<EOF>' expecting {'}', ','}"),
        (
            "JSONPatch{path: 'x'}",
            "<input>:1:15: expected type of field 'path' is '' but provided type is 'string'",
        ),
        ("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("Other{}", "undeclared reference to 'Other' (in container '')"),
    ] {
        let error = environment.compile(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn what_is_asked_of_an_authorizer_is_found_out_between_two_evaluations() {
    let environment = Environment::new().typed("authorizer", Type::Opaque(Opaque::Authorizer));
    let text = "false || authorizer.serviceAccount('n', 'a').group('apps').resource('deployments').namespace('n')\
                .subresource('scale').name('d').check('update').allowed()";
    let program = environment.compile(text).unwrap();
    let known = KnownDecisions::default();
    let run = || program.evaluate(&[Val::authorizer(&known)], &mut Budget::new(Budget::CALL));
    let Err(EvalError::Unknown(check)) = run() else { panic!("it is not known yet") };
    assert_eq!(
        (&*check.group, &*check.resource, &*check.subresource, &*check.namespace, &*check.name, &*check.verb),
        ("apps", "deployments", "scale", "n", "d", "update")
    );
    assert_eq!(check.service_account, Some(("n".to_owned(), "a".to_owned())));
    known.borrow_mut().insert(*check, AccessDecision { allowed: true, reason: String::new() });
    assert_eq!(run().unwrap().as_bool(), Some(true));
    // Three checks cost more than one expression may.
    let path = "authorizer.path('/x').check('get').allowed()";
    let dear = environment.compile(&[path; 3].join(" || ")).unwrap();
    let check = AccessCheck { path: Some("/x".to_owned()), verb: "get".to_owned(), ..AccessCheck::default() };
    known.borrow_mut().insert(check, AccessDecision::default());
    let outcome = dear.evaluate(&[Val::authorizer(&known)], &mut Budget::new(Budget::CALL));
    assert!(matches!(outcome, Err(EvalError::TooExpensive)));
    assert!(environment.compile("authorizer.check('get')").is_err());
}
