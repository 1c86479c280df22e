//! The macros of `orchestra-core`, which documents them: `selector!` as `orchestra_core::selector::selector!`, and
//! `#[derive(Object)]` as `orchestra_core::meta::Object`.
//!
//! They need no parser of Rust: a requirement of a selector is a handful of tokens, and of a struct its name is asked. The
//! label grammar is the very file that the library checks labels with.

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

#[allow(dead_code, unreachable_pub)]
#[path = "../../src/selector/grammar.rs"]
mod grammar;
mod object;

/// A label selector, checked while the program is compiled. Documented in `orchestra_core::selector`.
#[proc_macro]
pub fn selector(input: TokenStream) -> TokenStream {
    match Tokens::new(input).requirements() {
        Ok(requirements) => emit(requirements),
        Err(fault) => fault.emit(),
    }
}

/// Makes a struct with a field `metadata` an object of a kind. Documented in `orchestra_core::meta::Object`.
#[proc_macro_derive(Object, attributes(object))]
pub fn derive_object(input: TokenStream) -> TokenStream {
    object::derive(input).unwrap_or_else(Fault::emit)
}

/// What is wrong, and where.
struct Fault {
    message: String,
    at: Span,
}

/// A requirement as it was read: its key, the name of its operator, and its values.
struct Requirement {
    key: String,
    operator: &'static str,
    values: Vec<String>,
}

struct Tokens {
    rest: std::iter::Peekable<proc_macro::token_stream::IntoIter>,
    /// Where the last token stood, for a fault at the end.
    last: Span,
}

impl Tokens {
    fn new(input: TokenStream) -> Self {
        Tokens { rest: input.into_iter().peekable(), last: Span::call_site() }
    }

    fn next(&mut self) -> Option<TokenTree> {
        let token = self.rest.next();
        self.last = token.as_ref().map_or(self.last, TokenTree::span);
        token
    }

    fn fault<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { message: message.into(), at: self.last })
    }

    fn next_is(&mut self, character: char) -> bool {
        matches!(self.rest.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == character)
    }

    fn requirements(mut self) -> Result<Vec<Requirement>, Fault> {
        let mut requirements = Vec::new();
        while self.rest.peek().is_some() {
            requirements.push(self.requirement()?);
            if self.rest.peek().is_some() && !self.next_is(',') {
                self.next();
                return self.fault("expected `,` and another requirement, or the end");
            }
            self.next();
        }
        Ok(requirements)
    }

    fn requirement(&mut self) -> Result<Requirement, Fault> {
        if self.next_is('!') {
            self.next();
            return Ok(Requirement { key: self.key()?, operator: "DoesNotExist", values: Vec::new() });
        }
        let key = self.key()?;
        if self.rest.peek().is_none() || self.next_is(',') {
            return Ok(Requirement { key, operator: "Exists", values: Vec::new() });
        }
        let operator = self.operator()?;
        let values = match operator {
            "In" | "NotIn" => self.values()?,
            "GreaterThan" | "LessThan" => vec![self.bound()?],
            _ => vec![self.value()?],
        };
        Ok(Requirement { key, operator, values })
    }

    /// `app`, or `"app.kubernetes.io/name"`.
    fn key(&mut self) -> Result<String, Fault> {
        let key = match self.next() {
            Some(TokenTree::Ident(word)) => word.to_string().trim_start_matches("r#").to_owned(),
            Some(TokenTree::Literal(literal)) => self.text(&literal)?,
            _ => return self.fault("expected a key: a word, or a string such as \"app.kubernetes.io/name\""),
        };
        match grammar::key_faults(&key).first() {
            None => Ok(key),
            Some(fault) => self.fault(format!("invalid label key {key:?}: {fault}")),
        }
    }

    fn operator(&mut self) -> Result<&'static str, Fault> {
        let first = self.next();
        let doubled = |tokens: &mut Self| {
            let found = tokens.next_is('=');
            if found {
                tokens.next();
            }
            found
        };
        match first {
            Some(TokenTree::Ident(word)) if word.to_string() == "in" => return Ok("In"),
            Some(TokenTree::Ident(word)) if word.to_string() == "notin" => return Ok("NotIn"),
            Some(TokenTree::Punct(punct)) => match (punct.as_char(), punct.spacing() == Spacing::Joint) {
                ('=', true) if doubled(self) => return Ok("Equals"),
                ('!', true) if doubled(self) => return Ok("NotEquals"),
                ('>', false) => return Ok("GreaterThan"),
                ('<', false) => return Ok("LessThan"),
                _ => {}
            },
            _ => {}
        }
        self.fault("expected `==`, `!=`, `in`, `notin`, `>`, `<`, or `,`")
    }

    /// `["a", "b"]`
    fn values(&mut self) -> Result<Vec<String>, Fault> {
        let list = match self.next() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => group,
            _ => return self.fault("expected a list of values, such as [\"a\", \"b\"]"),
        };
        let mut tokens = Tokens { rest: list.stream().into_iter().peekable(), last: list.span() };
        let mut values = Vec::new();
        while tokens.rest.peek().is_some() {
            values.push(tokens.value()?);
            if tokens.rest.peek().is_some() && !tokens.next_is(',') {
                tokens.next();
                return tokens.fault("expected `,` and another value, or `]`");
            }
            tokens.next();
        }
        if values.is_empty() {
            return self.fault("expected at least one value: an empty list selects nothing");
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<String, Fault> {
        let value = match self.next() {
            Some(TokenTree::Literal(literal)) => self.text(&literal)?,
            _ => return self.fault("expected a value: a string such as \"web\""),
        };
        match grammar::value_faults(&value).first() {
            None => Ok(value),
            Some(fault) => self.fault(format!("invalid label value {value:?}: {fault}")),
        }
    }

    fn bound(&mut self) -> Result<String, Fault> {
        let bound = self.next().map(|token| token.to_string().replace('_', "")).unwrap_or_default();
        match bound.parse::<i64>() {
            Ok(bound) => Ok(bound.to_string()),
            Err(_) => self.fault("expected an integer of 64 bits, not below 0"),
        }
    }

    /// What a string literal says. No label has a character that would have to be escaped.
    fn text(&self, literal: &Literal) -> Result<String, Fault> {
        let source = literal.to_string();
        let text = source.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        text.map_or_else(
            || self.fault("expected a plain string, such as \"web\""),
            |text| Ok(text.to_owned()),
        )
    }
}

