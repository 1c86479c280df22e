//! What is said of expressions that are wrong.

use crate::expression::{Budget, Environment, MadeType, Type, device_environment};

#[test]
fn objects_of_a_type_that_does_not_belong_there_compile_and_have_no_value() {
    let environment = Environment::new().made(MadeType::Open("Object".into()));
    let program = environment.compile("Object{spec: Object.other{}}").unwrap();
    let error = program.evaluate(&[], &mut Budget::new(Budget::CALL)).unwrap_err().to_string();
    assert!(error.contains("unexpected type name \"Object.other\", expected \"Object.spec\""), "{error}");
    for (text, ty) in [("true ? Object{} : null", "Object"), ("true ? [] : [Object{}]", "list(Object)")] {
        assert_eq!(environment.compile(text).unwrap().output().to_string(), ty, "{text}");
    }
}

/// What kube-apiserver 1.36 says of them.
#[test]
fn faults_are_told_where_kubernetes_tells_them_and_in_the_order_of_their_places() {
    let operand = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, \
                   IDENTIFIER}";
    let end =
        |column: usize| format!("1:{column}: Syntax error: mismatched input '<EOF>' expecting {operand}");
    let environment = Environment::new().typed("a", Type::String).typed("b", Type::Bool);
    for (text, told) in [
        ("a && b", vec!["1:1: expected type 'bool' but found 'string'".to_owned()]),
        (
            "a && 1 || b",
            vec![
                "1:1: expected type 'bool' but found 'string'".to_owned(),
                "1:6: expected type 'bool' but found 'int'".to_owned(),
            ],
        ),
        ("[1, 'a', b].size() == 3", vec!["1:5: expected type 'int' but found 'string'".to_owned()]),
        ("1 in [1, null]", vec!["1:10: expected type 'int' but found 'null'".to_owned()]),
        (
            "{'a': 1, 2: 'b'}.size() == 2",
            vec![
                "1:10: expected type 'string' but found 'int'".to_owned(),
                "1:13: expected type 'int' but found 'string'".to_owned(),
            ],
        ),
        (
            "'%d of %s'.format([a, b]) == a",
            vec![
                "1:20: error during formatting: decimal clause can only be used on integers, was given string"
                    .to_owned(),
            ],
        ),
        ("if", vec!["1:1: reserved identifier: if".to_owned()]),
        ("a.in", vec!["1:3: Syntax error: no viable alternative at input '.in'".to_owned(), end(5)]),
        (".", vec!["1:2: Syntax error: no viable alternative at input '.'".to_owned()]),
        ("a..b", vec!["1:3: Syntax error: no viable alternative at input '..'".to_owned()]),
        ("a ? . : b", vec!["1:7: Syntax error: no viable alternative at input '. :'".to_owned()]),
        (".true", vec!["1:2: Syntax error: mismatched input 'true' expecting IDENTIFIER".to_owned()]),
        ("a.null", vec!["1:3: Syntax error: mismatched input 'null' expecting IDENTIFIER".to_owned()]),
        (
            "a.?1",
            vec![
                "1:4: Syntax error: mismatched input '1' expecting {IDENTIFIER, ESC_IDENTIFIER}".to_owned(),
                "1:4: unsupported ident kind".to_owned(),
            ],
        ),
        (
            "a.?.b",
            vec!["1:4: Syntax error: extraneous input '.' expecting {IDENTIFIER, ESC_IDENTIFIER}".to_owned()],
        ),
        (
            "a{.}",
            vec![
                "1:3: Syntax error: extraneous input '.' expecting {'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}"
                    .to_owned(),
            ],
        ),
        ("a.`b` == 1", vec!["1:3: unsupported syntax: '`'".to_owned()]),
        (
            "a = 'x'",
            vec![
                "1:3: Syntax error: token recognition error at: '= '".to_owned(),
                "1:5: Syntax error: extraneous input ''x'' expecting <EOF>".to_owned(),
            ],
        ),
        ("a == $", vec!["1:6: Syntax error: token recognition error at: '$'".to_owned(), end(7)]),
        ("a === 'x'", vec!["1:5: Syntax error: token recognition error at: '= '".to_owned()]),
        ("a == 'x", vec!["1:6: Syntax error: token recognition error at: ''x'".to_owned(), end(8)]),
        ("(b", vec!["1:3: Syntax error: missing ')' at '<EOF>'".to_owned()]),
        ("[b", vec!["1:3: Syntax error: mismatched input '<EOF>' expecting {']', ','}".to_owned()]),
        (
            "x.y(z)",
            vec![
                "1:1: undeclared reference to 'x' (in container '')".to_owned(),
                "1:4: undeclared reference to 'y' (in container '')".to_owned(),
                "1:5: undeclared reference to 'z' (in container '')".to_owned(),
            ],
        ),
        (
            "['a'].sum() == 'a'",
            vec!["1:10: found no matching overload for 'sum' applied to 'list(string).()'".to_owned()],
        ),
        (
            "[[1]].max() == [1]",
            vec!["1:10: found no matching overload for 'max' applied to 'list(list(int)).()'".to_owned()],
        ),
        (
            "a.reverse() == a",
            vec!["1:10: found no matching overload for 'reverse' applied to 'string.()'".to_owned()],
        ),
        (
            "['a'].flatten() == ['a']",
            vec!["1:14: found no matching overload for 'flatten' applied to 'list(string).()'".to_owned()],
        ),
    ] {
        let error = environment.compile(text).unwrap_err().to_string();
        let lines: Vec<&str> =
            error.lines().filter_map(|line| line.strip_prefix("ERROR: <input>:")).collect();
        assert_eq!(lines, told, "{text}");
    }
    for text in
        ["[[], [1]].size() == 2", "[[1]].flatten() == [1]", "[1, 2].reverse() == [2, 1]", "[true].min()"]
    {
        environment.compile(text).unwrap();
    }
}

