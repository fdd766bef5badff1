//! The program the sandbox tests re-execute, as `dibw` re-executes itself, and the small build they supervise.
//! Must not contain sandbox logic of its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use dibw_sys::helper;
use dibw_sys::process::Status;
use dibw_sys::signals::{self, Shield};
use dibw_sys::supervise::run_build;
use dibw_sys::{confined, runner::Runner, sandbox::Input};

fn main() -> ExitCode {
    if let Some(code) = dibw_sys::entry::dispatch() {
        return code;
    }
    let helpers: [(&str, helper::Body); 2] =
        [("fetch", dibw_fetch::helper::serve), ("report", report_privileges)];
    if let Some(code) = helper::dispatch(&helpers) {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = match args.as_slice() {
        // A build of one command on the host's root, in a fresh tmpfs on `dir`.
        ["build", dir, script] => run_build(|| report(build(Path::new(dir), script))),
        ["exit", code] => run_build(|| code.parse().unwrap_or(99)),
        other => Err(anyhow::anyhow!("unknown arguments {other:?}")),
    };
    ExitCode::from(u8::try_from(report(ended)).unwrap_or(255))
}

/// Says over the channel what this helper is and can do.
fn report_privileges(mut channel: UnixStream) -> std::io::Result<()> {
    let read = std::fs::read("/etc/shadow").is_ok();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let environment: Vec<_> = std::env::vars().collect();
    writeln!(channel, "{status}\nShadow:\t{read}\nEnv:\t{environment:?}")?;
    // Until the engine hangs up, or for ever.
    channel.read_to_end(&mut Vec::new()).map(drop)
}

fn report(result: Result<i32>) -> i32 {
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        70
    })
}

fn build(dir: &Path, script: &str) -> Result<i32> {
    let runner = Runner::new()?;
    let no_flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", dir, "tmpfs", no_flags, None).context("mount")?;
    println!("engine {}", std::process::id());
    let command = |script: &str| confined::ConfinedCommand {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        cwd: dir.to_owned(),
        stdin: Input::Null,
        timeout: None,
        level: confined::Level::Confined,
        view: confined::View { writable: vec![dir.to_owned()], ..confined::View::default() },
        network: confined::Network::None,
        limits: dibw_sys::limits::Limits::default(),
    };
    let finished = runner.outside(&command(script), &mut |_, line| println!("{line}"))?;
    if finished.status == Status::Interrupted {
        let signal = signals::interrupted().map_or("none", |signal| signal.as_str());
        println!("interrupted by {signal}");
        // Unwinding runs commands too, and a second signal must not hurt it.
        let _shield = Shield::raise();
        let unwound = runner
            .outside(&command("echo unwinding; read x < gate; echo $x"), &mut |_, line| println!("{line}"))?;
        println!("unwound: {}", unwound.status);
    }
    Ok(finished.status.code())
}
