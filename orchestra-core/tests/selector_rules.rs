//! The rules of selectors as Kubernetes documents and tests them, one by one, with their odd corners.

use orchestra_core::k8s_openapi::api::core::v1 as core;
use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement,
};
use orchestra_core::selector::{
    FieldSelector, Interned, LabelIndex, LabelSet, Labels, NodeSelector, NodeSelectorTerm, Operator,
    Requirement, Selector, SelectorIndex, key_faults, selector, value_faults,
};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn parsed(text: &str) -> Selector {
    Selector::parse(text).unwrap_or_else(|error| panic!("{}", error.point_in(text)))
}

/// Matches in both ways, which must agree.
fn matches(text: &str, labels: &Labels) -> bool {
    let selector = parsed(text);
    assert_eq!(selector.matches(labels), selector.compile().matches(&LabelSet::new(labels)), "{text}");
    selector.matches(labels)
}

#[test]
fn operators_and_absent_keys() {
    let pod = labels(&[("app", "web"), ("empty", ""), ("n", "7"), ("zeros", "007"), ("word", "seven")]);
    let yes = [
        "",
        "app",
        "!nope",
        "app=web",
        "app==web",
        "app!=db",
        "nope!=web",
        "app in (web,db)",
        "app notin (db)",
        "nope notin (web)",
        "empty",
        "empty=",
        "empty==",
        "empty in ()",
        "app!=",
        "nope!=",
        "n>6",
        "n<8",
        "zeros>6",
        "app=web,n>6,!nope",
        "app notin ()",
        "empty in (,x)",
    ];
    let no = [
        "nope",
        "!app",
        "app=db",
        "nope=web",
        "nope=",
        "app!=web",
        "app in (db)",
        "nope in (web)",
        "app notin (web)",
        "!empty",
        "empty!=",
        "app=",
        "n>7",
        "n<7",
        "nope>1",
        "nope<1",
        "word>1",
        "word<1",
        "empty<1",
        "n>9223372036854775807",
        "app=web,nope",
        "nope in ()",
    ];
    yes.iter().for_each(|text| assert!(matches(text, &pod), "{text}"));
    no.iter().for_each(|text| assert!(!matches(text, &pod), "{text}"));
}

#[test]
fn canonical_form() {
    let cases = [
        (" a = b ", "a=b"),
        ("a==b", "a=b"),
        ("! a", "!a"),
        ("!\ta , b", "!a,b"),
        ("b,a", "a,b"),
        ("x in (c, a,b,a)", "x in (a,b,c)"),
        ("x in (a)", "x in (a)"),
        ("x in ()", "x in ()"),
        ("x in (a,,b)", "x in (,a,b)"),
        ("x in (,)", "x in ()"),
        ("x in (a,)", "x in (,a)"),
        ("x notin (b,a),y!=,z=", "x notin (a,b),y!=,z="),
        ("in in (in,notin)", "in in (in,notin)"),
        ("notin notin (in)", "notin notin (in)"),
        ("in=notin", "in=notin"),
        ("a=1,a=1", "a=1"),
        ("a!=2,a!=1,a", "a,a!=1,a!=2"),
        ("a>1,a<5", "a>1,a<5"),
        ("a\r\n=\nb", "a=b"),
        ("example.com/a,!example.com/b", "example.com/a,!example.com/b"),
        ("", ""),
        ("  ", ""),
    ];
    for (text, canonical) in cases {
        assert_eq!(parsed(text).to_string(), canonical, "{text:?}");
        assert_eq!(parsed(canonical), parsed(text), "{text:?}");
    }
    assert_eq!(Selector::nothing().to_string(), "<none>");
    assert!(Selector::parse("<none>").is_err());
}

