//! What a person types into `kubectl` after `orchestra up`, on every version of `kubectl` that is to work.

mod docker;
mod following;
mod kubecfg;
mod native;
mod seeds;
mod streams;
mod support;
mod typed;
mod verbs;
