//! What happened, for a person to read.

use std::fmt;
use std::time::Duration;

use super::fault::seconds;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, since the script began.
    pub at: Duration,
    /// Who did it.
    pub who: String,
    /// What was done.
    pub what: String,
    /// Why, or what came of it.
    pub why: String,
}

/// What happened, in order of time. Shown as a table of time, who, what and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// The lines.
    pub lines: Vec<Line>,
}

/// How many lines of a story are shown: the first and the last of them.
const SHOWN: (usize, usize) = (20, 60);

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |of: fn(&Line) -> usize, least: usize| {
            self.lines.iter().map(of).chain([least]).max().unwrap_or(least).min(48)
        };
        let (who, what) = (widest(|line| line.who.len(), 3), widest(|line| line.what.len(), 4));
        writeln!(f, "{:>10}  {:who$}  {:what$}  why", "time", "who", "what")?;
        let (first, last) = SHOWN;
        let hidden = first..self.lines.len().saturating_sub(last).max(first);
        for (number, line) in self.lines.iter().enumerate() {
            if number == hidden.start && !hidden.is_empty() {
                writeln!(f, "{:>10}  … {} more …", "", hidden.len())?;
            }
            if !hidden.contains(&number) {
                let time = seconds(line.at);
                writeln!(f, "{time:>10}  {:who$}  {:what$}  {}", line.who, line.what, line.why)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_story_is_told_from_its_ends() {
        let line = |number: usize| Line {
            at: Duration::from_millis(number as u64 * 500),
            who: "me".into(),
            what: format!("step {number}"),
            why: String::new(),
        };
        let story = Story { lines: (0..100).map(line).collect() };
        let text = story.to_string();
        assert_eq!(text.lines().count(), 1 + 80 + 1);
        assert!(text.contains("… 20 more …") && text.contains("step 19 ") && !text.contains("step 20 "));
        assert!(text.contains("   49.500s  me   step 99"), "{text}");
    }
}
