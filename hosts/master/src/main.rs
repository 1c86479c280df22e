//! `orchestra-master`: API, scheduler and controllers in the foreground, until a signal.

use std::process::ExitCode;

use clap::Parser as _;
use orchestra_master::{Attached, Master, Options};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    log_to_stderr(options.verbose);
    orchestra_http::raise_descriptor_limit();
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(file) = &options.restore {
        let made = orchestra_master::restore(options, file).await?;
        println!(
            "{} records of revision {} are restored; start the master without --restore",
            made.records, made.revision
        );
        return Ok(());
    }
    // Before anything is started: a signal that comes meanwhile must not leave half of it behind.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    if let Some(server) = &options.server {
        let attached = Attached::start(options, server)?;
        println!("{} for {server}\n\nCtrl-C ends it; what it has made goes on.", attached.told());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        println!("stopping");
        attached.stop().await;
        return Ok(());
    }
    let master = Master::start(options).await?;
    println!("The master serves the Kubernetes API at {}\n", master.url());
    println!("  export KUBECONFIG={}\n", master.kubeconfig().display());
    println!("A machine becomes a node of this cluster by:\n");
    println!("  orchestra-node --join {} --token {}\n", master.url(), master.token());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("stopping");
    master.stop().await;
    Ok(())
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::new(format!("warn,orchestra_core={level},orchestra_http={level}"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
