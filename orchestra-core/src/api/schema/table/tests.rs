use super::*;
use crate::objects;

#[test]
fn every_line_of_the_table_is_read() {
    let written = TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    let (mut versions, mut types, mut fields) = (0, 0, 0);
    for line in lines(TEXT) {
        match line {
            Line::Version(_) => versions += 1,
            Line::Type(..) => types += 1,
            Line::Field(_) => fields += 1,
        }
    }
    assert_eq!(versions + types + fields, written);
    assert_eq!(TABLE.types.len(), types, "a type stands there once");
    assert_eq!(TABLE.named.len(), types);
    assert_eq!(TABLE.types.iter().map(|held| held.messages.len()).sum::<usize>(), fields);
}

#[test]
fn the_groups_are_those_of_the_versions() {
    let mut groups: Vec<&str> = TABLE
        .versions
        .iter()
        .map(|of| of.api_version.split_once('/').map_or("", |(group, _)| group))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    assert_eq!(groups, GROUPS);
    assert!(GROUPS.into_iter().all(describes));
    assert!(!describes("app") && !describes("appsx") && !describes("example.org"));
}

#[test]
fn names_and_numbers_stand_once_in_a_type() {
    for held in &TABLE.types {
        let twice = |field: &[Field], same: fn(&Field, &Field) -> bool| {
            field.windows(2).any(|pair| same(&pair[0], &pair[1]))
        };
        assert!(!twice(&held.messages, |a, b| a.number == b.number || a.number == 0), "{}", held.name);
        assert!(!twice(&held.fields, |a, b| a.name == b.name), "{}", held.name);
        assert!(held.fields.iter().all(|field| !field.name.is_empty()), "{}", held.name);
    }
}

/// A pointer and an alternative may lead back to a type, anything else would have no end.
#[test]
fn no_type_holds_itself() {
    fn depth(held: &Type, above: usize) -> usize {
        assert!(above < 32, "{} is nested without end", held.name);
        let within = held.always().iter().map(|place| &held.fields[*place]).filter_map(|field| {
            match (field.shape, field.of) {
                (Shape::Plain, Kind::Message(of)) => Some(depth(of.get(), above + 1)),
                _ => None,
            }
        });
        within.max().unwrap_or(above)
    }
    assert!(TABLE.types.iter().map(|held| depth(held, 0)).max().unwrap() > 2);
}

#[test]
fn every_builtin_kind_is_in_the_table() {
    for resource in objects::builtin().iter() {
        let found = Type::find(&resource.api_version(), &resource.kind);
        assert!(found.is_some(), "add {} to types.txt", resource.kind);
    }
}
