//! Runs the `dibw` program as a user does, with work, cache and output in a private directory, and gives back what it said with
//! machine-dependent paths and times replaced by words. Knows nothing of what dibw does. Called by all black-box tests.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A `dibw` to be run, with private directories; all of it goes away with the value.
pub struct Dibw {
    scratch: tempfile::TempDir,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    elements: Vec<PathBuf>,
    as_nobody: bool,
}

/// What a run of `dibw` gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code, or 128 and the signal that ended it.
    pub code: i32,
    /// Standard output, normalised.
    pub stdout: String,
    /// Standard error, normalised.
    pub stderr: String,
}

/// The workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).expect("tests/ lies in the workspace").into()
}

/// The elements that only tests use.
#[must_use]
pub fn fixtures() -> PathBuf {
    workspace().join("tests/fixtures/elements")
}

/// The program under test: `DIBW_BIN`, or the release build of this workspace.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("DIBW_BIN") {
        return given.into();
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let program = target.join("release/dibw");
    assert!(program.exists(), "{} is missing: cargo build --release --workspace", program.display());
    program
}

/// Whether the slow tests (Debian mirror, QEMU) are wanted; says so when they are not.
#[must_use]
pub fn full(test: &str) -> bool {
    let wanted = std::env::var_os("DIBW_TEST_FULL").is_some_and(|value| !value.is_empty());
    if !wanted {
        eprintln!("skipped: {test} (./dev test --full)");
    }
    wanted
}

/// Whether this is root; says so when it is not.
#[must_use]
pub fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test} (needs root)");
    }
    root
}

impl Default for Dibw {
    fn default() -> Self {
        Self::new()
    }
}

impl Dibw {
    /// With private directories below `/var/tmp`, where overlays can have their upper directories.
    ///
    /// # Panics
    /// When they can't be made.
    #[must_use]
    pub fn new() -> Self {
        let scratch = tempfile::Builder::new().prefix("dibw-test-").tempdir_in("/var/tmp");
        let scratch = scratch.expect("/var/tmp can be written to");
        Self { scratch, args: Vec::new(), env: Vec::new(), elements: vec![fixtures()], as_nobody: false }
    }

    /// The private directory, where it runs: artifacts with a relative name land here.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Where it keeps work files.
    #[must_use]
    pub fn work_dir(&self) -> PathBuf {
        self.dir().join("work")
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Forgets the arguments of the last run.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.args.clear();
        self
    }

    /// Sets a variable. Of the caller's own only PATH is seen.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Adds a directory of elements before those of the tests and those shipped.
    #[must_use]
    pub fn elements(mut self, directory: impl AsRef<Path>) -> Self {
        self.elements.insert(0, directory.as_ref().to_owned());
        self
    }

    /// Runs as `nobody` (with setpriv) when this is root.
    #[must_use]
    pub fn as_nobody(mut self) -> Self {
        self.as_nobody = true;
        self
    }

    /// Writes a file in the private directory, executable where it is a hook (`*.d/`, not `environment.d/`); gives its path.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let file = self.dir().join(path);
        std::fs::create_dir_all(file.parent().expect("it lies in the private directory"))
            .expect("directories can be made");
        std::fs::write(&file, text).expect("files can be written");
        if path.contains(".d/") && !path.contains("environment.d/") {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("modes can be set");
        }
        file
    }

    /// The command, not yet started.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = if self.as_nobody && rustix::process::geteuid().is_root() {
            use std::os::unix::fs::PermissionsExt;
            let open = PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(self.dir(), open).expect("modes can be set");
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program());
            command
        } else {
            Command::new(program())
        };
        let path = std::env::join_paths(&self.elements).expect("no colon in the path of a test");
        command.args(&self.args).current_dir(self.dir()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("ELEMENTS_PATH", path);
        command.env("DIBW_WORK_DIR", self.work_dir()).env("DIBW_CACHE_DIR", self.dir().join("cache"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it, with both streams piped.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn spawn(&self) -> Child {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program can be started")
    }

    /// Waits for one that was started.
    ///
    /// # Panics
    /// When it can't be waited for.
    #[must_use]
    pub fn wait(&self, child: Child) -> Ran {
        use std::os::unix::process::ExitStatusExt;
        let output = child.wait_with_output().expect("a child can be waited for");
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Ran {
            code: code.expect("it exited or was ended by a signal"),
            stdout: self.normalise(&String::from_utf8_lossy(&output.stdout)),
            stderr: self.normalise(&String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run(&self) -> Ran {
        self.wait(self.spawn())
    }

    /// Runs it to its end and demands exit code 0.
    ///
    /// # Panics
    /// When it fails, with what it said.
    #[must_use]
    pub fn succeed(&self) -> Ran {
        let ran = self.run();
        assert_eq!(ran.code, 0, "dibw {:?}\n{}\n{}", self.args, ran.stdout, ran.stderr);
        ran
    }

    /// The private directory becomes `[DIR]`, the workspace `[WORKSPACE]`, durations like `1.2s` become `[TIME]`.
    #[must_use]
    pub fn normalise(&self, text: &str) -> String {
        let text = text.replace(&self.dir().display().to_string(), "[DIR]");
        let text = text.replace(&workspace().display().to_string(), "[WORKSPACE]");
        without_times(&text)
    }
}

/// Replaces numbers that end in `s` (`0.1s`, `12s`) and stand alone.
fn without_times(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive([' ', '\n', '(', ')']) {
        let word = piece.trim_end_matches([' ', '\n', '(', ')']);
        let number = word.strip_suffix('s').is_some_and(|number| number.parse::<f64>().is_ok());
        if number {
            out.push_str("[TIME]");
            out.push_str(&piece[word.len()..]);
        } else {
            out.push_str(piece);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_become_a_word() {
        assert_eq!(
            super::without_times("done (1.25s)\nin 3s as users\n"),
            "done ([TIME])\nin [TIME] as users\n"
        );
    }
}
