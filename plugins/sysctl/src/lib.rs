//! The element `sysctl`: kernel parameters, set at every boot by systemd-sysctl.

use std::collections::BTreeMap;

use dibw_sdk::prelude::*;

/// Read after what the distribution's packages bring (10 to 50), before what an administrator adds (90 to 99).
const FILE: &str = "/etc/sysctl.d/60-dibw.conf";

/// Kernel parameters, set at every boot.
#[derive(Config)]
struct Sysctl {
    /// Parameter and value, as in `net.ipv4.ip_forward: 1`.
    values: BTreeMap<String, Scalar>,
}

#[hooks]
impl Element for Sysctl {
    fn post_install(&self, cx: &Cx) -> Result {
        if self.values.is_empty() {
            cx.warn("there are no values: nothing is written");
            return Ok(());
        }
        let lines = self.values.iter().map(|(key, value)| line(key, value)).collect::<Result<Vec<_>>>()?;
        cx.write(FILE, format!("# Written by the dibw element sysctl.\n{}", lines.concat()))
    }
}

element!(Sysctl, needs! { write "/etc/sysctl.d/60-dibw.conf"; privileged "sysctl" });

fn line(key: &str, value: &Scalar) -> Result<String> {
    check_key(key)?;
    let value = value.0.trim();
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err(Error::invalid(format!("values.{key}: a value is one line of text")));
    }
    Ok(format!("{key} = {value}\n"))
}

/// sysctl.d(5): names parted by dots or slashes; a hyphen first means that a failure does not matter; `*` stands for any name.
fn check_key(key: &str) -> Result {
    let name = key.strip_prefix('-').unwrap_or(key);
    let good = |part: &str| {
        !part.is_empty()
            && part != ".."
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-*:@".contains(letter))
    };
    if name.contains(['.', '/']) && name.split(['.', '/']).all(good) {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "values: `{key}` is not the name of a kernel parameter, as `net.ipv4.ip_forward` is"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::Mock;

    #[test]
    fn writes_sorted_lines() {
        let mock = Mock::strict(Sysctl::MANIFEST);
        let config = r#"{"values": {"vm.swappiness": 10, "net.ipv4.ip_forward": true, "kernel.core_pattern": "|/bin/false", "-net.ipv4.conf.*.rp_filter": "2"}}"#;
        mock.run::<Sysctl>(Phase::PostInstall, config).unwrap();
        assert_eq!(
            mock.snapshot(),
            "allow target.write /etc/sysctl.d/60-dibw.conf\n--- /etc/sysctl.d/60-dibw.conf 0644\n\
             # Written by the dibw element sysctl.\n\
             -net.ipv4.conf.*.rp_filter = 2\nkernel.core_pattern = |/bin/false\nnet.ipv4.ip_forward = 1\nvm.swappiness = 10\n"
        );
        mock.assert_all_used();
    }

    #[test]
    fn nothing_given_writes_nothing() {
        let mock = Mock::strict(Sysctl::MANIFEST);
        mock.run::<Sysctl>(Phase::PostInstall, "{}").unwrap();
        assert_eq!(mock.snapshot(), "");
        assert_eq!(mock.log(), [("warn".to_owned(), "there are no values: nothing is written".to_owned())]);
    }

    #[test]
    fn bad_keys_and_values_are_refused() {
        let cases = [
            (
                r#"{"values": {"swappiness": 1}}"#,
                "values: `swappiness` is not the name of a kernel parameter, as `net.ipv4.ip_forward` is",
            ),
            (
                r#"{"values": {"a..b": 1}}"#,
                "values: `a..b` is not the name of a kernel parameter, as `net.ipv4.ip_forward` is",
            ),
            (
                r#"{"values": {"a/../b": 1}}"#,
                "values: `a/../b` is not the name of a kernel parameter, as `net.ipv4.ip_forward` is",
            ),
            (
                r#"{"values": {"a.b c": 1}}"#,
                "values: `a.b c` is not the name of a kernel parameter, as `net.ipv4.ip_forward` is",
            ),
            (r#"{"values": {"a.b": "1\nc.d = 2"}}"#, "values.a.b: a value is one line of text"),
            (
                r#"{"values": {"a.b": 1.5}}"#,
                "values.a.b: expected a string, a whole number or a bool, found 1.5",
            ),
            (r#"{"valeus": {}}"#, "unknown key `valeus`; did you mean `values`? expected `values`"),
        ];
        for (config, expected) in cases {
            let mock = Mock::strict(Sysctl::MANIFEST);
            assert_eq!(
                mock.run::<Sysctl>(Phase::PostInstall, config),
                Err(Error::invalid(expected)),
                "{config}"
            );
            assert_eq!(mock.file(FILE), None, "{config}");
        }
    }
}
