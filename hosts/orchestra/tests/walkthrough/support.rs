//! A cluster as a person starts it, and `kubectl` as a person types it.

#[path = "../../../../orchestra-runtime/tests/support/daemons.rs"]
pub(crate) mod daemons;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take. Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where programs run: in this network namespace, or in another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The file that is the namespace.
    pub(crate) netns: Option<PathBuf>,
    /// Where Docker answers there.
    pub(crate) docker: Option<String>,
}

impl Place {
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.netns {
            // Its own process, as `nsenter` becomes the program.
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", netns.display())).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.envs(self.docker.as_ref().map(|docker| ("DOCKER_HOST", docker)));
        command
    }
}

/// `orchestra up`, in a directory of its own, on a port that was free.
pub(crate) struct Up {
    child: Child,
    pub(crate) directory: TempDir,
    arguments: Vec<String>,
    place: Place,
}

impl Up {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at(Place::default(), arguments)
    }

    pub(crate) fn start_at(place: Place, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let child = launch(&place, directory.path(), &arguments);
        Self { child, directory, arguments, place }
    }

    /// Ends the program as Ctrl-C does, and starts it again.
    pub(crate) fn restart(&mut self) {
        self.interrupt();
        self.child = launch(&self.place, self.directory.path(), &self.arguments);
    }

    /// Ends the program as a power cut does, and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = launch(&self.place, self.directory.path(), &self.arguments);
    }

    fn interrupt(&mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "Ctrl-C is not a failure");
    }

    /// Runs `orchestra VERB PART` on this cluster.
    pub(crate) fn part(&self, verb: &str, part: &str) {
        let output = Command::new(env!("CARGO_BIN_EXE_orchestra"))
            .args([verb, part, "--data-dir"])
            .arg(self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb} {part}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(place: &Place, directory: &Path, arguments: &[String]) -> Child {
    let mut child = place
        .command(env!("CARGO_BIN_EXE_orchestra"))
        .args(["up", "--listen", &format!("127.0.0.1:{}", port(directory)), "--data-dir"])
        .arg(directory)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| {
        said.push_str(&line);
        said.push('\n');
        line.starts_with("ready in")
    });
    assert!(ready, "up ended before it was ready:\n{said}");
    // What is said later must go somewhere, or the program would wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// The port of an earlier start, so that a kubeconfig stays right over a restart; at first any that is free.
fn port(directory: &Path) -> u16 {
    let kubeconfig = std::fs::read_to_string(directory.join("kubeconfig")).unwrap_or_default();
    let server = kubeconfig.split("https://127.0.0.1:").nth(1).unwrap_or_default();
    let digits: String = server.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// One version of `kubectl`.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    program: PathBuf,
    place: Place,
    config: PathBuf,
    cache: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    /// The exit code, unless it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Kubectl {
    /// The versions that this machine has among those that the walkthrough is for, or the one there is.
    pub(crate) fn versions() -> Vec<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found =
            std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.exists());
        let Some(found) = found else { return Vec::new() };
        let folder = found.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned));
        let versions = ["1.27", "1.30", "1.33"].map(|version| format!("kubectl.{version}"));
        let all: Vec<PathBuf> = folder
            .iter()
            .flat_map(|folder| versions.iter().map(move |name| folder.join(name)))
            .filter(|file| file.exists())
            .collect();
        if all.is_empty() { vec![found] } else { all }
    }

    /// The newest, on a cluster; `None` where tests may go without.
    pub(crate) fn newest(up: &Up) -> Option<Self> {
        let newest = Self::versions().pop();
        if newest.is_none() {
            assert!(std::env::var_os("ORCHESTRA_TEST_DAEMONS").is_none(), "there is no kubectl");
            eprintln!("left out: there is no kubectl");
        }
        newest.map(|program| Self::new(&program, up))
    }

    pub(crate) fn new(program: &Path, up: &Up) -> Self {
        let directory = up.directory.path();
        Self {
            program: program.to_owned(),
            place: up.place.clone(),
            config: directory.join("kubeconfig"),
            cache: directory.join("kubectl-cache"),
        }
    }

    /// A command line, to be run. What comes after `--` is not for `kubectl`.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = self.place.command("timeout");
        command.arg("60").arg(&self.program).arg("--cache-dir").arg(&self.cache);
        command.args(words(line)).env("KUBECONFIG", &self.config);
        command
    }

    /// Runs a command line, whatever comes of it.
    pub(crate) fn run(&self, line: &str) -> Said {
        said(self.command(line).output().unwrap())
    }

    /// Runs a command line that opens an editor, which is a shell command on the file `$1`.
    pub(crate) fn edit(&self, line: &str, editor: &str) -> Said {
        let script = self.cache.with_file_name("editor");
        std::fs::write(&script, format!("#!/bin/sh\n{editor}\n")).unwrap();
        // Through `sh`, so that nobody minds that the file was just written.
        let editor = format!("sh {}", script.display());
        // What was edited in vain is kept with the other temporary files, and goes with the test's.
        let temporary = self.cache.parent().unwrap();
        said(self.command(line).env("KUBE_EDITOR", editor).env("TMPDIR", temporary).output().unwrap())
    }

    /// Runs a command line that prints for as long as it runs, does something, and reads on until a line is right.
    pub(crate) fn follow(&self, line: &str, meanwhile: impl FnOnce(), done: impl Fn(&str) -> bool) {
        let mut child = self.command(line).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let first = lines.next();
        meanwhile();
        let mut seen: Vec<String> = first.into_iter().collect();
        let found = seen.iter().any(|line| done(line))
            || lines.any(|line| {
                seen.push(line);
                seen.last().is_some_and(|line| done(line))
            });
        // `timeout` passes its end on to what it runs.
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let _ = child.wait();
        assert!(found, "{line} ended without it:\n{}", seen.join("\n"));
    }

    /// Runs a command line that must succeed, and returns what it printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.success, "{} {line}\n{}{}", self.program.display(), said.out, said.err);
        said.out
    }

    /// Runs a command line that must fail, and returns what it complained of.
    pub(crate) fn fails(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(!said.success, "{} {line} should have failed:\n{}", self.program.display(), said.out);
        said.err
    }

    /// Runs a command line with a manifest on its standard input.
    pub(crate) fn with_input(&self, line: &str, input: &str) -> Said {
        let mut command = self.command(line);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // Beside the reading: what is echoed would otherwise hold up who writes. One that ends early reads no more.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            said(child.wait_with_output().unwrap())
        })
    }

    /// Applies a manifest, which must succeed.
    pub(crate) fn apply(&self, manifest: &str) -> String {
        let said = self.with_input("apply -f -", manifest);
        assert!(said.success, "{} apply:\n{}{}", self.program.display(), said.out, said.err);
        said.out
    }

    /// Runs a command line again and again until what it prints is as it should be.
    pub(crate) fn until(&self, line: &str, done: impl Fn(&str) -> bool) -> String {
        until(line, || match self.run(line) {
            said if said.success && done(&said.out) => Ok(said.out),
            said => Err(format!("{}{}", said.out, said.err)),
        })
    }
}

