//! `orchestra up` is a whole cluster on one machine.
//!
//! | module | what |
//! | --- | --- |
//! | `cli` | the command line |
//! | `up` | the cluster in the foreground |
//! | `backend` | what its nodes are |
//! | `directory` | where a cluster keeps its state, and what may not share it |
//! | `control` | `orchestra stop` and `start`: parts of a running cluster, by a socket in its data directory |
//! | `history`, `backup` | `orchestra history`, `backup` and `restore`, through the API of a running cluster |
//! | `image` | `orchestra image`: images of the native runtime, in the data directory |
//! | `ingress` | serving Ingresses |
//! | `explain` | what is wrong, and why, through the API of a running cluster |
//! | `placing` | why a pod has no node, node by node |
//! | `dashboard` | the dashboard of a running cluster, in a browser |
//! | `record` | what happens to a cluster, recorded and lived again |
//! | `top` | a running cluster on a terminal, live |
//! | `what_if` | what would happen to a running cluster, in a fork of it here |
//! | `local_volumes` | directories of this machine that were volumes |
//! | `reset` | taking all of a cluster, a node or a master off a machine |
//! | `convert` | manifests of old versions, made those of today |
//! | `kubecfg` | the command line of before `kubectl` |
//! | `demo` | a throw-away cluster that shows itself |
//!
//! What runs beside the cluster's own tasks: in `up`, one task a connection to the control socket, and parts of the cluster
//! that follow the pods of other nodes, answer names and answer for load balancers; in `top`, one thread that reads keys.

mod backend;
mod backup;
mod cli;
mod control;
mod convert;
mod dashboard;
mod demo;
mod directory;
mod explain;
mod history;
mod image;
mod ingress;
mod kubecfg;
mod local_volumes;
mod placing;
mod progress;
mod record;
mod reset;
mod top;
mod up;
mod what_if;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: when the process runtime started this program to hold a container, it does that and nothing else.
    orchestra_runtime::process::init();
    let cli = Cli::parse_from(cli::typed(std::env::args_os()));
    orchestra_http::raise_descriptor_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Up(options) => up::run(*options).await,
            Command::Demo(options) => demo::run(options).await,
            Command::Start(options) => control::send(&options, "start").await,
            Command::Stop(options) => control::send(&options, "stop").await,
            Command::Status(options) => control::status(&options).await,
            Command::History(options) => history::run(&options).await,
            Command::Explain(options) => explain::run(&options).await,
            Command::Record(options) => record::run(&options).await,
            Command::Simulate(options) => record::simulate(&options).await,
            Command::Top(options) => top::run(&options).await,
            Command::Dashboard(options) => dashboard::run(&options).await,
            Command::WhatIf(options) => what_if::run(&options).await,
            Command::Convert(options) => convert::run(&options),
            Command::Kubecfg(options) => kubecfg::run(&options).await,
            Command::Image(options) => image::run(options).await,
            Command::Backup(options) => backup::run(&options).await,
            Command::Restore(options) => backup::restore(&options).await,
            Command::Reset(options) => reset::run(&options).await,
        }
    });
    // What is left are threads that wait for input that no longer matters.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain, once: each cause behind the last.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
