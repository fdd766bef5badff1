//! Owns trying one system call from within a cage, by perl's `syscall`, and what is expected of it.
//! Must not know which cage it is. Used by the escape suites.

use std::fmt::Write as _;

use dibw_sys::watch::Attempt;

/// One call that must be denied.
#[derive(Debug)]
pub struct Probe {
    /// What is tried, for people.
    pub name: &'static str,
    /// Its number.
    pub number: i64,
    /// Its arguments as perl has them; strings are passed as pointers, `$fd` is an open `/proc/self/ns/mnt`.
    pub arguments: &'static str,
    /// The name of the error it must give.
    pub error: &'static str,
    /// What must be accounted, with the text that its subject must have.
    pub attempt: Option<(&'static str, &'static str)>,
}

/// A denied call of the name `what`, accounted with `subject`.
#[must_use]
pub const fn denied(
    what: &'static str,
    number: i64,
    arguments: &'static str,
    error: &'static str,
    subject: &'static str,
) -> Probe {
    Probe { name: what, number, arguments, error, attempt: Some((what, subject)) }
}

/// A perl program that tries them all, and says of each `NAME: ERROR`, or that it got through.
#[must_use]
pub fn program(probes: &[Probe]) -> String {
    let mut perl = String::from(
        "use Errno; $| = 1; open(my $ns, '<', '/proc/self/ns/mnt') or die; my $fd = fileno $ns; my $room = \"\\0\" x 256;\n\
         sub try { my ($name, @a) = @_; my $me = $$; my $answer = syscall($a[0], @a[1..$#a]);\n\
           my ($error) = sort grep { $!{$_} } keys %!; exit if $$ != $me;\n\
           print $answer == -1 ? \"$name: $error\\n\" : \"$name: GOT $answer\\n\"; }\n",
    );
    for probe in probes {
        writeln!(perl, "try('{}', {}, {});", probe.name, probe.number, probe.arguments).expect("text grows");
    }
    perl
}

/// All that went wrong: calls with another answer, calls that were not tried, attempts that are not accounted.
#[must_use]
pub fn failures(probes: &[Probe], said: &str, attempts: &[Attempt]) -> Vec<String> {
    let mut failures = Vec::new();
    let lines: Vec<&str> = said.lines().collect();
    if lines.len() != probes.len() {
        failures.push(format!("{} of {} probes ran", lines.len(), probes.len()));
    }
    for (probe, line) in probes.iter().zip(&lines) {
        let expected = format!("{}: {}", probe.name, probe.error);
        if *line != expected {
            failures.push(format!("{line}, expected {}", probe.error));
        }
        let Some((what, subject)) = probe.attempt else { continue };
        if !attempts.iter().any(|attempt| attempt.what == what && attempt.subject == subject) {
            failures.push(format!("{}: no attempt {what} {subject:?}", probe.name));
        }
    }
    failures
}
