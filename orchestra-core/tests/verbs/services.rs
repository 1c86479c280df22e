//! The addresses of Services of a cluster that has both families.

use k8s_openapi::api::core::v1::Service;
use orchestra_core::api::Patch;
use orchestra_core::testing::TestServer;
use serde_json::{Value, json};

use super::service;

#[tokio::test(start_paused = true)]
async fn services_have_addresses_of_the_families_that_they_ask_for() {
    let ranges = "10.96.0.0/28,fd00:10:96::/112".parse().unwrap();
    let server = TestServer::builder().service_ranges(ranges).start().await;
    let client = server.client();
    let services = client.api::<Service>("default");
    let of = |made: Service| {
        let spec = made.spec.unwrap();
        let ips = spec.cluster_ips.unwrap();
        assert_eq!(spec.cluster_ip.as_ref(), ips.first());
        for (ip, family) in ips.iter().zip(spec.ip_families.iter().flatten()) {
            let first = if family == "IPv6" { "fd00:10:96::" } else { "10.96.0." };
            assert!(ip.starts_with(first), "{ip} {family}");
        }
        (spec.ip_families.unwrap(), ips.len(), spec.ip_family_policy.unwrap())
    };
    let (v4, v6) = ("IPv4".to_owned(), "IPv6".to_owned());
    let cases = [
        (json!({}), vec![v4.clone()], "SingleStack"),
        (json!({"ipFamilies": ["IPv6"]}), vec![v6.clone()], "SingleStack"),
        (json!({"clusterIP": "fd00:10:96::7"}), vec![v6.clone()], "SingleStack"),
        (json!({"ipFamilyPolicy": "PreferDualStack"}), vec![v4.clone(), v6.clone()], "PreferDualStack"),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
            vec![v6.clone(), v4.clone()],
            "RequireDualStack",
        ),
    ];
    for (index, (fields, families, policy)) in cases.into_iter().enumerate() {
        let mut spec = json!({"ports": [{"port": 80}]});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let made = services.create(&service(&format!("s{index}"), spec)).await.unwrap();
        assert_eq!(of(made), (families.clone(), families.len(), policy.to_owned()), "{fields}");
    }
    let refused = async |name: &str, fields: Value| {
        let refused = services.create(&service(name, fields)).await.unwrap_err();
        refused.message().to_owned()
    };
    let taken = refused("taken", json!({"clusterIP": "fd00:10:96::7", "ports": [{"port": 80}]})).await;
    assert!(taken.contains("provided IP is already allocated"), "{taken}");
    let outside = refused("outside", json!({"clusterIP": "fd00::7", "ports": [{"port": 80}]})).await;
    assert!(outside.contains("The range of valid IPs is fd00:10:96::/112"), "{outside}");

    // One family more, and back: the second address is given and taken back, the first one stays.
    let first = services.get("s0").await.unwrap().spec.unwrap().cluster_ip;
    let change = |policy: &str| Patch::Merge(json!({"spec": {"ipFamilyPolicy": policy}}));
    let more = services.patch("s0", change("RequireDualStack")).await.unwrap();
    let second = more.spec.as_ref().unwrap().cluster_ips.as_ref().unwrap()[1].clone();
    assert_eq!(of(more).1, 2);
    let less = services.patch("s0", change("SingleStack")).await.unwrap();
    assert_eq!(less.spec.as_ref().unwrap().cluster_ip, first);
    assert_eq!(of(less), (vec![v4], 1, "SingleStack".to_owned()));
    services.create(&service("freed", json!({"clusterIP": second, "ports": [{"port": 80}]}))).await.unwrap();
}
