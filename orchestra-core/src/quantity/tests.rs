use super::{Format, ParseQuantityError, Quantity, canonicalize};
use proptest::prelude::*;

fn q(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn prints_the_canonical_spelling() {
    for (text, canonical) in [
        ("0", "0"),
        ("0Ki", "0"),
        ("-0", "0"),
        ("1", "1"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1.", "1"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1.5Gi", "1536Mi"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("1.1Ki", "1126400m"),
        ("0.0001Ki", "102400u"),
        ("1e3", "1e3"),
        ("12e6", "12e6"),
        ("1e4", "10e3"),
        ("1.2345", "1234500u"),
        ("0.9n", "1n"),
        ("-0.9n", "-1n"),
        ("1e-10", "1e-9"),
        ("-1.5Gi", "-1536Mi"),
        ("8Ei", "9223372036854775807"),
        ("18446744073709551616", "18446744073709551616"),
        ("1000E", "1e21"),
        ("1e100", "10e99"),
        ("128974848", "128974848"),
        ("129M", "129M"),
        ("123Mi", "123Mi"),
        ("+", "0"),
        ("Ki", "0"),
    ] {
        assert_eq!(q(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn the_api_leaves_some_spellings_as_they_are() {
    for (text, stored) in [
        ("1.234", "1.234"),
        ("+5", "+5"),
        ("1E3", "1E3"),
        ("007", "007"),
        ("0.5", "500m"),
        ("1000", "1k"),
        // No binary suffix fits these, so that what is stored is read back as decimal.
        ("1.953125Ki", "2k"),
        ("446788843.75Ki", "457511776k"),
        ("1.4658203125Ki", "1501"),
    ] {
        assert_eq!(canonicalize(text).as_deref(), Ok(stored), "{text}");
    }
}

#[test]
fn tells_a_wrong_form_from_a_wrong_suffix() {
    for text in ["", "abc", "1 ", " 1", "1.5.5", "1m5m", "0x10", "1,5", "½", "1e3.5"] {
        assert_eq!(Quantity::parse(text), Err(ParseQuantityError::Format), "{text:?}");
    }
    for text in ["1K", "1mi", "1ki", "1GG", "1i", "1e", "1E+", "5k5", "1-", "--1", "1e99999999999999999999"] {
        assert_eq!(Quantity::parse(text), Err(ParseQuantityError::Suffix), "{text:?}");
    }
    assert_eq!(
        ParseQuantityError::Format.to_string(),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
    assert_eq!(ParseQuantityError::Suffix.to_string(), "unable to parse quantity's suffix");
}

#[test]
fn compares_by_amount() {
    assert_eq!(q("1000m"), q("1"));
    assert_eq!(q("1Ki"), q("1024"));
    assert!(q("1G") < q("1Gi"));
    assert!(q("-1") < q("0") && q("0") < q("1n"));
    assert!(q("1e40") > q("9e29") && q("-1e40") < q("-9e29") && q("1e41") > q("9e40"));
}

#[test]
fn counts_in_whole_and_milli_units_rounded_away_from_zero() {
    assert_eq!((q("1.5").value(), q("1.5").milli_value()), (2, 1500));
    assert_eq!((q("100u").value(), q("100u").milli_value()), (1, 1));
    assert_eq!((q("-1.5").value(), q("-100u").milli_value()), (-2, -1));
    assert_eq!((q("1e30").value(), q("-1e30").milli_value()), (i64::MAX, i64::MIN));
}

#[test]
fn sums_keep_the_format_of_the_first_that_is_not_zero() {
    assert_eq!((Quantity::ZERO + q("1Gi") + q("512Mi")).to_string(), "1536Mi");
    assert_eq!((q("1") - q("100m")).to_string(), "900m");
    assert_eq!((q("1Ki") - q("1")).to_string(), "1023");
    assert_eq!((q("1e40") + q("1")).to_string(), "10000000000000000000000000000000000001e3");
    assert_eq!((q("170141183460469231731687303715") + q("5")).to_string(), "170141183460469231731687303720");
}

#[test]
fn reads_json_strings_and_numbers() {
    let read = |json: &str| serde_json::from_str::<Quantity>(json).map(|q| q.to_string()).ok();
    assert_eq!(read("\"0.5\"").as_deref(), Some("500m"));
    assert_eq!(read("2").as_deref(), Some("2"));
    assert_eq!(read("0.25").as_deref(), Some("250m"));
    assert_eq!(read("\"much\""), None);
    assert_eq!(serde_json::to_string(&q("1.5Gi")).ok().as_deref(), Some("\"1536Mi\""));
}

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::DecimalSi), Just(Format::BinarySi), Just(Format::DecimalExponent)]
}

prop_compose! {
    fn any_quantity()(mantissa in any::<i64>(), exponent in -12..30i32, format in any_format()) -> Quantity {
        // Reading caps a binary quantity at 2⁶³-1, as Kubernetes does; a larger one does not come back.
        let exponent = if format == Format::BinarySi { exponent.min(0) } else { exponent };
        Quantity::normalized(i128::from(mantissa), exponent, format)
    }
}

proptest! {
    #[test]
    fn never_loses_anything_by_printing_and_reading(quantity in any_quantity()) {
        let printed = quantity.to_string();
        let read = Quantity::parse(&printed).expect("prints what it reads");
        prop_assert_eq!(read, quantity, "{}", printed);
        prop_assert_eq!(read.with_format(quantity.format).to_string(), printed);
    }

    #[test]
    fn never_panics_on_any_text_and_stores_what_stays(text in "\\PC{0,12}|[-+]?[0-9.]{0,60}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,4}") {
        if let Ok(quantity) = Quantity::parse(&text) {
            let stored = canonicalize(&text).expect("what parses has a spelling");
            prop_assert_eq!(Quantity::parse(&stored), Ok(quantity));
            prop_assert_eq!(canonicalize(&stored), Ok(stored));
            let _ = (quantity.value(), quantity.milli_value(), quantity + quantity, quantity - quantity);
        }
    }

    #[test]
    fn never_disagrees_with_integers(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
        let (x, y) = (Quantity::from_milli(a, Format::DecimalSi), q(&format!("{b}m")));
        prop_assert_eq!((x + y).milli_value(), a + b);
        prop_assert_eq!((x - y).milli_value(), a - b);
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
    }

    #[test]
    fn never_orders_a_sum_below_its_parts(a in any_quantity(), b in any_quantity()) {
        let sum = a + b;
        if !a.is_negative() && !b.is_negative() {
            prop_assert!(sum >= a && sum >= b);
        }
        prop_assert_eq!(a + b, b + a);
        prop_assert!((a - a).is_zero());
    }
}
