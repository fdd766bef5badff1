//! The element `motd`: a message at login, and nothing beside it.

use dibw_sdk::prelude::*;

const SCRIPTS: &str = "/etc/update-motd.d";

/// Shows a message at login.
#[derive(Config)]
struct Motd {
    /// The message; left out, it names the image, its distribution and its release.
    #[config(env = "DIB_MOTD")]
    text: Option<String>,
    /// Stop the distribution's own messages: the scripts in /etc/update-motd.d are no longer run.
    #[config(default = true)]
    quiet: bool,
}

#[hooks]
impl Element for Motd {
    fn post_install(&self, cx: &Cx) -> Result {
        let text = match &self.text {
            Some(text) => text.trim_end().to_owned(),
            None => format!("{} ({} {})", cx.image_name(), cx.distro(), cx.release()),
        };
        cx.write("/etc/motd", if text.is_empty() { String::new() } else { text + "\n" })?;
        if self.quiet && cx.exists(SCRIPTS)? {
            silence(cx)?;
        }
        Ok(())
    }
}

element!(
    Motd,
    needs! {
        write "/etc/motd", "/etc/update-motd.d/*";
        read "/etc/update-motd.d", "/etc/update-motd.d/*";
        privileged profile;
    }
);

/// Scripts stay where they are, so that a package upgrade finds its files; without the permission to execute they are passed over.
fn silence(cx: &Cx) -> Result {
    for name in cx.list(SCRIPTS)? {
        let path = format!("{SCRIPTS}/{name}");
        if let Some(stat) = cx.stat(&path)?
            && stat.is_file()
            && stat.mode & 0o111 != 0
        {
            cx.set_mode(&path, stat.mode & 0o666)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::Mock;

    #[test]
    fn writes_the_message_and_nothing_else() {
        let mock = Mock::strict(Motd::MANIFEST);
        mock.run::<Motd>(Phase::PostInstall, r#"{"text": "Property of ACME.\nKeep out.\n"}"#).unwrap();
        assert_eq!(
            mock.snapshot(),
            "allow target.write /etc/motd\nallow target.read /etc/update-motd.d\n\
             --- /etc/motd 0644\nProperty of ACME.\nKeep out.\n"
        );
    }

    #[test]
    fn without_a_text_it_names_the_image() {
        let mock = Mock::strict(Motd::MANIFEST).fact("image-name", "web");
        mock.run::<Motd>(Phase::PostInstall, "{}").unwrap();
        assert_eq!(mock.file("/etc/motd").as_deref(), Some("web (debian bookworm)\n"));
    }

    #[test]
    fn silences_the_distribution_unless_told_not_to() {
        for (config, expected) in
            [("{}", 0o644), (r#"{"quiet": true}"#, 0o644), (r#"{"quiet": false}"#, 0o755)]
        {
            let mock =
                Mock::strict(Motd::MANIFEST).with_program("/etc/update-motd.d/10-uname", "#!/bin/sh\n");
            mock.run::<Motd>(Phase::PostInstall, config).unwrap();
            assert_eq!(mock.mode("/etc/update-motd.d/10-uname"), Some(expected), "{config}");
            if expected == 0o644 {
                mock.assert_all_used();
            }
        }
    }
}
