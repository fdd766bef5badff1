//! Builds of a tiny operating system with an element whose hooks tests change, and what the layer cache said of each step.
//! Called by the tests of layers.

use crate::dibw::Dibw;

/// A builder with an element of a few hooks.
#[must_use]
pub fn builder() -> Dibw {
    let dibw = Dibw::new();
    for (path, text) in HOOKS {
        dibw.file(&format!("elements/site/{path}"), text);
    }
    let elements = dibw.dir().join("elements");
    dibw.elements(elements)
}

/// Its files.
pub const HOOKS: [(&str, &str); 5] = [
    ("pre-install.d/10-first", "#!/bin/bash\necho first >/etc/first\n"),
    ("install.d/20-second", "#!/bin/bash\necho \"${DIB_WORD:-none}\" >/etc/second\n"),
    ("install.d/80-last", "#!/bin/bash\necho last >/etc/last\nrm /etc/first\n"),
    ("post-install.d/10-reads", "#!/bin/bash\ncat /etc/second >/etc/copy\n"),
    ("element-deps", ""),
];

/// Builds, and gives what the cache said of each step that has a layer.
///
/// # Panics
/// When the build fails.
#[must_use]
pub fn build(dibw: &Dibw, args: &[&str]) -> Vec<(String, String)> {
    let dibw = again(dibw).args(["build", "-n", "--overwrite", "--log-format", "json", "-t", "tar,qcow2"]);
    let ran = dibw
        .args(["--image-size", "256MiB"])
        .args(args)
        .args(["fake-os", "block-device-gpt", "site"])
        .succeed();
    let mut title = String::new();
    let mut said = Vec::new();
    for line in ran.stderr.lines() {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        match event["event"].as_str() {
            Some("step") => {
                title = format!(
                    "{}: {}",
                    event["phase"].as_str().unwrap_or(""),
                    event["title"].as_str().unwrap_or("")
                )
            }
            Some("step-done") => match event["cache"]["state"].as_str() {
                Some("hit") => said.push((title.clone(), "hit".to_owned())),
                Some("miss") => {
                    said.push((title.clone(), event["cache"]["reason"].as_str().unwrap_or("").to_owned()))
                }
                _ => {}
            },
            _ => {}
        }
    }
    said
}

/// Another run of the same builder, in the same directory.
#[must_use]
pub fn again(dibw: &Dibw) -> Again<'_> {
    Again { dibw, args: Vec::new(), env: Vec::new() }
}

/// Runs with a builder's directories.
pub struct Again<'a> {
    dibw: &'a Dibw,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Again<'_> {
    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its exit code and what it said.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run(&self) -> (i32, String, String) {
        let output = self.dibw.command().args(&self.args).envs(self.env.iter().cloned()).output();
        let output = output.expect("dibw can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Demands exit code 0.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn succeed(&self) -> Said {
        let (code, stdout, stderr) = self.run();
        assert_eq!(code, 0, "{:?}\n{stdout}\n{stderr}", self.args);
        Said { stdout, stderr }
    }
}

/// What a run said.
pub struct Said {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// What was said of the step whose title ends so.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn reason<'a>(said: &'a [(String, String)], title: &str) -> &'a str {
    let found = said.iter().find(|(known, _)| known.ends_with(title));
    &found.unwrap_or_else(|| panic!("no step {title} in {said:?}")).1
}

/// Whether every step had a layer.
#[must_use]
pub fn all_hit(said: &[(String, String)]) -> bool {
    said.iter().all(|(_, cached)| cached == "hit")
}

/// A file of the built archive.
///
/// # Panics
/// When tar can't be started.
#[must_use]
pub fn archived(dibw: &Dibw, path: &str) -> String {
    let output = std::process::Command::new("tar")
        .args(["-xOf", "image.tar", &format!("./{path}")])
        .current_dir(dibw.dir())
        .output()
        .expect("tar can be started");
    match output.status.success() {
        true => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        false => "(missing)".to_owned(),
    }
}
