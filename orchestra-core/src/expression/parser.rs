//! From tokens to an expression. Macros are read into loops here.

use std::sync::Arc;

use super::ast::{Access, Expr, Loop, LoopKind, Node};
use super::error::Fault;
use super::lexer::{Token, tokens};

/// How deep expressions may be nested: each level takes room on the stack, here and when it is evaluated.
const MAX_DEPTH: usize = 64;
/// How long an expression may be, in bytes.
const MAX_LENGTH: usize = 100_000;

const EXPECTED: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                        BYTES, IDENTIFIER}";

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > MAX_LENGTH {
        return Err(Fault::new(
            0,
            format!("expression code point size exceeds limit: size: {}, limit {MAX_LENGTH}", text.len()),
        ));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.mismatched("<EOF>")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

/// Signs between two operands, by how tightly they bind, and the functions that they are.
const LEVELS: [&[(&str, &str)]; 3] = [
    &[
        ("==", "_==_"),
        ("!=", "_!=_"),
        ("<=", "_<=_"),
        (">=", "_>=_"),
        ("<", "_<_"),
        (">", "_>_"),
        ("in", "@in"),
    ],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    fn place(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        let there = *self.peek() == Token::Sign(sign);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Fault> {
        if self.takes(sign) { Ok(()) } else { Err(self.mismatched(&format!("'{sign}'"))) }
    }

    fn mismatched(&self, expected: &str) -> Fault {
        let shown = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Name(name) | Token::Quoted(name) => name.to_string(),
            Token::Text(text) => format!("\"{text}\""),
            Token::Int(value) => value.to_string(),
            Token::Uint(value) => format!("{value}u"),
            Token::Double(value) => value.to_string(),
            Token::Least => "9223372036854775808".to_owned(),
            Token::Bytes(_) => "bytes".to_owned(),
        };
        // One token too many is told otherwise than one that is another.
        let extraneous =
            expected == "<EOF>" && self.tokens.get(self.at + 1).is_some_and(|(_, next)| *next == Token::End);
        let what = if extraneous { "extraneous" } else { "mismatched" };
        Fault::new(self.place(), format!("Syntax error: {what} input '{shown}' expecting {expected}"))
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(Fault::new(self.place(), format!("max recursion depth exceeded: {MAX_DEPTH}")));
        }
        self.depth += 1;
        let outcome = read(self);
        self.depth -= 1;
        outcome
    }

    fn expr(&mut self) -> Result<Expr, Fault> {
        self.deeper(|parser| {
            let condition = parser.or()?;
            let at = parser.place();
            if !parser.takes("?") {
                return Ok(condition);
            }
            let yes = parser.or()?;
            parser.expect(":")?;
            let no = parser.expr()?;
            Ok(Expr { at, node: Node::Choice(Box::new(condition), Box::new(yes), Box::new(no)) })
        })
    }

    fn or(&mut self) -> Result<Expr, Fault> {
        let mut parts = vec![(0, self.and()?)];
        loop {
            let at = self.place();
            if !self.takes("||") {
                return Ok(balanced(parts, Node::Or));
            }
            parts.push((at, self.and()?));
        }
    }

    fn and(&mut self) -> Result<Expr, Fault> {
        let mut parts = vec![(0, self.binary(0)?)];
        loop {
            let at = self.place();
            if !self.takes("&&") {
                return Ok(balanced(parts, Node::And));
            }
            parts.push((at, self.binary(0)?));
        }
    }

    fn binary(&mut self, level: usize) -> Result<Expr, Fault> {
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let mut chained = 0;
        loop {
            let at = self.place();
            let found = signs.iter().find(|(sign, _)| match self.peek() {
                Token::Sign(held) => held == sign,
                Token::Name(name) => *sign == "in" && &**name == "in",
                _ => false,
            });
            let Some((_, function)) = found else { return Ok(left) };
            chained += 1;
            if chained > MAX_DEPTH {
                return Err(Fault::new(at, format!("max recursion depth exceeded: {MAX_DEPTH}")));
            }
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = call(at, function, None, vec![left, right]);
        }
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let at = self.place();
        if self.takes("!") {
            let of = self.deeper(Self::unary)?;
            return Ok(call(at, "!_", None, vec![of]));
        }
        if self.takes("-") {
            let negated = match self.peek() {
                Token::Int(value) => Some(Node::Int(-value)),
                Token::Least => Some(Node::Int(i64::MIN)),
                Token::Double(value) => Some(Node::Double(-value)),
                _ => None,
            };
            if let Some(node) = negated {
                self.at += 1;
                return self.members(Expr { at, node });
            }
            let of = self.deeper(Self::unary)?;
            return Ok(call(at, "-_", None, vec![of]));
        }
        let primary = self.primary()?;
        self.members(primary)
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let at = self.place();
        let node = match self.peek().clone() {
            Token::Int(value) => Node::Int(value),
            Token::Uint(value) => Node::Uint(value),
            Token::Double(value) => Node::Double(value),
            Token::Text(text) => Node::Text(text),
            Token::Bytes(bytes) => Node::Bytes(bytes),
            Token::Name(name) => return self.name(at, &name),
            Token::Sign("(") => {
                self.at += 1;
                let inside = self.expr()?;
                self.expect(")")?;
                return Ok(inside);
            }
            Token::Sign("[") => {
                self.at += 1;
                return self.list(at);
            }
            Token::Sign("{") => {
                self.at += 1;
                return self.map(at);
            }
            Token::Sign(".") => {
                self.at += 1;
                return self.primary();
            }
            _ => return Err(self.mismatched(EXPECTED)),
        };
        self.at += 1;
        Ok(Expr { at, node })
    }

    fn name(&mut self, at: usize, name: &Arc<str>) -> Result<Expr, Fault> {
        self.at += 1;
        let node = match &**name {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            "null" => Node::Null,
            "in" => {
                self.at -= 1;
                return Err(self.mismatched(EXPECTED));
            }
            _ if *self.peek() == Token::Sign("(") => {
                let at = self.place();
                self.at += 1;
                let args = self.args(")")?;
                return global(at, name, args);
            }
            _ => Node::Name(Arc::clone(name)),
        };
        Ok(Expr { at, node })
    }

    fn args(&mut self, end: &'static str) -> Result<Vec<Expr>, Fault> {
        let mut args = Vec::new();
        while !self.takes(end) {
            args.push(self.expr()?);
            if !self.takes(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(args)
    }

    fn list(&mut self, at: usize) -> Result<Expr, Fault> {
        let mut items = Vec::new();
        while !self.takes("]") {
            let optional = self.takes("?");
            items.push((self.expr()?, optional));
            if !self.takes(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(Expr { at, node: Node::List(items) })
    }

    fn map(&mut self, at: usize) -> Result<Expr, Fault> {
        let mut entries = Vec::new();
        while !self.takes("}") {
            let optional = self.takes("?");
            let key = self.expr()?;
            self.expect(":")?;
            entries.push((key, self.expr()?, optional));
            if !self.takes(",") {
                self.close_map()?;
                break;
            }
        }
        Ok(Expr { at, node: Node::Map(entries) })
    }

    fn close_map(&mut self) -> Result<(), Fault> {
        if self.takes("}") { Ok(()) } else { Err(self.mismatched("{'}', ','}")) }
    }

    /// The fields of an object that is made, after its type.
    fn object(&mut self, at: usize, ty: String) -> Result<Expr, Fault> {
        let mut fields = Vec::new();
        while !self.takes("}") {
            let optional = self.takes("?");
            let place = self.place();
            let name = match self.next() {
                Token::Name(name) | Token::Quoted(name) => name,
                _ => {
                    self.at -= 1;
                    return Err(self.mismatched("{'}', '?', IDENTIFIER}"));
                }
            };
            self.expect(":")?;
            fields.push((name, place, self.expr()?, optional));
            if !self.takes(",") {
                self.close_map()?;
                break;
            }
        }
        Ok(Expr { at, node: Node::Object { ty: ty.into(), fields } })
    }

    /// What follows a value: fields, indexes, calls.
    fn members(&mut self, mut of: Expr) -> Result<Expr, Fault> {
        let mut chained = 0;
        loop {
            chained += 1;
            if chained > MAX_DEPTH {
                return Err(Fault::new(self.place(), format!("max recursion depth exceeded: {MAX_DEPTH}")));
            }
            let at = self.place();
            if self.takes(".") {
                let how = if self.takes("?") { Access::Optional } else { Access::Plain };
                let field = match self.next() {
                    Token::Name(name) | Token::Quoted(name) => name,
                    _ => {
                        self.at -= 1;
                        if *self.peek() == Token::End {
                            let message = "Syntax error: no viable alternative at input '.'";
                            return Err(Fault::new(self.place(), message.to_owned()));
                        }
                        return Err(self.mismatched("IDENTIFIER"));
                    }
                };
                let call_at = self.place();
                if how == Access::Plain && self.takes("(") {
                    let args = self.args(")")?;
                    of = member(call_at, of, &field, args)?;
                } else {
                    of = Expr { at, node: Node::Select { of: Box::new(of), field, how } };
                }
            } else if *self.peek() == Token::Sign("{")
                && let Some(ty) = type_name(&of)
            {
                self.at += 1;
                of = self.object(at, ty)?;
            } else if self.takes("[") {
                let optional = self.takes("?");
                let index = Box::new(self.expr()?);
                self.expect("]")?;
                of = Expr { at, node: Node::Index { of: Box::new(of), index, optional } };
            } else {
                return Ok(of);
            }
        }
    }
}

/// The name that a chain of fields is, if it may be that of a type.
fn type_name(expr: &Expr) -> Option<String> {
    match &expr.node {
        Node::Name(name) => Some(name.to_string()),
        Node::Select { of, field, how: Access::Plain } => Some(format!("{}.{field}", type_name(of)?)),
        _ => None,
    }
}

/// A chain of the same sign as a tree that is not deeper than it must be.
fn balanced(mut parts: Vec<(usize, Expr)>, make: fn(Box<Expr>, Box<Expr>) -> Node) -> Expr {
    if parts.len() == 1 {
        return parts.remove(0).1;
    }
    let right = parts.split_off(parts.len().div_ceil(2));
    let at = right[0].0;
    let (left, right) = (balanced(parts, make), balanced(right, make));
    Expr { at, node: make(Box::new(left), Box::new(right)) }
}

fn call(at: usize, name: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
    Expr { at, node: Node::Call { name: name.into(), target: target.map(Box::new), args } }
}

/// A call that stands by itself. `has` is a macro.
fn global(at: usize, name: &Arc<str>, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    if &**name != "has" || args.len() != 1 {
        return Ok(call(at, name, None, args));
    }
    match args.remove(0) {
        Expr { node: Node::Select { of, field, how: Access::Plain }, .. } => {
            Ok(Expr { at, node: Node::Select { of, field, how: Access::Test } })
        }
        other => Err(Fault::new(other.at, "invalid argument to has() macro".to_owned())),
    }
}

/// A call of something, or a macro that looks like one.
fn member(at: usize, of: Expr, name: &Arc<str>, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    use LoopKind as Kind;
    let is_cel = matches!(&of.node, Node::Name(held) if &**held == "cel");
    if is_cel && &**name == "bind" && args.len() == 3 {
        let body = Box::new(args.remove(2));
        let (name, value) = (variable(&args[0])?, Box::new(args.remove(1)));
        return Ok(Expr { at, node: Node::Bind { name, value, body } });
    }
    let (kind, with_condition, makes, two) = match (&**name, args.len()) {
        ("all", 2) => (Kind::All, true, false, false),
        ("all", 3) => (Kind::All, true, false, true),
        ("exists", 2) => (Kind::Exists, true, false, false),
        ("exists", 3) => (Kind::Exists, true, false, true),
        ("exists_one" | "existsOne", 2) => (Kind::ExistsOne, true, false, false),
        ("exists_one" | "existsOne", 3) => (Kind::ExistsOne, true, false, true),
        ("filter", 2) => (Kind::Filter, true, false, false),
        ("map", 2) => (Kind::Map, false, true, false),
        ("map", 3) => (Kind::Map, true, true, false),
        ("transformList", 3) => (Kind::Map, false, true, true),
        ("transformList", 4) => (Kind::Map, true, true, true),
        ("transformMap", 3) => (Kind::TransformMap, false, true, true),
        ("transformMap", 4) => (Kind::TransformMap, true, true, true),
        ("sortBy", 2) => (Kind::SortBy, false, true, false),
        ("optMap" | "optFlatMap", 2) => {
            let flat = &**name == "optFlatMap";
            let body = Box::new(args.remove(1));
            let name = variable(&args[0])?;
            return Ok(Expr { at, node: Node::OptMap { of: Box::new(of), name, body, flat } });
        }
        _ => return Ok(call(at, name, Some(of), args)),
    };
    let names = args[..1 + usize::from(two)].iter().map(variable).collect::<Result<Vec<_>, _>>()?;
    let mut rest = args.into_iter().skip(names.len());
    let when = if with_condition { rest.next() } else { None };
    let make = if makes { rest.next() } else { None };
    Ok(Expr { at, node: Node::Loop(Box::new(Loop { kind, over: of, names, when, make })) })
}

fn variable(expr: &Expr) -> Result<Arc<str>, Fault> {
    match &expr.node {
        Node::Name(name) => Ok(Arc::clone(name)),
        _ => Err(Fault::new(expr.at, "argument must be a simple name".to_owned())),
    }
}