/// `::orchestra_core::selector::checked([("key", ::orchestra_core::selector::Operator::In, &["a", "b"]), …])`
fn emit(requirements: Vec<Requirement>) -> TokenStream {
    let tuples = requirements.into_iter().flat_map(|requirement| {
        let values = requirement.values.iter().flat_map(|value| [string(value), punct(',')]).collect();
        let mut tuple = vec![string(&requirement.key), punct(',')];
        tuple.extend(path(&["orchestra_core", "selector", "Operator", requirement.operator]));
        tuple.extend([punct(','), punct('&'), group(Delimiter::Bracket, values), punct(',')]);
        [group(Delimiter::Parenthesis, tuple.into_iter().collect()), punct(',')]
    });
    let list = group(Delimiter::Bracket, tuples.collect());
    let mut call = path(&["orchestra_core", "selector", "checked"]);
    call.push(group(Delimiter::Parenthesis, TokenStream::from(list)));
    call.into_iter().collect()
}

impl Fault {
    /// `::core::compile_error!("…")`, at the token that is wrong.
    fn emit(self) -> TokenStream {
        let mut call = path(&["core", "compile_error"]);
        call.extend([punct('!'), group(Delimiter::Brace, TokenStream::from(string(&self.message)))]);
        call.iter_mut().for_each(|token| token.set_span(self.at));
        call.into_iter().collect()
    }
}

fn path(names: &[&str]) -> Vec<TokenTree> {
    let colons = || [Punct::new(':', Spacing::Joint), Punct::new(':', Spacing::Alone)].map(TokenTree::Punct);
    let ident = |name: &&str| TokenTree::Ident(Ident::new(name, Span::call_site()));
    names.iter().flat_map(|name| colons().into_iter().chain([ident(name)])).collect()
}

fn string(text: &str) -> TokenTree {
    TokenTree::Literal(Literal::string(text))
}

fn punct(character: char) -> TokenTree {
    TokenTree::Punct(Punct::new(character, Spacing::Alone))
}

fn group(delimiter: Delimiter, stream: TokenStream) -> TokenTree {
    TokenTree::Group(Group::new(delimiter, stream))
}