/// Runs a command line again and again until it comes right, and tells what it came to last if it never does.
pub(crate) fn until<T>(line: &str, mut run: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match run() {
            Ok(said) => return said,
            Err(said) => assert!(Instant::now() < deadline, "{line} never came right:\n{said}"),
        }
        std::thread::yield_now();
    }
}

fn said(output: std::process::Output) -> Said {
    Said {
        success: output.status.success(),
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The words of a command line; single quotes keep blanks together.
fn words(line: &str) -> Vec<String> {
    let pieces = line.split('\'').enumerate();
    let mut words = Vec::new();
    for (index, piece) in pieces {
        if index % 2 == 1 {
            // What was quoted belongs to the word before it, if there is no blank between.
            words.push((piece.to_owned(), true));
        } else {
            words.extend(piece.split_whitespace().map(|word| (word.to_owned(), false)));
        }
    }
    let mut joined: Vec<String> = Vec::new();
    for (word, quoted) in words {
        match joined.last_mut() {
            Some(last) if quoted && last.ends_with('=') => last.push_str(&word),
            _ => joined.push(word),
        }
    }
    joined
}

/// A manifest that the tests of conversion have: those of the seeds, and others of their time.
pub(crate) fn manifest_of_the_seeds(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../orchestra-core/src/legacy/cases");
    std::fs::read_to_string(folder.join(name)).unwrap()
}
