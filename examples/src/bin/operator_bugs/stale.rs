//! An operator that deletes a database's volume when it sees the database go. It goes by the name: started again against
//! an API server that lags behind, it sees a database go that has long gone, and deletes the volume of the one that came
//! after it under the same name.
//!
//! Mended, it says of which volume it speaks: the one that it sees, by its uid.

use std::time::Duration;

use orchestra_core::api::{DeleteOptions, Patch};
use orchestra_core::control::{Action, Context, Error};
use orchestra_core::simulation::{Scenario, State};
use serde_json::json;

use super::database::{self, Database, Volume, create, ensure, named, plain};

const FINALIZER: &str = "example.org/volume";

async fn reconcile(context: Context, buggy: bool) -> Result<Action, Error> {
    let Some(database) = context.object::<Database>().await? else { return Ok(Action::Done) };
    let volume_name = format!("{}-data", context.name().name());
    let databases = context.api::<Database>();
    if database.metadata.deletion_timestamp.is_none() {
        if database.metadata.finalizers.is_none() {
            let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
            databases.patch(context.name().name(), Patch::Merge(patch)).await?;
        }
        ensure::<Volume>(&context, &volume_name).await?;
        return Ok(Action::Done);
    }
    let seen = context.cache::<Volume>().await?.get(&named(&context, &volume_name));
    if let Some(seen) = seen {
        let uid = (!buggy).then(|| seen.uid().to_string());
        let options = DeleteOptions { uid, ..DeleteOptions::default() };
        match context.api::<Volume>().delete_with(&volume_name, options).await {
            Err(status) if !status.is_not_found() && !status.is_conflict() => return Err(status.into()),
            _ => {}
        }
    }
    let held = json!({"metadata": {"finalizers": null, "uid": database.metadata.uid}});
    match databases.patch(context.name().name(), Patch::Merge(held)).await {
        Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status.into()),
        _ => Ok(Action::Done),
    }
}

/// A database is made, deleted, and made anew under the same name; then there are more people who make some.
pub fn scenario(buggy: bool) -> Scenario {
    let name = if buggy { "an operator that believes the past" } else { "one that names what it deletes" };
    database::scenario(name, move |context| reconcile(context, buggy))
        .script(|world| async move {
            let (client, pause) = (world.client(), Duration::from_secs(3));
            for round in 0..2 {
                create::<Database>(&client, plain("orders")).await?;
                world.sleep(pause).await;
                if round == 0 {
                    let databases = client.api::<Database>("default");
                    databases.delete("orders").await?;
                    databases.until("orders", |held| held.is_none()).await?;
                    world.sleep(pause).await;
                }
            }
            create::<Database>(&client, plain("users")).await?;
            world.sleep(pause).await;
            Ok(())
        })
        .always("the data of a database that is wanted stays", stays)
        .eventually("each database has its volume", |state| {
            let has = |name: &str| state.object::<Volume>("default", &format!("{name}-data"));
            let all = ["orders", "users"].into_iter().find(|name| has(name).is_none());
            all.map_or(Ok(()), |name| Err(format!("{name} has none")))
        })
}

/// No volume is removed while there is a database of its name that is not being deleted.
fn stays(state: &State) -> Result<(), String> {
    for volume in state.removed::<Volume>() {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let owner = name.strip_suffix("-data").and_then(|name| state.object::<Database>("default", name));
        if owner.is_some_and(|owner| owner.metadata.deletion_timestamp.is_none()) {
            return Err(format!("{name} was deleted"));
        }
    }
    Ok(())
}
