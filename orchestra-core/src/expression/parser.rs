//! From tokens to an expression.

mod macros;

use std::sync::Arc;

use self::macros::{global, member};
use super::ast::{Access, Expr, Node};
use super::error::Fault;
use super::lexer::{Lexed, Token, tokens};
use super::types::is_reserved;

/// How deep expressions may be nested: each level takes room on the stack, here and when it is evaluated.
const MAX_DEPTH: usize = 64;
/// How long an expression may be, in bytes.
const MAX_LENGTH: usize = 100_000;

const EXPECTED: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                        BYTES, IDENTIFIER}";

/// What may stand within the brackets of a call.
const EXPECTED_ARGUMENT: &str = "{'[', '{', '(', ')', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, \
                                 NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Reads an expression. Whether `cel.bind` is a macro is said by its environment.
pub(super) fn parse(text: &str, binds: bool) -> Result<Expr, Vec<Fault>> {
    if text.len() > MAX_LENGTH {
        let message =
            format!("expression code point size exceeds limit: size: {}, limit {MAX_LENGTH}", text.len());
        return Err(vec![Fault::new(0, message)]);
    }
    let (tokens, passed) = tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0, binds, passed };
    let read = parser.whole();
    let mut faults = parser.passed;
    match read {
        Ok(expr) if faults.is_empty() => Ok(expr),
        Ok(_) => Err(faults),
        Err(last) => {
            faults.push(last);
            Err(faults)
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Lexed>,
    at: usize,
    depth: usize,
    binds: bool,
    /// Faults after which it could be read on.
    passed: Vec<Fault>,
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

/// Whether a sign stands between operands, and before none.
fn is_between(sign: &str) -> bool {
    let of_levels = LEVELS.iter().copied().flatten().any(|(between, _)| *between == sign);
    (of_levels && sign != "-") || matches!(sign, "&&" | "||" | "?")
}

impl Parser<'_> {
    fn whole(&mut self) -> Result<Expr, Fault> {
        let expr = self.expr()?;
        match self.peek() {
            Token::End => Ok(expr),
            _ => Err(self.mismatched("<EOF>")),
        }
    }

    fn here(&self) -> &Lexed {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Token {
        &self.here().token
    }

    fn place(&self) -> usize {
        self.here().at
    }

    fn is_next(&self, wanted: &Token) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|next| next.token == *wanted)
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

    /// The bracket that closes another. One that is missing at the end, or stands after one token too many, is told, and
    /// what is before it is read as if it were in its place.
    fn close(&mut self) -> Result<(), Fault> {
        let bracket = Token::Sign(")");
        if *self.peek() == Token::End {
            self.passed.push(Fault::new(self.place(), "Syntax error: missing ')' at '<EOF>'".to_owned()));
            return Ok(());
        }
        if *self.peek() != bracket && self.is_next(&bracket) {
            self.passed.push(self.told("extraneous", "')'"));
            self.at += 1;
        }
        self.expect(")")
    }

    fn mismatched(&self, expected: &str) -> Fault {
        // One token too many is told otherwise than one that is another.
        let extraneous = expected == "<EOF>" && self.is_next(&Token::End);
        self.told(if extraneous { "extraneous" } else { "mismatched" }, expected)
    }

    fn told(&self, what: &str, expected: &str) -> Fault {
        let here = self.here();
        let shown = if here.token == Token::End { "<EOF>" } else { &self.text[here.at..here.end] };
        Fault::new(here.at, format!("Syntax error: {what} input '{shown}' expecting {expected}"))
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
            Token::Name(name) => {
                self.at += 1;
                return self.name(at, &name);
            }
            Token::Sign("(") => {
                self.at += 1;
                let inside = self.expr()?;
                self.close()?;
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
                let begins = self.place();
                let name = self.name_after_dot(at)?;
                return self.name(begins, &name);
            }
            Token::Sign(sign) if is_between(sign) => {
                // Read as if the operand before it were there, which tells of all that are missing.
                self.passed.push(self.mismatched(EXPECTED));
                return Ok(Expr { at, node: Node::Null });
            }
            _ => return Err(self.mismatched(EXPECTED)),
        };
        self.at += 1;
        Ok(Expr { at, node })
    }

    /// What a name that was taken begins.
    fn name(&mut self, at: usize, name: &Arc<str>) -> Result<Expr, Fault> {
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
                let args = self.args()?;
                return global(at, name, args);
            }
            word if is_reserved(word) => {
                self.passed.push(Fault::new(at, format!("reserved identifier: {word}")));
                Node::Null
            }
            _ => Node::Name(Arc::clone(name)),
        };
        Ok(Expr { at, node })
    }

    /// Takes the name that follows a dot, which begins at `dot`. What is no name is told with the dot, as a reader who sees several
    /// rules begin with it does; a literal is told by itself.
    fn name_after_dot(&mut self, dot: usize) -> Result<Arc<str>, Fault> {
        match self.peek().clone() {
            Token::Name(name) if matches!(&*name, "true" | "false" | "null") => {
                Err(self.told("mismatched", "IDENTIFIER"))
            }
            Token::Name(name) if &*name != "in" => {
                self.at += 1;
                Ok(name)
            }
            token => {
                let end = if token == Token::End { dot + 1 } else { self.here().end };
                let shown = &self.text[dot..end];
                Err(Fault::new(
                    self.place(),
                    format!("Syntax error: no viable alternative at input '{shown}'"),
                ))
            }
        }
    }

    /// Takes the name of a field that need not be there, after its question mark. One token too many before it is told and
    /// passed over.
    fn optional_name(&mut self) -> Result<Arc<str>, Fault> {
        const WANTED: &str = "{IDENTIFIER, ESC_IDENTIFIER}";
        if !matches!(self.peek(), Token::Name(_)) {
            if !matches!(self.tokens.get(self.at + 1), Some(Lexed { token: Token::Name(_), .. })) {
                self.passed.push(self.told("mismatched", WANTED));
                return Err(Fault::new(self.place(), "unsupported ident kind".to_owned()));
            }
            self.passed.push(self.told("extraneous", WANTED));
            self.at += 1;
        }
        match self.next() {
            Token::Name(name) => Ok(name),
            _ => Err(self.mismatched(WANTED)),
        }
    }

    fn args(&mut self) -> Result<Vec<Expr>, Fault> {
        let mut args = Vec::new();
        if *self.peek() == Token::End {
            return Err(self.mismatched(EXPECTED_ARGUMENT));
        }
        while !self.takes(")") {
            args.push(self.expr()?);
            if !self.takes(",") {
                self.close()?;
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
                if !self.takes("]") {
                    return Err(self.mismatched("{']', ','}"));
                }
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
            let name = match self.peek().clone() {
                Token::Name(name) => name,
                _ => {
                    let wanted = "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}";
                    let fits =
                        |next: &Lexed| matches!(next.token, Token::Name(_) | Token::Sign("}" | "," | "?"));
                    if !self.tokens.get(self.at + 1).is_some_and(fits) {
                        return Err(self.told("mismatched", wanted));
                    }
                    self.passed.push(self.told("extraneous", wanted));
                    self.at += 1;
                    continue;
                }
            };
            self.at += 1;
            // What is wrong with a field is told of where its value begins.
            let place = self.place();
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
                let field = match self.peek() {
                    Token::Name(name) if &**name == "in" => {
                        let message = "Syntax error: no viable alternative at input '.in'";
                        self.passed.push(Fault::new(self.place(), message.to_owned()));
                        return Ok(of);
                    }
                    Token::Quoted => {
                        let place = self.place();
                        self.at += 1;
                        self.passed.push(Fault::new(place, "unsupported syntax: '`'".to_owned()));
                        continue;
                    }
                    _ if how == Access::Optional => self.optional_name()?,
                    _ => self.name_after_dot(at)?,
                };
                let call_at = self.place();
                if how == Access::Plain && self.takes("(") {
                    let args = self.args()?;
                    of = member(call_at, of, &field, args, self.binds)?;
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
