//! Telling the kernel, by the program `nft`: it takes a text as a whole or not at all.

use std::io;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Where the program is, for those whose path does not say.
const FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// Whether the program is there, and this process may change tables with it.
pub(super) async fn available() -> io::Result<()> {
    run("add table ip orchestra-probe\ndelete table ip orchestra-probe\n").await
}

/// Does all that a text says, or nothing of it.
pub(super) async fn run(text: &str) -> io::Result<()> {
    let mut child =
        nft(&["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(text.as_bytes()).await?;
        }
        Ok(())
    };
    // At the same time: it may stop reading to say what it does not like.
    let (written, output) = tokio::join!(write, child.wait_with_output());
    outcome(output?)?;
    written
}

/// The rules of a chain, as the kernel has them.
pub(super) async fn chain(family: &str, table: &str, chain: &str) -> io::Result<String> {
    let output = nft(&["list", "chain", family, table, chain]).stdin(Stdio::null()).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    outcome(output)?;
    Ok(text)
}

/// The families and names of all tables that there are.
pub(super) async fn tables() -> io::Result<Vec<(String, String)>> {
    let output = nft(&["list", "tables"]).stdin(Stdio::null()).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    outcome(output)?;
    let table = |line: &str| {
        let (family, name) = line.strip_prefix("table ")?.split_once(' ')?;
        Some((family.to_owned(), name.trim().to_owned()))
    };
    Ok(text.lines().filter_map(table).collect())
}

fn nft(args: &[&str]) -> Command {
    let mut command = Command::new("nft");
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(args).env("PATH", format!("{path}:{FOLDERS}")).kill_on_drop(true);
    command
}

fn outcome(output: Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The first fault is the one that matters; the text around it may be long.
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
    Err(io::Error::other(format!("nft: {}", line.trim())))
}
