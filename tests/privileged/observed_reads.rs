//! What a sandboxed command read of the layers below is remembered exactly, and the top layer is written as without. Needs root.

use anyhow::Result;
use dibw_sys::observed::Reads;
use dibw_sys::sandbox::TargetSource;
use dibw_tests::sandbox_target::{Outcome, SandboxTarget, record, shell_command};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// Runs a script over a view of the layers below the top.
fn observed(target: &mut SandboxTarget, script: &str) -> Result<(Outcome, Reads)> {
    let (layers, view) = target.tree.sandbox_root_observed(target.runner.userns().base())?;
    let source = TargetSource::Layers(layers);
    let outcome = record(|on_line| target.runner.inside(&source, &shell_command(script), on_line))?;
    Ok((outcome, view.finish()?))
}

#[test]
fn first_try() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("first_try", PROBE)? else { return Ok(()) };
    let (outcome, reads) = observed(
        &mut target,
        "cat /etc/issue; ls /srv; stat -c '%u %g %d %n' / /etc /etc/passwd /srv; test -e /nothing; chmod 600 /etc/passwd; stat -c '%d %n' /etc/passwd; ls -la /",
    )?;
    eprintln!("{} {} {:?}", outcome.stdout, outcome.stderr, outcome.finished);
    for (path, seen) in reads.iter() {
        eprintln!("{path} {seen:?}");
    }
    eprintln!("{}", serde_json::to_string(&reads)?);
    let again: Reads = serde_json::from_str(&serde_json::to_string(&reads)?)?;
    assert_eq!(again, reads);
    Ok(())
}
