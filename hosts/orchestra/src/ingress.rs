//! Serving Ingresses beside the cluster, if the command line says where.

use std::net::IpAddr;

use anyhow::Context as _;
use orchestra_core::cluster::Builder;
use orchestra_http::own_address;
use orchestra_ingress::Controller;
use tracing::error;

use crate::cli::Up;

/// The part that serves them.
const INGRESS: &str = "ingress";

/// Where it is reached, if it is asked for.
pub(crate) fn address(options: &Up) -> Option<IpAddr> {
    let first = options.ingress_listen.or(options.ingress_tls_listen)?;
    Some(if first.ip().is_unspecified() { own_address() } else { first.ip() })
}

/// Adds it to a cluster that is to be started, and says where it is reached.
pub(crate) fn add_to(builder: Builder, options: &Up) -> anyhow::Result<(Builder, Vec<String>)> {
    let asked = [("http", options.ingress_listen), ("https", options.ingress_tls_listen)];
    let Some(shown) = address(options) else { return Ok((builder, Vec::new())) };
    let mut controller = Controller::new([shown]);
    let mut reached = Vec::new();
    for (scheme, address) in asked.into_iter().filter_map(|(scheme, address)| Some((scheme, address?))) {
        let listening = match scheme {
            "https" => controller.https(address),
            _ => controller.http(address),
        };
        controller = listening.with_context(|| format!("Ingresses cannot be served at {address}"))?;
        reached.push(format!("{scheme}://{address}"));
    }
    let builder = builder.part(INGRESS, move |client, stop| {
        let controller = controller.clone();
        async move {
            if let Err(error) = controller.run(client, stop.cancelled_owned()).await {
                error!(%error, "Ingresses are no longer served");
            }
        }
    });
    Ok((builder, reached))
}