/// The API server's messages, and where each fault is.
#[test]
fn faults_and_their_positions() {
    let within = "unable to parse requirement: ";
    let operators = "expected: in, notin, =, ==, !=, gt, lt";
    let cases = [
        ("a,", 2, "found '', expected: identifier after ','".to_owned()),
        ("a,,b", 2, "found ',', expected: identifier after ','".to_owned()),
        (",a", 0, "found ',', expected: !, identifier, or 'end of string'".to_owned()),
        ("=a", 0, "found '=', expected: !, identifier, or 'end of string'".to_owned()),
        ("a b", 2, format!("{within}found 'b', {operators}")),
        ("a(b)", 1, format!("{within}found '(', {operators}")),
        ("!", 1, format!("{within}found '', expected: identifier")),
        ("!a=b", 2, "found '=', expected: ',' or 'end of string'".to_owned()),
        ("a=b c", 4, "found 'c', expected: ',' or 'end of string'".to_owned()),
        ("a=b=c", 3, "found '=', expected: ',' or 'end of string'".to_owned()),
        ("a===b", 3, format!("{within}found '=', expected: identifier")),
        ("a in b", 5, format!("{within}found 'b' expected: '('")),
        ("a in", 4, format!("{within}found '' expected: '('")),
        ("a in (", 6, format!("{within}found '', expected: ',', ')' or identifier")),
        ("a in (b", 7, format!("{within}found '', expected: ',' or ')'")),
        ("a in (b c)", 8, format!("{within}found 'c', expected: ',' or ')'")),
        ("a in (b,", 8, format!("{within}found '', expected: ',', or identifier")),
        ("a in (,,)", 8, format!("{within}found ')', expected: ',', or identifier")),
        ("a in (=)", 6, format!("{within}found '=', expected: ',', ')' or identifier")),
        (
            "a>x",
            2,
            format!(
                "{within}values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"
            ),
        ),
    ];
    for (text, position, message) in cases {
        let error = Selector::parse(text).expect_err(text);
        assert_eq!((error.position(), error.to_string()), (position, message), "{text:?}");
    }
}

#[test]
fn faults_of_keys_and_values() {
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let error = Selector::parse("ok,-a=b").expect_err("bad key");
    assert_eq!(
        error.to_string(),
        format!("unable to parse requirement: <nil>: Invalid value: \"-a\": {name}")
    );
    assert_eq!(error.position(), 3);

    let value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                 must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
                 regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    let error = Selector::parse("x in (a,bé)").expect_err("bad value");
    let prefix = "unable to parse requirement: values[1][x]: Invalid value: \"bé\": ";
    assert_eq!(error.to_string(), format!("{prefix}{value}"));
    assert_eq!(error.position(), 9);
    assert!(error.point_in("x in (a,bé)").ends_with("x in (a,bé)\n         ^"));

    assert_eq!(
        key_faults("").len(),
        2,
        "the API server reports both that it is empty and that it does not fit"
    );
    assert_eq!(key_faults("/a")[0].to_string(), "prefix part must be non-empty");
    assert_eq!(key_faults("a/")[0].to_string(), "name part must be non-empty");
    assert_eq!(key_faults("a/b/c")[0].position(), 3);
    assert!(key_faults("a/b/c")[0].to_string().starts_with("a valid label key must consist of"));
    assert!(
        key_faults("A.com/b")[0].to_string().starts_with("prefix part a lowercase RFC 1123 subdomain must")
    );
    assert_eq!(value_faults("-")[0].position(), 0);
    assert_eq!(value_faults("a.")[0].position(), 1);
}

