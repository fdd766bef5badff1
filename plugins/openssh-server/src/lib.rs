//! The element `openssh-server`: the server, hardened, with host keys that every machine makes for itself.

use dibw_sdk::prelude::*;

const MAIN: &str = "/etc/ssh/sshd_config";
/// sshd takes the first value it reads of each setting, so files of other elements with a lower number win over this one.
const DROP_IN: &str = "/etc/ssh/sshd_config.d/50-dibw.conf";
const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf";
const KEYS_UNIT: &str = "dibw-ssh-host-keys.service";

/// OpenSSH server, hardened; every machine makes its own host keys at first boot.
#[derive(Config)]
struct OpensshServer {
    /// Whether root may log in.
    #[config(default = "prohibit-password", env = "DIB_SSH_PERMIT_ROOT_LOGIN")]
    permit_root_login: RootLogin,
    /// Whether a password is enough to log in.
    #[config(default = false, env = "DIB_SSH_PASSWORD_AUTHENTICATION")]
    password_authentication: bool,
    /// Fewer tries, less time, no X11 forwarding, an end to dead connections.
    #[config(default = true, env = "DIB_OPENSSH_SERVER_HARDENING")]
    hardening: bool,
    /// The port.
    #[config(default = 22, env = "DIB_SSH_PORT")]
    port: u16,
    /// The only accounts that may log in; none means all.
    allow_users: Vec<String>,
}

#[derive(ConfigValue)]
enum RootLogin {
    Yes,
    ProhibitPassword,
    ForcedCommandsOnly,
    No,
}

#[hooks]
impl Element for OpensshServer {
    fn install(&self, cx: &Cx) -> Result {
        cx.packages(["openssh-server"])
    }

    fn post_install(&self, cx: &Cx) -> Result {
        cx.write(DROP_IN, self.settings()?)?;
        include_drop_ins(cx)?;
        remove_host_keys(cx)?;
        cx.write(
            format!("/etc/systemd/system/{KEYS_UNIT}"),
            include_str!("../files/dibw-ssh-host-keys.service"),
        )?;
        cx.enable(KEYS_UNIT)?;
        match cx.distro().as_str() {
            "debian" | "ubuntu" => cx.enable("ssh.service"),
            _ => cx.enable("sshd.service"),
        }
    }
}

element!(
    OpensshServer,
    needs! {
        package "openssh-server";
        read "/etc/ssh/*";
        write "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/50-dibw.conf", "/etc/ssh/ssh_host_*";
        write "/etc/systemd/system/dibw-ssh-host-keys.service";
        privileged systemd_units;
        enable "dibw-ssh-host-keys.service", "ssh.service", "sshd.service";
    }
);

impl OpensshServer {
    fn settings(&self) -> Result<String> {
        let word = |flag: bool| if flag { "yes" } else { "no" };
        let mut lines = vec![
            "# Written by the dibw element openssh-server.".to_owned(),
            format!("PermitRootLogin {}", self.permit_root_login),
            format!("PasswordAuthentication {}", word(self.password_authentication)),
            format!("KbdInteractiveAuthentication {}", word(self.password_authentication)),
            "PermitEmptyPasswords no".to_owned(),
        ];
        if self.port == 0 {
            return Err(Error::invalid("port: 0 is not a port"));
        }
        if self.port != 22 {
            lines.push(format!("Port {}", self.port));
        }
        if let Some(bad) =
            self.allow_users.iter().find(|user| user.is_empty() || user.contains(char::is_whitespace))
        {
            return Err(Error::invalid(format!("allow-users: `{bad}` is not a name")));
        }
        if !self.allow_users.is_empty() {
            lines.push(format!("AllowUsers {}", self.allow_users.join(" ")));
        }
        if self.hardening {
            let hardening = [
                "X11Forwarding no",
                "MaxAuthTries 4",
                "LoginGraceTime 30",
                "ClientAliveInterval 300",
                "ClientAliveCountMax 3",
            ];
            lines.extend(hardening.map(str::to_owned));
        }
        Ok(lines.join("\n") + "\n")
    }
}

