//! The socket at which device plugins register: a gRPC server of one method, which takes one small message and answers
//! with none.

use std::sync::Arc;

use prost::Message as _;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::Shared;
use super::proto::RegisterRequest;
use super::wire::{self, Refusal, UNKNOWN};

/// The only version of the API that there is.
const VERSION: &str = "v1beta1";
/// Most plugins that are connected at a time.
const CONNECTIONS: usize = 256;

/// Takes plugins in for as long as it is not dropped.
pub(super) async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a device plugin could not be taken in");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            if let Err(error) = wire::serve(stream, |message| register(&shared, message)).await {
                tracing::debug!(%error, "a device plugin was not understood");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

fn register(shared: &Arc<Shared>, message: &[u8]) -> Result<(), Refusal> {
    let asked = RegisterRequest::decode(message)
        .map_err(|error| (UNKNOWN, format!("the request cannot be read: {error}")))?;
    if asked.version != VERSION {
        let why = format!(
            "requested API version {:?} is not supported by kubelet. Supported version is {VERSION:?}",
            asked.version
        );
        return Err((UNKNOWN, why));
    }
    if !is_extended(&asked.resource_name) {
        return Err((UNKNOWN, format!("the ResourceName {:?} is invalid", asked.resource_name)));
    }
    if asked.endpoint.is_empty() || asked.endpoint.contains('/') || asked.endpoint == ".." {
        let why =
            format!("the endpoint {:?} is not the name of a socket in the plugins' folder", asked.endpoint);
        return Err((UNKNOWN, why));
    }
    shared.registered(asked);
    Ok(())
}

/// Whether a resource is called as those are that are nobody's but its maker's: `example.com/dongle`.
fn is_extended(name: &str) -> bool {
    let plain = |text: &str, longest: usize| {
        let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric());
        ends && text.len() <= longest
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let Some((domain, own)) = name.split_once('/') else { return false };
    let of_kubernetes = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    plain(domain, 244) && plain(own, 63) && !of_kubernetes && !domain.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_called_after_who_makes_them() {
        for name in ["example.com/dongle", "a.b/C_d.e-1"] {
            assert!(is_extended(name), "{name}");
        }
        for name in
            ["dongle", "kubernetes.io/x", "a.kubernetes.io/x", "a/b/c", "/x", "a/", "requests.a.b/c", "a b/c"]
        {
            assert!(!is_extended(name), "{name}");
        }
    }
}
