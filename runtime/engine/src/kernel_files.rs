//! The files that tell the image's kernel and its boot loader what typed elements asked for, one of each kind per element. They are
//! made from what was asked in this build alone: nothing that lies in the target is read back.
//! Callers: [`crate::lent`].

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::target::TargetFiles;

/// What one element asked for so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSettings {
    arguments: BTreeSet<String>,
    modules: BTreeSet<String>,
    sysctl: BTreeMap<String, String>,
}

impl KernelSettings {
    /// Adds an argument of the kernel. Characters were checked by the policy: none of them means anything to a shell.
    pub fn argument(&mut self, element: &str, key: &str, value: &str) -> (String, String) {
        let argument = if value.is_empty() { key.to_owned() } else { format!("{key}={value}") };
        self.arguments.insert(argument);
        let words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        // grub-mkconfig reads these files after /etc/default/grub, in the order of their names.
        let text =
            format!("{}GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {}\"\n", heading(element), words.join(" "));
        (format!("/etc/default/grub.d/50-dibw-{element}.cfg"), text)
    }

    /// Adds a module.
    pub fn module(&mut self, element: &str, name: &str) -> (String, String) {
        self.modules.insert(name.to_owned());
        let lines: String = self.modules.iter().map(|name| format!("{name}\n")).collect();
        (format!("/etc/modules-load.d/50-dibw-{element}.conf"), heading(element) + &lines)
    }

    /// Sets a kernel setting.
    pub fn sysctl(&mut self, element: &str, key: &str, value: &str) -> (String, String) {
        self.sysctl.insert(key.to_owned(), value.to_owned());
        let lines: String = self.sysctl.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        // After what the distribution's packages bring (10 to 50), before what an administrator adds (90 to 99).
        (format!("/etc/sysctl.d/60-dibw-{element}.conf"), heading(element) + &lines)
    }
}

fn heading(element: &str) -> String {
    format!("# Written by the dibw element {element}.\n")
}

/// Writes a file of the runtime's own where it belongs and nowhere else: through no link that somebody put into the target.
pub(crate) fn write_in_place(files: &TargetFiles, path: &str, text: &[u8], mode: u32) -> Result<()> {
    let landed = files.0.resolve(path)?;
    if landed != path {
        bail!("{path} leads to {landed} in the target; it is written only where it belongs");
    }
    files.write(path, text, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sorted_and_say_everything_once() {
        let mut settings = KernelSettings::default();
        settings.argument("web", "quiet", "");
        settings.argument("web", "console", "ttyS0");
        let (path, text) = settings.argument("web", "console", "ttyS0");
        assert_eq!(path, "/etc/default/grub.d/50-dibw-web.cfg");
        assert_eq!(
            text,
            "# Written by the dibw element web.\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX console=ttyS0 quiet\"\n"
        );
        settings.module("web", "tun");
        let (path, text) = settings.module("web", "br_netfilter");
        assert_eq!(path, "/etc/modules-load.d/50-dibw-web.conf");
        assert_eq!(text, "# Written by the dibw element web.\nbr_netfilter\ntun\n");
        settings.sysctl("web", "vm.swappiness", "10");
        settings.sysctl("web", "net.ipv4.ip_forward", "0");
        let (path, text) = settings.sysctl("web", "net.ipv4.ip_forward", "1");
        assert_eq!(path, "/etc/sysctl.d/60-dibw-web.conf");
        assert_eq!(text, "# Written by the dibw element web.\nnet.ipv4.ip_forward = 1\nvm.swappiness = 10\n");
    }
}
