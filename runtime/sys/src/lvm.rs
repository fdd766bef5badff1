//! Owns running LVM's tools so that they see our block devices and nothing else of the host.
//! Must not know what volumes are for or in which order they are made (`dibw_plan::layout::commands` says that).
//! Called by the engine's disk, and by `work_dir` for what a killed build left.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{probe, tool};

/// Runs `command` (a program of lvm2 and its arguments) with `devices` as the only ones LVM may look at.
///
/// # Errors
/// When the tool fails: its command line and messages are in the error.
pub fn run(command: &[String], devices: &[PathBuf]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("an empty command") };
    if program == "udevadm" {
        return settle(arguments);
    }
    let config = ["--config".to_owned(), only(devices)];
    tool::run(program, config.iter().chain(arguments)).map(drop)
}

/// Deactivates what a killed build left of the volume group `name`, whose physical volumes are on `devices`.
///
/// # Errors
/// When it is still in use.
pub fn deactivate_group(name: &str, devices: &[PathBuf]) -> Result<()> {
    run(&["vgchange", "-an", name].map(str::to_owned), devices)
}

/// Whether the host has a volume group of that name, active: its volumes and ours could not be told apart.
pub fn is_taken(group: &str) -> bool {
    let prefix = format!("{}-", group.replace('-', "--"));
    let ours = |name: &str| name.strip_prefix(&prefix).is_some_and(|rest| !rest.starts_with('-'));
    let mapped = std::fs::read_dir("/dev/mapper").into_iter().flatten().flatten();
    Path::new("/dev").join(group).exists()
        || mapped.into_iter().any(|entry| entry.file_name().to_str().is_some_and(ours))
}

/// Where there is no udev there is nothing to wait for: LVM makes its device nodes itself.
fn settle(arguments: &[String]) -> Result<()> {
    if probe::find_tool("udevadm").is_none() || !Path::new("/run/udev/control").exists() {
        return Ok(());
    }
    tool::run("udevadm", arguments).map(drop)
}

/// The configuration (lvm.conf(5)): a filter for exactly these devices, and no backups of their metadata in the host's /etc.
fn only(devices: &[PathBuf]) -> String {
    let accepted = devices.iter().map(|device| format!("\"a|^{}$|\",", device.display()));
    let accepted: String = accepted.collect();
    format!("devices{{filter=[{accepted}\"r|.*|\"] use_devicesfile=0}} backup{{backup=0 archive=0}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_devices_are_seen() {
        let devices = ["/dev/loop3", "/dev/loop4"].map(PathBuf::from);
        assert_eq!(
            only(&devices),
            "devices{filter=[\"a|^/dev/loop3$|\",\"a|^/dev/loop4$|\",\"r|.*|\"] use_devicesfile=0} backup{backup=0 archive=0}"
        );
    }

    #[test]
    fn a_failing_tool_is_named() {
        let message = format!("{:#}", run(&["false".to_owned(), "vg".to_owned()], &[]).unwrap_err());
        assert!(message.starts_with("false --config 'devices{filter="), "{message}");
        assert!(message.contains(" vg: exit status: 1"), "{message}");
    }
}
