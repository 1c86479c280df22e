use std::fmt::Write as _;

/// What is wrong with an expression, at a place in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(at: usize, message: String) -> Self {
        Self { at, message }
    }
}

/// How many faults are told, as in Kubernetes.
const MOST: usize = 100;
/// How many bytes are told of them, unless it is one: each shows the line that it stands in.
const LONGEST: usize = 64 << 10;

/// Why an expression cannot be compiled: each fault with its place, as Kubernetes prints them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(String);

impl CompileError {
    pub(super) fn of(text: &str, mut faults: Vec<Fault>) -> Self {
        let mut out = String::new();
        faults.sort_by_key(|fault| fault.at);
        for (index, fault) in faults.iter().enumerate() {
            if !out.is_empty() {
                out.push('\n');
            }
            if index >= MOST || out.len() > LONGEST {
                let _ = write!(out, "{} more errors were truncated", faults.len() - index);
                break;
            }
            let before = &text[..fault.at.min(text.len())];
            let line = before.matches('\n').count();
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
            if text.is_empty() {
                // Of nothing there is no first column, and no line to show.
                let _ = write!(out, "ERROR: <input>:1:0: {}", fault.message);
                continue;
            }
            let shown = text.split('\n').nth(line).unwrap_or_default();
            // A character of more than one byte is taken to be as wide as two, and so is what stands below it.
            let is_wide = |character: char| character.len_utf8() > 1;
            let dot = |character| if is_wide(character) { '．' } else { '.' };
            let dots: String = shown.chars().take(column).map(dot).collect();
            let mark = if shown.chars().nth(column).is_some_and(is_wide) { '＾' } else { '^' };
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "ERROR: <input>:{}:{}: {}\n | {shown}\n | {dots}{mark}",
                line + 1,
                column + 1,
                fault.message
            );
        }
        Self(out)
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// It costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    TooExpensive,
    /// It asks what is not known yet. Whoever evaluates finds out, and evaluates anew.
    #[error("it is not known yet whether {} may be done", .0.verb)]
    Unknown(Box<super::special::AccessCheck>),
    /// Something in it has no value.
    #[error("{0}")]
    Failed(String),
}

impl EvalError {
    /// Whether nothing else in an expression can make up for it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::TooExpensive | Self::Unknown(_))
    }

    pub(super) fn no_overload() -> Self {
        Self::Failed("no such overload".to_owned())
    }

    pub(super) fn no_key(key: &str) -> Self {
        Self::Failed(format!("no such key: {key}"))
    }

    pub(super) fn overflow() -> Self {
        Self::Failed("integer overflow".to_owned())
    }
}
