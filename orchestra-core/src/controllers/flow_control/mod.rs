//! Flow schemas and priority levels: those that every cluster has, kept as they are to be, and which flow schemas name
//! a level that is not there.

mod plan;

use k8s_openapi::api::flowcontrol::v1::{FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration};
use serde::Deserialize;
use serde_json::json;

use self::plan::Keep;
use super::Host;
use crate::api::{Api, Patch, Status, User};
use crate::control::{Action, Context, Error, predicate, write};
use crate::meta::{Object, ObjectName};
use crate::objects::flowcontrol::{Bootstrap, flow_schemas, priority_levels};
use crate::watch::{Entry, Query};

/// Stands for every flow schema: a level that comes or goes may matter to any.
const EVERY: &str = "";

/// What is read of a flow schema.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    spec: Spec,
    status: FlowSchemaStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    priority_level_configuration: Level,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Level {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FlowSchemaStatus {
    conditions: Vec<FlowSchemaCondition>,
}

/// Runs the controller that keeps the priority levels that every cluster has.
pub(super) async fn run_levels(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<PriorityLevelConfiguration>()
        .named("prioritylevel-controller")
        .named_by(names(priority_levels()));
    host.run(controller, |context: Context| async move {
        keep::<PriorityLevelConfiguration>(&context, priority_levels()).await?;
        Ok::<_, Error>(Action::Done)
    })
    .await
}

/// Who owns in Kubernetes what is said of flow schemas.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Runs the controller that keeps the flow schemas that every cluster has, and says which lead nowhere.
pub(super) async fn run_schemas(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<FlowSchema>()
        .named("flowschema-controller")
        .named_by(names(flow_schemas()))
        .watches::<PriorityLevelConfiguration, _, _>(|_| [ObjectName::cluster(EVERY)])
        .when(predicate::generation_changed);
    host.run(controller, |context: Context| async move {
        if context.name().name() == EVERY {
            for schema in context.cache::<FlowSchema>().await?.list(&Query::all()) {
                context.run_for(schema.name().clone());
            }
            return Ok::<_, Error>(Action::Done);
        }
        if !keep::<FlowSchema>(&context, flow_schemas()).await?
            && let Some(entry) = context.entry::<FlowSchema>().await?
        {
            tell(&context, &entry).await?;
        }
        Ok(Action::Done)
    })
    .await
}

/// Their names, so that each is looked at also when it is not there.
fn names(all: &'static [Bootstrap]) -> impl futures::Stream<Item = ObjectName> + Send + 'static {
    futures::stream::iter(all.iter().map(|object| ObjectName::cluster(object.name)))
}

/// Makes one that every cluster has, or puts it right, and returns whether there was anything to do.
async fn keep<K: Object>(context: &Context, all: &[Bootstrap]) -> Result<bool, Error> {
    let name = context.name().name();
    let Some(wanted) = all.iter().find(|object| object.name == name) else { return Ok(false) };
    let held = context.entry::<K>().await?.map(|entry| entry.to_value()).transpose()?;
    // They are the API server's own.
    let user = User::named("system:apiserver").in_group("system:masters");
    let api: Api<K> = context.client().as_user(user).cluster();
    match plan::keep(wanted, held.as_ref()) {
        Keep::AsItIs => return Ok(false),
        Keep::Create(object) => {
            let object = K::deserialize(&object)?;
            match api.create(&object).await {
                // Another master made it.
                Err(status) if !status.is_already_exists() => return Err(status.into()),
                _ => {}
            }
        }
        Keep::Change(change) => drop(api.patch(name, Patch::Merge(change)).await?),
    }
    Ok(true)
}

/// Says of a flow schema whether the level that it names is there.
async fn tell(context: &Context, entry: &Entry) -> Result<(), Error> {
    let view = entry.view::<View>()?;
    let level = &view.spec.priority_level_configuration.name;
    let levels = context.cache::<PriorityLevelConfiguration>().await?;
    let there = levels.get(&ObjectName::cluster(level.as_str())).is_some();
    let conditions = plan::conditions(&view.status.conditions, level, there, context.now());
    if conditions != view.status.conditions {
        // What others say is theirs.
        let ours = conditions.iter().find(|condition| condition.type_.as_deref() == Some(plan::DANGLING));
        let status = json!({ "conditions": ours.into_iter().collect::<Vec<_>>() });
        let written = write::apply_status::<FlowSchema>(context.client(), entry, MANAGER, status).await;
        write::unless_gone(written)?;
    }
    Ok(())
}
