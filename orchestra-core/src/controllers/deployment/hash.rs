//! The hash of a pod template.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The letters of names that the system makes up.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template, as it stands in names and labels: FNV-1 of 32 bits over its canonical JSON and the number
/// of collisions so far, each decimal digit written as a letter that makes no words. Kubernetes hashes a dump of its
/// own structures instead; the values differ, the form does not.
pub(in crate::controllers) fn template(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    // A template is made of plain maps and lists, whose encoding cannot fail.
    let json = serde_json::to_vec(template).unwrap_or_default();
    let collisions = collisions.map(i32::to_le_bytes);
    let bytes = json.iter().chain(collisions.iter().flatten());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte));
    let letter = |digit: u8| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]);
    hash.to_string().bytes().map(letter).collect()
}

/// Whether two templates are the same but for the label that the hash itself is in.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let plain = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.remove(super::model::TEMPLATE_HASH);
        }
        template
    };
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_the_template_and_on_collisions() {
        let of = |image: &str, collisions| {
            let json = serde_json::json!({"spec": {"containers": [{"name": "c", "image": image}]}});
            template(&serde_json::from_value(json).unwrap(), collisions)
        };
        assert_eq!(of("a", None), of("a", None));
        assert_ne!(of("a", None), of("b", None));
        assert_ne!(of("a", None), of("a", Some(1)));
        assert!(of("a", None).bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
