//! The label-selector engine by itself: no cluster, no runtime, no async.
//!
//! `cargo run -p orchestra-examples --bin selectors`

use orchestra_core::selector::{LabelIndex, LabelSet, Labels, ParseError, Selector, SelectorIndex, selector};

fn main() -> Result<(), ParseError> {
    // A selector is parsed, or written in Rust and checked by the compiler. It prints in one canonical form.
    let typed = selector!(app in ["web", "api"], tier != "db", !legacy);
    let parsed = Selector::parse("!legacy, app in (web,api), tier!=db")?;
    assert_eq!(typed, parsed);
    println!("selector         {parsed}");

    // A mistake has the API server's message, and a place.
    if let Err(error) = Selector::parse("app in (web,api), tier ! db") {
        println!("{}", error.point_in("app in (web,api), tier ! db"));
    }

    // Objects by label: any selector is answered in the order of the keys, a page at a time.
    let mut pods = LabelIndex::new();
    for number in 0..1000 {
        let labels =
            labels([("app", ["web", "api", "db"][number % 3]), ("env", ["prod", "dev"][number % 2])]);
        pods.insert((["blue", "green"][number % 2], format!("pod-{number:04}")), &LabelSet::new(&labels));
    }
    let compiled = parsed.compile();
    let selection = pods.select(&compiled, Some("blue"));
    let page: Vec<_> = selection.iter().take(3).collect();
    println!("selected         {} in blue, the first three {page:?}", selection.count());
    let next: Vec<_> = selection.clone().after(page[2]).iter().take(3).collect();
    println!("the next three   {next:?}");

    // Nothing selected? What was meant?
    let misspelled = Selector::parse("app=wbe,env=prod")?;
    if let Some(nearest) = pods.nearest(&misspelled, Some("blue")) {
        println!("{misspelled}: {nearest}");
    }

    // Selectors by object: which services select this pod?
    let mut services = SelectorIndex::new();
    services.insert("blue", "frontend", &selector!(app == "web"));
    services.insert("blue", "production", &selector!(env == "prod", app != "db"));
    services.insert("blue", "database", &selector!(app == "db"));
    let pod = LabelSet::new(&labels([("app", "web"), ("env", "prod")]));
    println!("services of pod  {:?}", services.matching("blue", &pod).collect::<Vec<_>>());

    // Two controllers that would fight over an object are found before there is one.
    let new = selector!(app in ["web", "cdn"], env == "dev");
    for overlap in services.overlapping("blue", &new) {
        println!("{new}: {overlap}");
    }
    assert!(selector!(app in ["web", "api"]).contains(&selector!(app == "web", env == "prod")));
    Ok(())
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_shown_is_so() {
        super::main().unwrap();
    }
}
