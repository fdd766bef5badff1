//! Owns the one short way to run a host tool (mkfs, mtools, fsck) to its end and to report its failure.
//! Must not know what the tools do, and never runs anything from the target.
//! Called by the disk half of this crate; long-running or streamed commands belong elsewhere.
#![expect(unsafe_code, reason = "a new session and closed descriptors need pre_exec")]

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::probe;

/// Where host tools are looked for; the caller's own `PATH` plays no part.
pub const TOOL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many lines of a failed tool's messages an error carries.
const TAIL_LINES: usize = 20;

/// Runs `program` with `args` and waits for it.
///
/// The environment is `LC_ALL=C` and [`TOOL_PATH`] only, standard input is empty, the tool gets a session of its own
/// and no descriptor beyond 0 to 2.
///
/// # Errors
/// When it cannot be started (with the Debian package that has it) or ends with a status other than 0: the message has
/// the full command line and the first and the last 20 lines of what it said.
pub fn run<I, S>(program: &str, args: I) -> Result<Output>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    run_with_env(program, args, &[])
}

/// As [`run`], with more environment variables.
///
/// # Errors
/// As [`run`].
pub fn run_with_env<I, S>(program: &str, args: I, variables: &[(&str, &str)]) -> Result<Output>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let line = command_line(program, &args);
    tracing::debug!(command = %line, "run");
    let mut command = Command::new(program);
    command.args(&args).env_clear().env("LC_ALL", "C").env("PATH", TOOL_PATH);
    command.envs(variables.iter().copied()).stdin(Stdio::null()).current_dir("/");
    // SAFETY: between fork and exec only two async-signal-safe system calls are made and nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        });
    }
    let output =
        command.output().map_err(|error| start_failure(program, error)).with_context(|| line.clone())?;
    if !output.status.success() {
        bail!("{line}: {}{}", output.status, said(&output));
    }
    Ok(output)
}

/// The command as one would type it into a shell.
fn command_line(program: &str, args: &[OsString]) -> String {
    let mut line = program.to_owned();
    for arg in args {
        let arg = arg.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%^".contains(c);
        line.push(' ');
        if !arg.is_empty() && arg.chars().all(plain) {
            line.push_str(&arg);
        } else {
            line.push_str(&format!("'{}'", arg.replace('\'', r"'\''")));
        }
    }
    line
}

fn start_failure(program: &str, error: std::io::Error) -> anyhow::Error {
    match (error.kind(), probe::package_of(program)) {
        (ErrorKind::NotFound, Some(package)) => {
            anyhow::anyhow!("{program} is not installed (Debian package {package})")
        }
        (ErrorKind::NotFound, None) => anyhow::anyhow!("{program} is not installed"),
        _ => error.into(),
    }
}

/// The end of what a failed tool wrote: its stderr, or its stdout when stderr is empty (fsck tools report there). The
/// first line comes before it when it would be cut: some tools follow their reason with a screen of usage.
fn said(output: &Output) -> String {
    let stream = if output.stderr.trim_ascii().is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(stream);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let (cut, tail) = lines.split_at(lines.len().saturating_sub(TAIL_LINES));
    let start = cut.first().map(|line| format!("\n  {line}\n  ...")).unwrap_or_default();
    tail.iter().fold(start, |text, line| format!("{text}\n  {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_has_command_line_status_first_and_last_twenty_lines() {
        let script = "for n in $(seq 30); do echo line $n >&2; done; exit 7";
        let message = format!("{:#}", run("sh", ["-c", script]).unwrap_err());
        let tail: String = (11..=30).map(|n| format!("\n  line {n}")).collect();
        assert_eq!(message, format!("sh -c '{script}': exit status: 7\n  line 1\n  ...{tail}"));
    }

    #[test]
    fn missing_tool_names_its_package() {
        let message = format!("{:#}", run("mkfs.none-such", ["-q"]).unwrap_err());
        assert_eq!(message, "mkfs.none-such -q: mkfs.none-such is not installed");
    }

    #[test]
    fn environment_input_and_descriptors_are_bare() {
        let held = std::fs::File::open("/").unwrap();
        rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
        let output =
            run("sh", ["-c", "cat; env | grep -v '^_=\\|^SHLVL=\\|^PWD=\\|^OLDPWD=' | sort; ls /proc/$$/fd"])
                .unwrap();
        let expected = format!("LC_ALL=C\nPATH={TOOL_PATH}\n0\n1\n2\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}
