//! What a person types into `kubectl` after `orchestra up`, on every version of `kubectl` that is to work.

#[path = "../../../../orchestra-runtime/tests/native/archive.rs"]
mod archive;
mod docker;
mod following;
mod kubecfg;
mod native;
mod pageview;
mod seeds;
mod streams;
mod support;
mod typed;
mod verbs;