#[test]
fn lengths() {
    let word = |length| "a".repeat(length);
    let prefix = |length: usize| format!("{}.{}", "b".repeat(63), "c".repeat(length - 64));
    assert!(
        key_faults(&word(63)).is_empty() && value_faults(&word(63)).is_empty() && value_faults("").is_empty()
    );
    assert_eq!(key_faults(&word(64))[0].to_string(), "name part must be no more than 63 bytes");
    assert_eq!(value_faults(&word(64))[0].to_string(), "must be no more than 63 bytes");
    assert!(key_faults(&format!("{}/{}", prefix(253), word(63))).is_empty());
    let long = key_faults(&format!("{}/a", prefix(254)));
    assert_eq!(long[0].to_string(), "prefix part must be no more than 253 bytes");
    assert!(Selector::parse(&format!("{}={}", word(63), word(63))).is_ok());
    assert_eq!(Selector::parse(&format!("a={}", word(64))).expect_err("long").position(), 65);
    for bad in ["a..b/c", ".a/c", "a./c", "-a/c", "a-/c", "a.-b/c", "a_b/c"] {
        assert!(!key_faults(bad).is_empty(), "{bad}");
    }
    for good in ["a.b/c", "a-b.c/D_e.f", "0/0", "a--b/c"] {
        assert!(key_faults(good).is_empty(), "{good}");
    }
}

#[test]
fn requirements_report_everything_that_is_wrong() {
    let none: [&str; 0] = [];
    let message = |key: &str, operator, values: &[&str]| {
        Requirement::new(key, operator, values.iter().copied()).expect_err("bad").to_string()
    };
    assert_eq!(
        message("a", Operator::In, &none),
        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
    );
    assert!(message("a", Operator::Exists, &["x"]).contains("values set must be empty for exists"));
    assert!(message("a", Operator::Equals, &["x", "y"]).contains("exact-match compatibility requires one"));
    assert!(message("a", Operator::LessThan, &["1", "2"]).contains("exactly one value is required"));
    let both = message("-", Operator::GreaterThan, &["x"]);
    assert!(
        both.starts_with("[key: Invalid value: \"-\": ") && both.contains("must be an integer"),
        "{both}"
    );
}

#[test]
fn selectors_inside_objects() {
    let convert = |selector: &LabelSelector| Selector::from_label_selector(Some(selector));
    assert!(Selector::from_label_selector(None).is_ok_and(|none| none.is_nothing()));
    assert!(convert(&LabelSelector::default()).is_ok_and(|empty| empty.is_everything()));
    assert!(Selector::from_map(&Labels::new()).is_everything());
    assert_eq!(Selector::from_map(&labels(&[("b", "2"), ("a", "1")])), parsed("a=1,b=2"));

    let expression = |key: &str, operator: &str, values: Option<&[&str]>| LabelSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: values.map(|values| values.iter().map(|value| (*value).to_owned()).collect()),
    };
    let selector = LabelSelector {
        match_labels: Some(labels(&[("app", "web")])),
        match_expressions: Some(vec![
            expression("tier", "In", Some(&["b", "a"])),
            expression("env", "NotIn", Some(&["dev"])),
            expression("zone", "Exists", None),
            expression("legacy", "DoesNotExist", None),
        ]),
    };
    assert_eq!(convert(&selector), Ok(parsed("app=web,tier in (a,b),env notin (dev),zone,!legacy")));
    let with = |expression| LabelSelector { match_labels: None, match_expressions: Some(vec![expression]) };
    let error = convert(&with(expression("a", "Gt", Some(&["1"])))).expect_err("no such operator");
    assert_eq!(error.to_string(), "\"Gt\" is not a valid label selector operator");
    assert!(convert(&with(expression("a", "In", None))).is_err());
}

#[test]
fn nothing_matches_nothing_and_everything_all() {
    let sets = [labels(&[]), labels(&[("a", "b")])];
    for set in &sets {
        assert!(!Selector::nothing().matches(set) && Selector::everything().matches(set));
        assert!(!Selector::nothing().compile().matches(&LabelSet::new(set)));
        assert!(Selector::everything().compile().matches(&LabelSet::new(set)));
    }
    assert!(!parsed("a=b,a=c").is_nothing() && !parsed("a=b,a=c").is_satisfiable());
}

