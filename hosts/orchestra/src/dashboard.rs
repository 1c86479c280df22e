//! The dashboard of a running cluster, in a browser of this machine.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use orchestra_http::Console;

use crate::backup::connect;
use crate::cli;

pub(crate) async fn run(options: &cli::Dashboard) -> anyhow::Result<()> {
    let remote = connect(&options.access)?;
    let console = Console::bind(remote, options.port)
        .await
        .with_context(|| format!("the port {} of this machine cannot be had", options.port))?;
    println!("The dashboard is at\n\n  {}\n", console.url());
    println!("The address is good once, for one browser. Ctrl-C ends it.");
    if !options.url && !open(&console.url()) {
        println!("No browser could be opened: open the address yourself.");
    }
    tokio::select! {
        outcome = console.run() => Ok(outcome?),
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
    }
}

/// Has the desktop open an address, if there is one.
fn open(url: &str) -> bool {
    let has_desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if !has_desktop && !cfg!(target_os = "macos") {
        return false;
    }
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}
