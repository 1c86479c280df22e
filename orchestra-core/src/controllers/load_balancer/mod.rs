//! Addresses of load balancers out of a pool: what a cloud does for Services of type LoadBalancer elsewhere.
//!
//! A Service is ours if it is of no class or of [`CLASS`]. Its addresses stand in its status and nowhere else, beside a
//! condition of type [`CONDITION`], by which the nodes know that they are to answer for them and this controller that it
//! may take them back. All Services are planned together, by one run at a time.

mod plan;
mod pool;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Host;
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::{Action, Context, Error, write};
use crate::meta::ObjectName;
use crate::watch::{Entry, Event, Query};
use plan::{Asking, Outcome, plan};
use pool::Family;
pub use pool::{AddressPool, AddressRange, InvalidAddressRange};

/// The class of Services that this controller gives addresses, beside those of no class.
pub const CLASS: &str = "orchestra.io/load-balancer";
/// The condition of a Service that shows addresses out of a pool of the cluster's.
pub const CONDITION: &str = "orchestra.io/LoadBalancerAddress";
/// The annotation of a Service with the addresses that it asks for, with commas between; before `spec.loadBalancerIP`.
pub const WISH: &str = "orchestra.io/load-balancer-ips";
/// Stands for all Services.
const ALL: &str = "";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    metadata: Meta,
    spec: Spec,
    status: ServiceStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    creation_timestamp: Option<Timestamp>,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    load_balancer_class: Option<String>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: String,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    ip_families: Vec<String>,
    ip_family_policy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceStatus {
    load_balancer: Balancer,
    conditions: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Balancer {
    ingress: Vec<Point>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Point {
    ip: String,
}

impl View {
    fn is_balanced(&self) -> bool {
        self.spec.kind == "LoadBalancer"
    }

    fn is_marked(&self) -> bool {
        self.status.conditions.iter().any(is_mark)
    }

    fn asking(&self, entry: &Entry) -> Asking {
        let addresses = |texts: &mut dyn Iterator<Item = &String>| -> Vec<IpAddr> {
            texts.filter_map(|text| text.parse().ok()).collect()
        };
        let families = self.spec.ip_families.iter().map(|family| match family.as_str() {
            "IPv6" => Family::V6,
            _ => Family::V4,
        });
        Asking {
            name: (entry.name().namespace().unwrap_or_default().to_owned(), entry.name().name().to_owned()),
            created: self.metadata.creation_timestamp.unwrap_or_default(),
            is_ours: self.is_balanced()
                && self.spec.load_balancer_class.as_deref().is_none_or(|class| class == CLASS),
            is_marked: self.is_marked(),
            shows: !self.status.load_balancer.ingress.is_empty(),
            families: families.collect(),
            all_families: self.spec.ip_family_policy == "RequireDualStack",
            wished: self.wished(),
            held: addresses(&mut self.status.load_balancer.ingress.iter().map(|point| &point.ip)),
            external: addresses(&mut self.spec.external_ips.iter()),
        }
    }

    fn wished(&self) -> Vec<Result<IpAddr, String>> {
        let text = self.metadata.annotations.get(WISH).unwrap_or(&self.spec.load_balancer_ip);
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(|word| word.parse().map_err(|_| word.to_owned())).collect()
    }
}

fn is_mark(condition: &Value) -> bool {
    condition["type"] == CONDITION
}

/// Runs the controller.
pub(super) async fn run(host: Host, pool: AddressPool) -> Result<(), Status> {
    let matters = |event: &Event| {
        let view = event.object.view::<View>();
        view.is_ok_and(|view| view.is_balanced() || view.is_marked() || !view.spec.external_ips.is_empty())
    };
    let controller = host.controller::<Service>().named("service-lb-controller").when(matters);
    let told = Arc::new(Told { recorder: host.recorder("service-controller"), before: Mutex::default() });
    let reconcile = move |context: Context| {
        let (pool, told) = (pool.clone(), Arc::clone(&told));
        async move {
            if *context.name() == all() {
                return settle(&context, &pool, &told).await;
            }
            context.run_for(all());
            Ok(Action::Done)
        }
    };
    host.run(controller, reconcile).await
}

fn all() -> ObjectName {
    ObjectName::cluster(ALL)
}

async fn settle(context: &Context, pool: &AddressPool, told: &Told) -> Result<Action, Error> {
    let entries = context.cache::<Service>().await?.list(&Query::all());
    let mut asking = Vec::with_capacity(entries.len());
    for entry in &entries {
        asking.push(entry.view::<View>()?.asking(entry));
    }
    let outcomes = plan(pool, &asking);
    // Who gives up an address comes before who gets it: what is shown is never two Services'.
    let gives_up = |(_, outcome): &(&Arc<Entry>, &Outcome)| outcome.show.as_ref().is_some_and(Vec::is_empty);
    let (first, then): (Vec<_>, Vec<_>) = entries.iter().zip(&outcomes).partition(gives_up);
    for (entry, outcome) in first.into_iter().chain(then) {
        if let Some(addresses) = &outcome.show {
            let status = status(&entry.view::<View>()?.status, addresses, context.now());
            write::unless_gone(write::patch_status::<Service>(context.client(), entry, status).await)?;
        }
        told.tell(entry, outcome);
    }
    told.forget(&entries);
    Ok(Action::Done)
}

/// The status of a Service that shows these addresses.
fn status(held: &ServiceStatus, addresses: &[IpAddr], now: Timestamp) -> Value {
    let others = held.conditions.iter().filter(|condition| !is_mark(condition)).cloned();
    let mark = json!({
        "type": CONDITION, "status": "True", "reason": "FromPool", "lastTransitionTime": now.strftime("%FT%TZ").to_string(),
        "message": "the address is out of the cluster's pool, and a node of the cluster answers for it",
    });
    let conditions: Vec<Value> = others.chain((!addresses.is_empty()).then_some(mark)).collect();
    let ingress: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
    let balancer = if ingress.is_empty() { json!({"ingress": null}) } else { json!({"ingress": ingress}) };
    json!({"loadBalancer": balancer, "conditions": conditions})
}

/// Tells of what a Service was given and of what it lacks, once each.
struct Told {
    recorder: Recorder,
    before: Mutex<BTreeMap<ObjectName, String>>,
}

impl Told {
    fn tell(&self, entry: &Entry, outcome: &Outcome) {
        let about = || reference_to::<Service>(entry);
        if let Some(addresses) = outcome.show.as_ref().filter(|all| !all.is_empty()) {
            let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            self.recorder.normal(
                &about(),
                "EnsuredLoadBalancer",
                format!("Ensured load balancer at {}", all.join(", ")),
            );
        }
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome.lacks {
            None => drop(before.remove(entry.name())),
            Some(why) if before.get(entry.name()) == Some(why) => {}
            Some(why) => {
                let message = format!("Error syncing load balancer: {why}");
                self.recorder.warning(&about(), "SyncLoadBalancerFailed", message);
                before.insert(entry.name().clone(), why.clone());
            }
        }
    }

    fn forget(&self, entries: &[Arc<Entry>]) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before.retain(|name, _| entries.iter().any(|entry| entry.name() == name));
    }
}
