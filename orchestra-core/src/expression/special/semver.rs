use std::cmp::Ordering;

/// A semantic version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    pub(in crate::expression) numbers: [u64; 3],
    before: Vec<String>,
}

impl Semver {
    /// Reads a version. A loose one may begin with `v`, have fewer numbers, and zeros before them.
    pub(in crate::expression) fn parse(text: &str, loose: bool) -> Option<Self> {
        let text = if loose { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
        let mut numbers = [0; 3];
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 || (parts.len() < 3 && !loose) {
            return None;
        }
        for (number, part) in numbers.iter_mut().zip(&parts) {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let led = part.len() > 1 && part.starts_with('0') && !loose;
            *number = part.parse().ok().filter(|_| digits && !led)?;
        }
        let word = |word: &&str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let words = |text: Option<&str>| -> Option<Vec<String>> {
            let Some(text) = text else { return Some(Vec::new()) };
            text.split('.').map(|part| Some(part).filter(word).map(str::to_owned)).collect()
        };
        words(build)?;
        Some(Self { numbers, before: words(before)? })
    }

    /// Which of two comes first.
    pub(in crate::expression) fn order(&self, other: &Self) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        // A version comes after what came before it.
        let released = match (self.before.is_empty(), other.before.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => Ordering::Equal,
        };
        let words = || {
            let each = self.before.iter().zip(&other.before).map(|(one, other)| {
                match (one.parse::<u64>(), other.parse::<u64>()) {
                    (Ok(one), Ok(other)) => one.cmp(&other),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => one.cmp(other),
                }
            });
            each.fold(Ordering::Equal, Ordering::then).then(self.before.len().cmp(&other.before.len()))
        };
        numbers.then(released).then_with(words)
    }
}