#[test]
fn fields() {
    let field = |path: &str| match path {
        "metadata.name" => Some("web"),
        "odd" => Some("a,b=c\\d"),
        _ => None,
    };
    let yes = [
        "",
        ",",
        "=",
        "metadata.name=web,!=",
        "metadata.name=web",
        "metadata.name==web",
        "metadata.name!=db",
        "spec.nodeName=",
        "spec.nodeName!=x",
        "metadata.name=web,spec.nodeName=",
        "odd=a\\,b\\=c\\\\d",
    ];
    let no =
        ["metadata.name=db", "metadata.name!=web", "spec.nodeName=x", "spec.nodeName!=", "metadata.name="];
    let parse = |text: &str| FieldSelector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    yes.iter().for_each(|text| assert!(parse(text).matches(field), "{text}"));
    no.iter().for_each(|text| assert!(!parse(text).matches(field), "{text}"));
    for text in yes.iter().chain(&no) {
        assert_eq!(parse(&parse(text).to_string()), parse(text), "{text}");
    }
    assert_eq!(parse("b!=2,a==1").to_string(), "a=1,b!=2");
    assert_eq!(parse("a=1,b=2").required("b"), Some("2"));
    let error = |text| FieldSelector::parse(text).expect_err(text).to_string();
    assert_eq!(error("a=1,b"), "invalid selector: 'a=1,b'; can't understand 'b'");
    assert_eq!(error("a=b=c"), "invalid field selector: unescaped character in value: 61");
    assert_eq!(error("a=\\b"), "invalid field selector: invalid escape sequence: \\b");
}

#[test]
fn nodes() {
    let requirement = |key: &str, operator: &str, values: &[&str]| core::NodeSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
    };
    let term = |labels: Vec<_>, fields: Vec<_>| core::NodeSelectorTerm {
        match_expressions: (!labels.is_empty()).then_some(labels),
        match_fields: (!fields.is_empty()).then_some(fields),
    };
    let node = labels(&[("zone", "a"), ("cpus", "16"), ("gpu", "")]);
    let name = |path: &str| (path == "metadata.name").then_some("node-1");
    let selects = |terms: Vec<core::NodeSelectorTerm>| {
        let selector = core::NodeSelector { node_selector_terms: terms };
        let selector = NodeSelector::try_from(&selector).expect("good");
        let compiled = selector.compile().matches(&LabelSet::new(&node), name);
        assert_eq!(compiled, selector.matches(&node, name));
        compiled
    };
    assert!(!selects(vec![]), "no terms select no node");
    assert!(!selects(vec![term(vec![], vec![])]), "an empty term selects no node");
    assert!(selects(vec![term(vec![], vec![]), term(vec![requirement("gpu", "Exists", &[])], vec![])]));
    assert!(selects(vec![term(
        vec![requirement("cpus", "Gt", &["8"]), requirement("zone", "In", &["a", "b"])],
        vec![]
    )]));
    assert!(!selects(vec![term(vec![requirement("cpus", "Lt", &["16"])], vec![])]));
    assert!(selects(vec![term(
        vec![requirement("x", "NotIn", &["y"]), requirement("x", "DoesNotExist", &[])],
        vec![]
    )]));
    assert!(selects(vec![term(vec![], vec![requirement("metadata.name", "In", &["node-1"])])]));
    assert!(!selects(vec![term(
        vec![requirement("gpu", "Exists", &[])],
        vec![requirement("metadata.name", "NotIn", &["node-1"])]
    )]));
    for bad in [
        term(vec![requirement("a", "Near", &["b"])], vec![]),
        term(vec![], vec![requirement("metadata.name", "In", &["a", "b"])]),
        term(vec![], vec![requirement("metadata.name", "Exists", &[])]),
    ] {
        assert!(NodeSelectorTerm::try_from(&bad).is_err());
    }
}