#[test]
fn one_token_too_many_and_nothing_at_all_are_told_as_kubernetes_tells_them() {
    for (text, told) in [
        // What is wide stands above what is wide.
        (
            "1 + ä",
            "ERROR: <input>:1:5: Syntax error: token recognition error at: 'ä'\n | 1 + ä\n | ....＾\nERROR: <input>:1:6: \
             Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', \
             NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 + ä\n | ....．^",
        ),
        (
            "Bad_Name!",
            "ERROR: <input>:1:9: Syntax error: extraneous input '!' expecting <EOF>\n | Bad_Name!\n | ........^",
        ),
        (
            "object.",
            "ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'\n | object.\n | .......^",
        ),
        (
            "",
            "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', \
             'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
    ] {
        let error = Environment::new().variable("object").compile(text).unwrap_err();
        assert_eq!(error.to_string(), told);
    }
    // An operator without operands lacks two.
    let error = Environment::new().compile("*").unwrap_err().to_string();
    let places: Vec<&str> =
        error.lines().filter(|line| line.starts_with("ERROR")).map(|line| &line[..64]).collect();
    assert_eq!(
        places,
        [
            "ERROR: <input>:1:1: Syntax error: mismatched input '*' expecting",
            "ERROR: <input>:1:2: Syntax error: mismatched input '<EOF>' expec",
        ]
    );
}

#[test]
fn no_more_is_said_than_anybody_reads() {
    for text in ["#".repeat(50_000), "a || ".repeat(19_000) + "a"] {
        let error = Environment::new().compile(&text).unwrap_err().to_string();
        assert!(error.len() < 300_000, "{} bytes", error.len());
    }
    let error = Environment::new().compile(&("a+".repeat(50) + "a")).unwrap_err().to_string();
    assert!(error.len() < 70_000 && error.contains("undeclared reference to 'a'"), "{} bytes", error.len());
}

/// What is within what is put into a format is looked at once, however deep it stands.
#[test]
fn formats_within_formats_take_no_longer_than_they_are_deep() {
    let nested = (0..20).fold("1".to_owned(), |inner, _| format!("int('%d'.format([{inner}]))"));
    assert_eq!(Environment::new().compile(&nested).unwrap().output(), &Type::Int);
    let wrong = Environment::new().compile("'%d'.format([nothing])").unwrap_err().to_string();
    assert_eq!(wrong.matches("undeclared reference").count(), 1, "{wrong}");
}

#[test]
fn values_are_named_in_expressions_about_devices_alone() {
    let text = "cel.bind(x, 2, x * x) == 4";
    let program = device_environment().compile(text).unwrap();
    let outcome = program.evaluate(&[crate::expression::Val::Null], &mut Budget::new(Budget::CALL)).unwrap();
    assert_eq!(outcome.as_bool(), Some(true));
    let error = Environment::new().compile(text).unwrap_err().to_string();
    assert!(
        error.starts_with("ERROR: <input>:1:1: undeclared reference to 'cel' (in container '')"),
        "{error}"
    );
}
