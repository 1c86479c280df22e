//! Giving ClusterRoles with an `aggregationRule` the rules of those that they gather.

mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole};
use serde::Deserialize;
use serde_json::{Value, json};

use self::plan::Part;
use super::Host;
use crate::api::Status;
use crate::control::{Action, Context, Error, Reconciler, write};
use crate::meta::{ObjectName, Revision};
use crate::watch::{Entry, Query};

#[derive(Default)]
struct Aggregation {
    /// Of which revision of a role those that may gather it were last told.
    told: Mutex<HashMap<ObjectName, Revision>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    aggregation_rule: Option<AggregationRule>,
    #[serde(default)]
    rules: Option<Vec<Value>>,
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller = host.controller::<ClusterRole>().named("clusterrole-aggregation-controller");
    host.run(controller, Aggregation::default()).await
}

#[async_trait]
impl Reconciler for Aggregation {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let roles = context.cache::<ClusterRole>().await?.list(&Query::all());
        let views: Vec<Arc<View>> = roles.iter().map(|role| role.view()).collect::<Result<_, _>>()?;
        let role = roles.iter().zip(&views).find(|(role, _)| role.name() == context.name());
        if self.is_news(context.name(), role.map(|(role, _)| &**role)) {
            let gathering = roles.iter().zip(&views).filter(|(_, view)| view.aggregation_rule.is_some());
            for (other, _) in gathering.filter(|(other, _)| other.name() != context.name()) {
                context.run_for(other.name().clone());
            }
        }
        let Some((role, view)) = role else { return Ok(Action::Done) };
        let Some(aggregation) = &view.aggregation_rule else { return Ok(Action::Done) };
        let parts = roles.iter().zip(&views).map(|(role, view)| Part {
            name: role.name().name(),
            labels: role.labels(),
            rules: view.rules.as_deref().unwrap_or_default(),
        });
        let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
        let rules = plan::gather(role.name().name(), selectors, parts);
        if view.rules.as_deref().unwrap_or_default() != rules {
            let patch = json!({"rules": rules});
            write::unless_gone(write::patch::<ClusterRole>(context.client(), role, patch).await)?;
        }
        Ok(Action::Done)
    }
}

impl Aggregation {
    /// Whether those that may gather a role have not been told that it is as it is, or gone.
    fn is_news(&self, name: &ObjectName, role: Option<&Entry>) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match role {
            Some(role) => told.insert(name.clone(), role.revision()) != Some(role.revision()),
            None => told.remove(name).is_some(),
        }
    }
}
