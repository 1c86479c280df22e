//! The figures as a picture, on logarithmic scales.

use std::fmt::Write as _;

use super::{Row, Unit};

const LEFT: f64 = 70.0;
const RIGHT: f64 = 490.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 315.0;
const COLOURS: [&str; 6] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b"];

/// A line for each row.
pub(crate) fn svg(numbers: &[usize], rows: &[&Row]) -> String {
    let all = || rows.iter().flat_map(|row| row.values.iter().copied()).filter(|value| *value > 0.0);
    let lowest = all().fold(f64::MAX, f64::min).log10().floor();
    let highest = all().fold(f64::MIN_POSITIVE, f64::max).log10().ceil().max(lowest + 1.0);
    let height = |value: f64| BOTTOM - (value.log10() - lowest) / (highest - lowest) * (BOTTOM - TOP);
    let (few, many) = (scale(numbers.first()), scale(numbers.last()));
    let place = |number: &usize| LEFT + (scale(Some(number)) - few) / (many - few).max(1.0) * (RIGHT - LEFT);
    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"360\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"70\" y=\"22\" font-size=\"14\">What things cost among so many pods</text>\n",
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = out.write_fmt(text);
        out.push('\n');
    };
    for power in lowest as i32..=highest as i32 {
        let (value, y) = (10f64.powi(power), height(10f64.powi(power)));
        let name = Unit::Seconds.text(value);
        line(format_args!(
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>"
        ));
        line(format_args!(
            "<text x=\"64\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{name}</text>",
            y + 4.0
        ));
    }
    for number in numbers {
        let x = place(number);
        line(format_args!(
            "<text x=\"{x:.1}\" y=\"333\" text-anchor=\"middle\" fill=\"#555\">{number}</text>"
        ));
    }
    for (index, (row, colour)) in rows.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let points: Vec<String> = numbers
            .iter()
            .zip(&row.values)
            .filter(|(_, value)| **value > 0.0)
            .map(|(number, value)| format!("{:.1},{:.1}", place(number), height(*value)))
            .collect();
        let y = TOP + 20.0 * index as f64;
        line(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
        line(format_args!("<text x=\"500\" y=\"{y}\" fill=\"{colour}\">{}</text>", row.id));
    }
    out.push_str("</svg>\n");
    out
}

fn scale(number: Option<&usize>) -> f64 {
    number.map_or(0.0, |number| (*number as f64).log10())
}
