//! An operator that frees a member's volume when it sees that the member is being deleted. Of one that came and went while
//! it did not look, the volume stays for ever.
//!
//! Mended, it compares what there is with what there should be: a volume without a member goes, however the member went.

use std::time::Duration;

use orchestra_core::api::Patch;
use orchestra_core::control::{Action, Context, Error};
use orchestra_core::simulation::Scenario;
use orchestra_core::watch::Query;
use serde_json::json;

use super::database::{self, Database, Member, Volume, create, ensure};

const ALL: u32 = 8;

async fn delete_volume(context: &Context, name: &str) -> Result<(), Error> {
    match context.api::<Volume>().delete(name).await {
        Err(status) if !status.is_not_found() => Err(status.into()),
        _ => Ok(()),
    }
}

async fn reconcile(context: Context, buggy: bool) -> Result<Action, Error> {
    let Some(database) = context.object::<Database>().await? else { return Ok(Action::Done) };
    let name = context.name().name();
    for number in 0..database.spec.members {
        let member = format!("{name}-{number}");
        ensure::<Volume>(&context, &member).await?;
        ensure::<Member>(&context, &member).await?;
    }
    let members = context.cache::<Member>().await?;
    if buggy {
        // A member is kept until its machine lets go of it; that is when it is seen to be deleted.
        for entry in members.list(&Query::namespace(context.namespace())) {
            if entry.is_deleting() {
                delete_volume(&context, entry.name().name()).await?;
            }
        }
    }
    for number in database.spec.members..ALL {
        let member = format!("{name}-{number}");
        let there = members.get(&database::named(&context, &member));
        if there.as_ref().is_some_and(|entry| !entry.is_deleting()) {
            context.api::<Member>().delete(&member).await?;
        }
        let volumes = context.cache::<Volume>().await?;
        if !buggy && there.is_none() && volumes.get(&database::named(&context, &member)).is_some() {
            delete_volume(&context, &member).await?;
        }
    }
    Ok(Action::Done)
}

/// A database grows and shrinks; a machine lets go of a member half a second after it is deleted.
pub fn scenario(buggy: bool) -> Scenario {
    let name = if buggy { "an operator that must see everything" } else { "one that compares" };
    database::scenario(name, move |context| reconcile(context, buggy))
        .script(|world| async move {
            let client = world.client();
            let mut orders = database::plain("orders");
            orders["spec"] = json!({"members": 3});
            create::<Database>(&client, orders).await?;
            let (databases, members) = (client.api::<Database>("default"), client.api::<Member>("default"));
            for wanted in [1, 4, 2] {
                world.sleep(Duration::from_secs(3)).await;
                for member in members.list().await? {
                    let held = json!({"metadata": {"finalizers": ["example.org/machine"]}});
                    members
                        .patch(member.metadata.name.as_deref().unwrap_or_default(), Patch::Merge(held))
                        .await?;
                }
                databases.patch("orders", Patch::Merge(json!({"spec": {"members": wanted}}))).await?;
                let began = world.clock().elapsed();
                // The machines: whatever is deleted is let go of soon.
                while world.clock().elapsed() - began < Duration::from_secs(70) {
                    world.sleep(Duration::from_millis(500)).await;
                    for member in members.list().await? {
                        if member.metadata.deletion_timestamp.is_some() {
                            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                            members.patch(member.metadata.name.as_deref().unwrap_or_default(), free).await?;
                        }
                    }
                }
            }
            Ok(())
        })
        .eventually("there are as many members as are wanted", |state| {
            match state.objects::<Member>().count() {
                2 => Ok(()),
                count => Err(format!("{count} members")),
            }
        })
        .eventually("no volume is left behind", |state| {
            let left: Vec<_> = state
                .objects::<Volume>()
                .filter_map(|volume| volume.metadata.name.clone())
                .filter(|name| state.object::<Member>("default", name).is_none())
                .collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} belong to nobody")) }
        })
}
