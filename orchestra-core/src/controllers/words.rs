//! Things as Kubernetes prints them in what it tells people.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A selector as Go prints it, which is what Kubernetes tells people.
pub(super) fn as_go(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let mut text = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in selector.match_labels.iter().flatten() {
        let _ = write!(text, "{key}: {value},");
    }
    text.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for it in selector.match_expressions.iter().flatten() {
        let values = it.values.as_deref().unwrap_or_default().join(" ");
        let _ = write!(
            text,
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
            it.key, it.operator
        );
    }
    text.push_str("},}");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_printed_as_go_prints_them() {
        let print = |value| as_go(Some(&serde_json::from_value::<LabelSelector>(value).unwrap()));
        assert_eq!(as_go(None), "nil");
        assert_eq!(
            print(json!({"matchLabels": {"b": "2", "a": "1"}})),
            "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:[]LabelSelectorRequirement{},}"
        );
        assert_eq!(
            print(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]})),
            "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{\
             LabelSelectorRequirement{Key:a,Operator:In,Values:[x y],},},}"
        );
    }
}
