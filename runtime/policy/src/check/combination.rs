//! Rights that are harmless apart and dangerous together. Called by `check`.

use super::{Finding, Severity};
use crate::capability::{Capability, ServiceAction};
use crate::class::{Class, classes_of};
use crate::glob::{Extent, PathGlob};
use crate::policy::{Layer, Rule};

/// The names of the combinations, and what each amounts to.
pub const COMBINATIONS: [(&str, &str); 6] = [
    ("EXEC-WRITE", "it may replace a program that it may run: any program runs as root in the target"),
    ("EXEC-ANY", "the program runs other programs: any program runs as root in the target"),
    ("FETCH-ROOT", "what is downloaded without a checksum may run as root of the image"),
    ("EXFILTRATION", "what it reads of the site can leave through its downloads"),
    ("REPOSITORY", "it may bring a repository and install from it: root in the target"),
    ("UNIT-ROOT", "it may write a unit and enable it: root at boot"),
];

/// Programs that run what they are told to: shells, interpreters, launchers, package tools.
const LAUNCHERS: [&str; 43] = [
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "ksh",
    "fish",
    "busybox",
    "env",
    "python*",
    "perl*",
    "ruby*",
    "lua*",
    "node",
    "php*",
    "tclsh*",
    "awk",
    "gawk",
    "mawk",
    "sed",
    "find",
    "xargs",
    "tar",
    "rsync",
    "vi",
    "vim*",
    "nano",
    "ed",
    "make",
    "git",
    "systemd-run",
    "chroot",
    "nsenter",
    "unshare",
    "setpriv",
    "su",
    "sudo",
    "apt*",
    "dpkg*",
    "rpm*",
    "dnf*",
    "nohup",
    "timeout",
];

/// What one element is granted by a layer.
struct Granted<'a> {
    element: &'a str,
    rules: Vec<&'a Rule>,
}

/// The dangerous combinations in the grants of a layer.
pub(super) fn find(layer: &Layer) -> Vec<Finding> {
    grantees(layer).iter().flat_map(Granted::combinations).collect()
}

/// Grants of one element add up, in whatever file they stand.
fn grantees(layer: &Layer) -> Vec<Granted<'_>> {
    let mut all: Vec<Granted<'_>> = Vec::new();
    for grant in layer.files().iter().flat_map(|file| &file.grants) {
        match all.iter_mut().find(|known| known.element == grant.element) {
            Some(known) => known.rules.extend(&grant.allow),
            None => all.push(Granted { element: &grant.element, rules: grant.allow.iter().collect() }),
        }
    }
    all
}

impl<'a> Granted<'a> {
    fn of(&self, capability: Capability) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().copied().filter(move |rule| rule.need.capability() == capability)
    }

    fn combinations(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut found = |name: &str, one: &Rule, other: Option<&Rule>, fix: &str| {
            let what = COMBINATIONS.iter().find(|(known, _)| *known == name).map_or("", |(_, what)| what);
            let with = other.map(|other| format!(" + {}", other.need)).unwrap_or_default();
            findings.push(Finding {
                severity: Severity::Warn,
                place: name.to_owned(),
                message: format!("{}: {}{with}: {what}   {}:{}", self.element, one.need, one.file, one.line),
                notes: vec![format!("fix: {fix}")],
            });
        };
        for exec in self.of(Capability::TargetExec) {
            let program = exec.need.value().split(' ').next().unwrap_or_default();
            if is_launcher(program) {
                found(
                    "EXEC-ANY",
                    exec,
                    None,
                    "grant the program that is really needed, or take it as target.exec of all",
                );
            }
            if let Some(write) =
                self.of(Capability::TargetWrite).find(|write| reaches_program(write, program))
            {
                let fix = format!(
                    "drop {} from target.write, or grant target.exec of all with a reason",
                    write.need.value()
                );
                found("EXEC-WRITE", exec, Some(write), &fix);
            }
        }
        let unchecked = self.of(Capability::NetFetch).find(|rule| rule.need.value().ends_with(" none"));
        let runs = self.of(Capability::TargetWritePrivileged).chain(self.of(Capability::TargetExec)).next();
        if let (Some(fetch), Some(runs)) = (unchecked, runs) {
            found("FETCH-ROOT", fetch, Some(runs), "ask for a checksum: `required`, or `first-use`");
        }
        let reads = self.of(Capability::HostInput).chain(self.of(Capability::SecretUse)).next();
        if let (Some(reads), Some(fetch)) = (reads, self.of(Capability::NetFetch).next()) {
            found("EXFILTRATION", reads, Some(fetch), "split it into two elements");
        }
        let adds = self.of(Capability::PackagesRepoAdd).next();
        if let (Some(adds), Some(installs)) = (adds, self.of(Capability::PackagesInstall).next()) {
            found("REPOSITORY", adds, Some(installs), "let the site's base element add the repository");
        }
        let enables = self
            .of(Capability::ServiceSet)
            .find(|r| r.need.value().starts_with(ServiceAction::Enable.name()));
        let writes = self.of(Capability::TargetWrite).find(|rule| reaches_units(rule));
        if let (Some(enables), Some(writes)) = (enables, writes) {
            found("UNIT-ROOT", enables, Some(writes), "keep target.write out of the directories of units");
        }
        findings
    }
}

fn is_launcher(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    // A pattern that could be a launcher is one.
    LAUNCHERS.iter().any(|known| {
        crate::glob::word_matches(known, name) || crate::glob::word_matches(name, known.trim_end_matches('*'))
    })
}

/// Whether the write covers the program, or programs or libraries in the places where it looks for them.
fn reaches_program(write: &Rule, program: &str) -> bool {
    let Ok(glob) = PathGlob::parse(write.need.value()) else { return false };
    let same = PathGlob::parse(program).is_ok_and(|wanted| glob.contains(&wanted) || wanted.contains(&glob));
    let places = [
        "/bin/x",
        "/sbin/x",
        "/usr/bin/x",
        "/usr/sbin/x",
        "/usr/local/bin/x",
        "/usr/local/sbin/x",
        "/lib/x.so",
    ];
    same || places.iter().any(|place| glob.covers(place, Extent::Entry))
}

/// Whether a unit could be written.
fn reaches_units(write: &Rule) -> bool {
    let value = write.need.value();
    let Ok(glob) = PathGlob::parse(value) else { return false };
    let places = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
        "/usr/local/lib/systemd/system",
    ];
    places.iter().any(|place| glob.reaches_below(place) || glob.covers(place, Extent::Directory))
        || classes_of(value).contains(&Class::SystemdUnits)
}
