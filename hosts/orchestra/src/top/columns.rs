//! Which columns a table has where there is little room, and how wide they are; pure.

/// How far columns are apart.
pub(super) const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Which is left out first where there is no room for all: the highest; 0 is never left out.
    pub(super) rank: u8,
    /// To how few letters its cells may be cut, so that others stay; nothing where they are short as they are.
    pub(super) least: Option<usize>,
    /// Whether its cells are read from the left, so that it is their end that goes, and not their middle.
    pub(super) is_prose: bool,
}

impl Column {
    pub(super) const fn of(title: &'static str, rank: u8) -> Self {
        Self { title, rank, least: None, is_prose: false }
    }

    pub(super) const fn cut_to(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }

    pub(super) const fn prose(self) -> Self {
        Self { is_prose: true, ..self }
    }
}

/// Which columns are shown, and how wide, when their cells need so much and there is so much room for all.
pub(super) fn fitted(columns: &[Column], needs: &[usize], room: usize) -> Vec<(usize, usize)> {
    let least = |at: usize| columns[at].least.map_or(needs[at], |least| least.min(needs[at]));
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let sum = |shown: &[usize], width: &dyn Fn(usize) -> usize| {
        shown.iter().map(|at| width(*at)).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    while sum(&shown, &least) > room {
        let first =
            shown.iter().copied().filter(|at| columns[*at].rank > 0).max_by_key(|at| columns[*at].rank);
        let Some(first) = first else { break };
        shown.retain(|at| *at != first);
    }
    let mut over = sum(&shown, &|at| needs[at]).saturating_sub(room);
    let mut widths: Vec<(usize, usize)> = shown.iter().map(|at| (*at, needs[*at])).collect();
    // What can spare most is cut first; where nothing can spare any more, all the same.
    for spares in [true, false] {
        while over > 0 {
            let bound = |at: usize| if spares { least(at) } else { 1 };
            let widest = widths.iter_mut().max_by_key(|(at, width)| width.saturating_sub(bound(*at)));
            let Some((_, width)) = widest.filter(|(at, width)| *width > bound(*at)) else { break };
            *width -= 1;
            over -= 1;
        }
    }
    widths
}

/// A text in no more than so many letters: what is left out is seen to be. Of a name the end stays, in which those of a set
/// differ.
pub(super) fn cut(text: &str, width: usize, is_prose: bool) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let tail = if is_prose { 0 } else { (room / 2).min(6) };
    let head: String = text.chars().take(room - tail).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{head}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::of("NAMESPACE", 1),
        Column::of("NAME", 0).cut_to(10),
        Column::of("STATUS", 0),
        Column::of("AGE", 2),
    ];

    #[test]
    fn what_matters_least_goes_first() {
        let needs = [9, 20, 7, 3];
        assert_eq!(fitted(&COLUMNS, &needs, 80), [(0, 9), (1, 20), (2, 7), (3, 3)]);
        assert_eq!(fitted(&COLUMNS, &needs, 40), [(0, 9), (1, 15), (2, 7), (3, 3)]);
        assert_eq!(fitted(&COLUMNS, &needs, 34), [(0, 9), (1, 14), (2, 7)]);
        assert_eq!(fitted(&COLUMNS, &needs, 20), [(1, 11), (2, 7)]);
        for room in 0..60 {
            let widths = fitted(&COLUMNS, &needs, room);
            let sum: usize = widths.iter().map(|(_, width)| width).sum::<usize>() + GAP * (widths.len() - 1);
            assert!(sum <= room.max(4), "{room}: {widths:?}");
        }
    }

    #[test]
    fn names_keep_their_ends_and_prose_its_beginning() {
        assert_eq!(cut("web-5675b86c47-6f2dv", 20, false), "web-5675b86c47-6f2dv");
        assert_eq!(cut("web-5675b86c47-6f2dv", 15, false), "web-5675…-6f2dv");
        assert_eq!(cut("Successfully assigned", 10, true), "Successfu…");
        assert_eq!((cut("öäü", 1, false), cut("öäü", 0, true)), ("…".to_owned(), String::new()));
        assert_eq!(cut("öäüß", 3, false), "ö…ß");
    }
}
