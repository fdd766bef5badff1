//! The element `hostname`: `/etc/hostname` and the machine's own line of `/etc/hosts`.

use dibw_sdk::prelude::*;

const HOSTNAME: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";

/// What a target without `/etc/hosts` gets.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// The address that Debian gives to a machine's own name: `https://www.debian.org/doc/manuals/debian-reference/ch05#_the_hostname_resolution`.
const OWN_ADDRESS: &str = "127.0.1.1";

/// Names the machine in /etc/hostname and /etc/hosts.
#[derive(Config)]
struct Hostname {
    /// The name, with or without its domain. Left out, it is the image's name.
    #[config(env = "DIB_HOSTNAME")]
    name: Option<String>,
}

#[hooks]
impl Element for Hostname {
    fn post_install(&self, cx: &Cx) -> Result {
        let full = match &self.name {
            Some(name) => checked(name)?,
            None => from_image_name(&cx.image_name()),
        };
        let short = full.split('.').next().unwrap_or(&full);
        cx.write(HOSTNAME, format!("{short}\n"))?;
        let hosts = if cx.exists(HOSTS)? { cx.read_to_string(HOSTS)? } else { LOCALHOST.to_owned() };
        cx.write(HOSTS, with_own_line(&hosts, &full, short))
    }
}

element!(Hostname, needs! { write "/etc/hostname", "/etc/hosts"; read "/etc/hosts" });

/// RFC 1123, section 2.1: labels of letters, digits and inner hyphens, at most 63 each, 253 in all.
fn checked(name: &str) -> Result<String> {
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(good) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(Error::invalid(format!(
            "name: `{name}` is not a host name: letters, digits and inner hyphens, parted by dots"
        )))
    }
}

/// `out/My_image.v2` makes `my-image-v2`.
fn from_image_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image).to_ascii_lowercase();
    let dashed: String = last
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .take(63)
        .collect();
    let trimmed = dashed.trim_matches('-');
    if trimmed.is_empty() { "localhost".to_owned() } else { trimmed.to_owned() }
}

/// Replaces the line of [`OWN_ADDRESS`], or adds it after the last loopback line.
fn with_own_line(hosts: &str, full: &str, short: &str) -> String {
    let own = if full == short {
        format!("{OWN_ADDRESS}\t{short}")
    } else {
        format!("{OWN_ADDRESS}\t{full} {short}")
    };
    let others = hosts.lines().filter(|line| line.split_whitespace().next() != Some(OWN_ADDRESS));
    let mut lines: Vec<&str> = others.collect();
    let after = lines.iter().rposition(|line| line.starts_with("127.0.0.1")).map_or(0, |index| index + 1);
    lines.insert(after, &own);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::Mock;

    #[test]
    fn names_the_machine() {
        let mock = Mock::strict(Hostname::MANIFEST)
            .with_file(HOSTS, "127.0.0.1\tlocalhost\n127.0.1.1\told\n::1\tlocalhost\n");
        mock.run::<Hostname>(Phase::PostInstall, r#"{"name": "Web1.example.org"}"#).unwrap();
        assert_eq!(
            mock.snapshot(),
            "allow target.write /etc/hostname\nallow target.read /etc/hosts\nallow target.read /etc/hosts\n\
             allow target.write /etc/hosts\n\
             --- /etc/hostname 0644\nweb1\n\
             --- /etc/hosts 0644\n127.0.0.1\tlocalhost\n127.0.1.1\tweb1.example.org web1\n::1\tlocalhost\n"
        );
        mock.assert_all_used();
    }

    #[test]
    fn without_a_name_it_is_the_images() {
        for (image, expected) in
            [("out/My_image.v2", "my-image-v2"), ("image", "image"), ("__", "localhost"), ("", "localhost")]
        {
            let mock = Mock::strict(Hostname::MANIFEST).fact("image-name", image);
            mock.run::<Hostname>(Phase::PostInstall, "{}").unwrap();
            assert_eq!(mock.file(HOSTNAME), Some(format!("{expected}\n")), "{image}");
            let hosts = format!(
                "127.0.0.1\tlocalhost\n127.0.1.1\t{expected}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
            );
            assert_eq!(mock.file(HOSTS), Some(hosts), "{image}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "a b", "-a", "a-", "a..b", "a_b", "a\n127.0.0.1 bank", &"a".repeat(64)] {
            let mock = Mock::strict(Hostname::MANIFEST);
            let config = format!("{{\"name\": {name:?}}}");
            assert!(mock.run::<Hostname>(Phase::PostInstall, &config).is_err(), "{name:?}");
            assert_eq!(mock.file(HOSTNAME), None, "{name:?}");
        }
    }
}