/// Distributions before 2020 do not read the directory by themselves. First line, because the first value of a setting counts.
fn include_drop_ins(cx: &Cx) -> Result {
    if !cx.exists(MAIN)? {
        return Err(Error::NotFound(format!("{MAIN}; is openssh-server installed?")));
    }
    cx.edit(MAIN, |text| {
        let included =
            text.lines().any(|line| line.trim_start().starts_with("Include /etc/ssh/sshd_config.d/"));
        if included { text } else { format!("{INCLUDE}\n{text}") }
    })
}

/// Keys that the package made while the image was built would be the same on every machine.
fn remove_host_keys(cx: &Cx) -> Result {
    for name in cx.list("/etc/ssh")? {
        if name.starts_with("ssh_host_") && (name.ends_with("_key") || name.ends_with("_key.pub")) {
            cx.remove(format!("/etc/ssh/{name}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::{Mock, Unit};

    fn target() -> Mock {
        Mock::strict(OpensshServer::MANIFEST)
            .with_file(MAIN, format!("{INCLUDE}\nUsePAM yes\n"))
            .with_file("/etc/ssh/ssh_config", "Host *\n")
            .with_file("/etc/ssh/ssh_host_ed25519_key", "secret")
            .with_file("/etc/ssh/ssh_host_ed25519_key.pub", "public")
    }

    #[test]
    fn is_hardened_and_has_no_keys() {
        let mock = target();
        mock.run_all::<OpensshServer>("{}").unwrap();
        assert_eq!(mock.packages(), ["openssh-server"]);
        assert_eq!(
            mock.file(DROP_IN).as_deref(),
            Some(
                "# Written by the dibw element openssh-server.\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nPermitEmptyPasswords no\nX11Forwarding no\nMaxAuthTries 4\nLoginGraceTime 30\n\
                 ClientAliveInterval 300\nClientAliveCountMax 3\n"
            )
        );
        assert_eq!(mock.file("/etc/ssh/ssh_host_ed25519_key"), None);
        assert_eq!(mock.file("/etc/ssh/ssh_host_ed25519_key.pub"), None);
        assert_eq!(mock.file("/etc/ssh/ssh_config").as_deref(), Some("Host *\n"));
        assert_eq!(mock.unit(KEYS_UNIT), Some(Unit::Enabled));
        assert_eq!(mock.unit("ssh.service"), Some(Unit::Enabled));
    }

    #[test]
    fn settings_follow_the_configuration() {
        let mock = target().fact("distro", "fedora").with_file(MAIN, "UsePAM yes\n");
        let config = r#"{"permit-root-login": "no", "password_authentication": true, "hardening": false, "port": 2222, "allow-users": ["ann", "bob"]}"#;
        mock.run_all::<OpensshServer>(config).unwrap();
        assert_eq!(
            mock.file(DROP_IN).as_deref(),
            Some(
                "# Written by the dibw element openssh-server.\nPermitRootLogin no\nPasswordAuthentication yes\n\
                 KbdInteractiveAuthentication yes\nPermitEmptyPasswords no\nPort 2222\nAllowUsers ann bob\n"
            )
        );
        assert_eq!(mock.file(MAIN).unwrap(), format!("{INCLUDE}\nUsePAM yes\n"));
        assert_eq!(mock.unit("sshd.service"), Some(Unit::Enabled));
    }

    #[test]
    fn every_need_is_used() {
        let mock = target().with_file(MAIN, "UsePAM yes\n");
        for distro in ["debian", "fedora"] {
            mock.clone().fact("distro", distro).run_all::<OpensshServer>("{}").unwrap();
        }
        mock.assert_all_used();
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            (
                r#"{"permit-root-login": "maybe"}"#,
                "permit-root-login: expected one of `yes`, `prohibit-password`, `forced-commands-only`, `no`, found \"maybe\"",
            ),
            (r#"{"port": 70000}"#, "port: expected a whole number from 0 to 65535, found 70000"),
            (r#"{"port": 0}"#, "port: 0 is not a port"),
            (r#"{"allow-users": ["a b"]}"#, "allow-users: `a b` is not a name"),
            (
                r#"{"permit-root": "no"}"#,
                "unknown key `permit-root`; expected `permit-root-login`, `password-authentication`, `hardening`, `port`, `allow-users`",
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(
                target().run::<OpensshServer>(Phase::PostInstall, config),
                Err(Error::invalid(expected)),
                "{config}"
            );
        }
    }
}
