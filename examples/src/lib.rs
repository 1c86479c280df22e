//! Programs that show what orchestra is for. Each is short, needs no daemon and no rights, and is tested as CI runs it.
//!
//! | `cargo run -p orchestra-examples --bin …` | what it shows |
//! | --- | --- |
//! | `embed` | a cluster in a variable: start it, deploy, watch, scale, list by labels, stop it; with `--data-dir` it outlives the process |
//! | `website_controller` | a kind of one's own and the controller that makes it real |
//! | `custom_ports` | a store, a runtime and a network of one's own, and the suites that say they are right |
//! | `selectors` | the label-selector engine by itself |
//!
//! They come in the order in which to read them. [`wait`] is what they share. A controller for a cluster elsewhere, from outside or
//! in one of its pods, is `cargo run -p orchestra-http --example pull_secrets`.

pub mod wait;
