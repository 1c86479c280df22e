//! Numbers of pods that are given as such or as a percentage of all.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How many pods are meant. A percentage is rounded up or down; what is none counts as 0.
pub(super) fn share(value: &IntOrString, of: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(count) => (*count).max(0),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok());
            let product = percent.unwrap_or(0).max(0).saturating_mul(i64::from(of.max(0)));
            let pods = if up { product.saturating_add(99) / 100 } else { product / 100 };
            i32::try_from(pods).unwrap_or(i32::MAX)
        }
    }
}