#[test]
fn the_macro_gives_what_parsing_gives() {
    assert_eq!(selector!(), Selector::everything());
    assert_eq!(selector!(app), parsed("app"));
    assert_eq!(selector!(!"example.com/app"), parsed("!example.com/app"));
    assert_eq!(
        selector!(app == "web", tier in ["b", "a",], zone notin [""], env != "dev", n > 3, n < 1_000, !legacy,),
        parsed("app=web,tier in (a,b),zone notin (),env!=dev,n>3,n<1000,!legacy")
    );
    assert_eq!(selector!(r#in in ["in"]), parsed("in in (in)"));
}

#[test]
fn integers_between() {
    let unsatisfiable =
        ["a>5,a<6", "a<0", "a>9223372036854775807", "a=x,a>1", "!a,a", "a in (x,y),a notin (y,x)"];
    unsatisfiable.iter().for_each(|text| assert!(!parsed(text).is_satisfiable(), "{text}"));
    assert_eq!(parsed("a>5,a<7").example(), Some(labels(&[("a", "6")])));
    assert_eq!(
        parsed("a>5,a<7,a!=6").example(),
        Some(labels(&[("a", "06")])),
        "an integer has several spellings"
    );
    assert!(parsed("a>5").contains(&parsed("a>5,a<9")) && !parsed("a>5,a<9").contains(&parsed("a>5")));
    assert!(parsed("a").contains(&parsed("a>5")) && parsed("a!=x").contains(&parsed("a>5")));
    assert!(!parsed("a!=7").contains(&parsed("a>5")) && !parsed("a in (6)").contains(&parsed("a>5,a<7")));
}

#[test]
fn the_nearest_label() {
    let mut pods = LabelIndex::new();
    for number in 0..3 {
        pods.insert(
            ("default", format!("web-{number}")),
            &LabelSet::new(&labels(&[("app", "web"), ("tier", "front")])),
        );
    }
    pods.insert(("other", "api".to_owned()), &LabelSet::new(&labels(&[("app", "wbe2"), ("env", "prod")])));
    let nearest =
        |text: &str, namespace| pods.nearest(&parsed(text), namespace).map(|found| found.to_string());
    let said = |wanted: &str, found: &str| {
        Some(format!("nothing is labelled {wanted}; did you mean {found}, which selects 3 objects?"))
    };
    assert_eq!(nearest("app=wbe", Some("default")), said("app=wbe", "app=web"));
    assert_eq!(nearest("ap=web", Some("default")), said("ap=web", "app=web"));
    assert_eq!(nearest("tier=frnot,app=web", Some("default")), said("tier=frnot", "tier=front"));
    assert_eq!(nearest("teir", Some("default")), said("teir", "tier"));
    assert_eq!(nearest("app=web", Some("default")), None, "it selects something");
    assert_eq!(nearest("app=nginx", Some("default")), None, "nothing looks like it");
    assert_eq!(nearest("env=prd", Some("default")), None, "there is such a label only elsewhere");
    assert_eq!(nearest("!tier,!app", Some("default")), None, "nothing was misspelled");
}

#[test]
fn an_overlap_names_the_other() {
    let mut sets = SelectorIndex::new();
    sets.insert("default", "api", &parsed("app=api"));
    sets.insert("default", "web", &parsed("app=web,tier!=db"));
    sets.insert("other", "web-too", &parsed("app=web"));
    let mine = parsed("app in (web,cdn)");
    let found: Vec<_> = sets.overlapping("default", &mine).map(|overlap| overlap.to_string()).collect();
    let text =
        "the selector overlaps with that of web (app=web,tier!=db): both select an object labelled app=web";
    assert_eq!(found, [text]);
}

#[test]
fn interning_does_not_grow_with_what_is_gone() {
    // Other tests intern at the same time, so this one counts only far more than they can.
    let before = Interned::now();
    let mut index = LabelIndex::new();
    for round in 0..20_000 {
        let set = LabelSet::new(&labels(&[("round", &round.to_string()), ("own", "x")]));
        let selector = parsed(&format!("round={round},gone-{round}")).compile();
        assert!(!selector.matches(&set));
        index.insert(("default", "one"), &set);
    }
    let after = Interned::now();
    assert!(after.pairs < before.pairs + 5_000 && after.keys < before.keys + 5_000, "{before:?} {after:?}");
    assert_eq!(index.select(&parsed("round=19999").compile(), None).count(), 1);
}
