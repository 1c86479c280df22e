//! JSON laid out for people, with its fields in the order in which they stand.

/// The same JSON, indented by two spaces a level as Go does it.
pub(crate) fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if let Some(end) = bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b'"' => {
                out.push(byte);
                string(&mut bytes, &mut out);
            }
            byte if byte.is_ascii_whitespace() => {}
            byte => out.push(byte),
        }
    }
    out
}

/// The rest of a string, which is copied as it is.
fn string(bytes: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    while let Some(byte) = bytes.next() {
        out.push(byte);
        match byte {
            b'"' => return,
            b'\\' => out.extend(bytes.next()),
            _ => {}
        }
    }
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 2));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_layout_is_serde_jsons() {
        for value in [
            json!({"a": [1, {"b": "x:{},[]\"\\"}, [], {}], "c": {"d": null, "e": ""}}),
            json!([]),
            json!("a, b"),
            json!([[1.5, true]]),
        ] {
            let text = indent(value.to_string().as_bytes());
            assert_eq!(String::from_utf8(text.clone()).unwrap(), format!("{value:#}"));
            assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
            assert_eq!(indent(&text), text, "once is enough");
        }
    }
}
