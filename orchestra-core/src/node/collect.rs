//! Removing what takes room and nobody needs: images that no container is of, and what containers have left of pods that ended.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};

use super::context::Context;
use super::garbage::{Images, Unused, is_of};
use super::model::is_terminal;
use crate::runtime::{Container, Filter, ImageRef, RuntimeError};

/// How often the images are looked at.
const PERIOD: Duration = Duration::from_secs(300);

/// Looks at the images for ever, where any are to go.
pub(super) async fn run(ctx: Arc<Context>) {
    if ctx.config.images.is_none() || !ctx.runtime.capabilities().images {
        return std::future::pending().await;
    }
    loop {
        if let Err(error) = collect(&ctx).await {
            tracing::debug!(node = ctx.name, %error, "the images were not looked at");
        }
        ctx.clock().sleep(PERIOD).await;
    }
}

/// Removes the images that are older than they may be, and as many as the disk needs.
async fn collect(ctx: &Context) -> Result<(), RuntimeError> {
    let Some(rules) = ctx.config.images else { return Ok(()) };
    let mut images = ctx.images.lock().await;
    for aged in look(ctx, &mut images).await?.into_iter().filter(|unused| unused.aged) {
        remove(ctx, &aged).await;
    }
    if !ctx.runtime.capabilities().stats {
        return Ok(());
    }
    let Some(wanted) = rules.wanted(&ctx.runtime.machine_stats().await?.disk) else { return Ok(()) };
    let freed = free(ctx, look(ctx, &mut images).await?, wanted).await;
    if freed < wanted {
        let message = format!(
            "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found \
             {freed} bytes eligible to free."
        );
        tracing::warn!(node = ctx.name, message, "the disk of images is nearly full");
        ctx.warning(&node(ctx), "FreeDiskSpaceFailed", message);
    }
    Ok(())
}

/// What an event about the node is about.
fn node(ctx: &Context) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: Some(ctx.name.clone()),
        ..ObjectReference::default()
    }
}

/// Makes room on a disk that is too full for pods, before one of them has to go. Whether anything was done: what that gives
/// back is to be seen before more is.
pub(super) async fn make_room(ctx: &Context) -> bool {
    let ended = forget_ended(ctx).await;
    if ctx.config.images.is_none() || !ctx.runtime.capabilities().images {
        return ended;
    }
    let mut images = ctx.images.lock().await;
    match look(ctx, &mut images).await {
        Ok(unused) => free(ctx, unused, u64::MAX).await > 0 || ended,
        Err(error) => {
            tracing::debug!(node = ctx.name, %error, "the images were not looked at");
            ended
        }
    }
}

/// Has the loops of pods that ended remove what their containers have left. Whether there is such a pod.
async fn forget_ended(ctx: &Context) -> bool {
    let left = ctx.runtime.list(&Filter::owner(ctx.owner())).await.unwrap_or_default();
    let mut any = false;
    for sandbox in left {
        let Some(mailbox) = ctx.residents.get(&sandbox.meta.pod.uid) else { continue };
        if mailbox.entry().decode_bare::<Pod>().is_ok_and(|pod| is_terminal(&pod)) {
            mailbox.put_room_is_needed();
            any = true;
        }
    }
    any
}

/// Looks what is there and what is used, and gives what may go.
async fn look(ctx: &Context, images: &mut Images) -> Result<Vec<Unused>, RuntimeError> {
    let Some(rules) = ctx.config.images else { return Ok(Vec::new()) };
    let there = ctx.runtime.images().await?;
    // Whoever's they are: agents may share a daemon.
    let containers: Vec<Container> = {
        let all = ctx.runtime.list(&Filter::default()).await?;
        all.into_iter().flat_map(|sandbox| sandbox.containers).collect()
    };
    let now = ctx.now();
    let named = |image: &crate::runtime::Image, written: &str| {
        let full = ImageRef::parse(written).map(|name| name.full().to_owned()).unwrap_or_default();
        image.tags.iter().any(|tag| tag == written || *tag == full)
    };
    let used = |image: &crate::runtime::Image| {
        containers.iter().any(|one| is_of(image, &one.image_id) || named(image, &one.image))
    };
    images.see(&there, used, now);
    Ok(images.unused(&rules, now))
}

/// Removes images until so much is given back. How much was.
async fn free(ctx: &Context, unused: Vec<Unused>, wanted: u64) -> u64 {
    let mut freed = 0_u64;
    for image in unused {
        if freed >= wanted {
            break;
        }
        if remove(ctx, &image).await {
            freed = freed.saturating_add(image.size);
        }
    }
    freed
}

/// Removes an image by all its names. Whether it went; one that is used after all stays.
async fn remove(ctx: &Context, image: &Unused) -> bool {
    for name in &image.names {
        let removed = match ImageRef::parse(name) {
            Ok(name) => ctx.runtime.remove_image(&name).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::debug!(node = ctx.name, image = name, %error, "an image stays");
            return false;
        }
    }
    tracing::info!(node = ctx.name, image = ?image.names, bytes = image.size, "an image that nobody uses was removed");
    true
}
