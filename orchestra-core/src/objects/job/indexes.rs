//! Lists of indexes, such as `0-3,7`.

/// One interval of a list, both ends included.
type Interval = (i64, i64);

/// How many indexes a list names, all below a number of completions.
///
/// # Errors
/// What is wrong with the list.
pub(super) fn count(list: &str, completions: i32) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    for text in list.split(',').filter(|_| !list.is_empty()) {
        let (from, to) = interval(text, completions)?;
        if let Some(last) = last.filter(|last| *last >= from) {
            return Err(format!("non-increasing order, previous: {last}, current: {from}"));
        }
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

/// The first index that two lists both name. What is no interval is left out: that is said elsewhere.
pub(super) fn common(one: &str, other: &str, completions: i32) -> Option<i64> {
    let read = |list: &str| -> Vec<Interval> {
        list.split(',').filter_map(|text| interval(text, completions).ok()).collect()
    };
    let (one, other) = (read(one), read(other));
    let mut others = other.iter().peekable();
    for (from, to) in one {
        while let Some((start, end)) = others.peek() {
            if from <= *end && *start <= to {
                return Some(from.max(*start));
            }
            if *start > from {
                break;
            }
            others.next();
        }
    }
    None
}

fn interval(text: &str, completions: i32) -> Result<Interval, String> {
    let mut ends = text.split('-');
    let from = index(ends.next().unwrap_or_default(), completions)?;
    match (ends.next(), ends.next()) {
        (None, _) => Ok((from, from)),
        (Some(end), None) => {
            let to = index(end, completions)?;
            if from >= to {
                return Err(format!("non-increasing order, previous: {from}, current: {to}"));
            }
            Ok((from, to))
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        )),
    }
}

fn index(text: &str, completions: i32) -> Result<i64, String> {
    let index: i64 =
        text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
    if index >= i64::from(completions) {
        return Err(format!("too large index: {text:?}"));
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted_or_refused() {
        for (list, count) in [("", 0), ("0", 1), ("0-3,7", 5), ("1,2,3", 3)] {
            assert_eq!(super::count(list, 10), Ok(count), "{list}");
        }
        for (list, why) in [
            ("10", "too large index: \"10\""),
            ("a", "cannot convert string to integer for index: \"a\""),
            ("3-1", "non-increasing order, previous: 3, current: 1"),
            ("5,2", "non-increasing order, previous: 5, current: 2"),
            ("0,", "cannot convert string to integer for index: \"\""),
        ] {
            assert_eq!(count(list, 10), Err(why.to_owned()));
        }
        assert!(count("1-2-3", 10).unwrap_err().starts_with("the fragment \"1-2-3\" violates"));
    }

    #[test]
    fn two_lists_have_an_index_in_common_or_none() {
        for (one, other, index) in [
            ("0-3", "4-5", None),
            ("0-3", "3-5", Some(3)),
            ("1,3,5", "0,2,4,5", Some(5)),
            ("7-9", "0-1,x,8", Some(8)),
            ("", "1", None),
        ] {
            assert_eq!(common(one, other, 10), index, "{one} {other}");
            assert_eq!(common(other, one, 10), index, "{other} {one}");
        }
    }
}
