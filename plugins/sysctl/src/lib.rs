//! The element `sysctl`: kernel parameters, set at every boot by systemd-sysctl. The runtime writes the file, and refuses parameters that
//! name a program which the kernel runs.

use std::collections::BTreeMap;

use dibw_sdk::prelude::*;

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
        self.values.iter().try_for_each(|(key, value)| {
            let value = value.0.trim();
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(Error::invalid(format!("values.{key}: a value is one line of text")));
            }
            cx.sysctl(key, value).map_err(|error| error.while_doing(&format!("values.{key}")))
        })
    }
}

element!(Sysctl, needs! { sysctl "*" });

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::Mock;

    #[test]
    fn sets_each_parameter() {
        let mock = Mock::strict(Sysctl::MANIFEST);
        let config = r#"{"values": {"vm.swappiness": 10, "net.ipv4.ip_forward": true, "-net.ipv4.conf.all.rp_filter": "2"}}"#;
        mock.run::<Sysctl>(Phase::PostInstall, config).unwrap();
        assert_eq!(
            mock.snapshot(),
            "allow sysctl net.ipv4.conf.all.rp_filter\nallow sysctl net.ipv4.ip_forward\nallow sysctl vm.swappiness\n"
        );
        assert_eq!(mock.sysctl("vm.swappiness").as_deref(), Some("10"));
        assert_eq!(mock.sysctl("net.ipv4.ip_forward").as_deref(), Some("1"));
        assert_eq!(mock.sysctl("-net.ipv4.conf.all.rp_filter").as_deref(), Some("2"));
        mock.assert_all_used();
    }

    #[test]
    fn programs_of_the_kernel_are_nobodys_to_set() {
        let mock = Mock::strict(Sysctl::MANIFEST);
        let config = r#"{"values": {"kernel.core_pattern": "|/bin/false"}}"#;
        let error = mock.run::<Sysctl>(Phase::PostInstall, config).unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert_eq!(mock.sysctl("kernel.core_pattern"), None);
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
                "values.swappiness: `swappiness` is not the name of a kernel setting like net.ipv4.ip_forward",
            ),
            (
                r#"{"values": {"a..b": 1}}"#,
                "values.a..b: `a..b` is not the name of a kernel setting like net.ipv4.ip_forward",
            ),
            (
                r#"{"values": {"a/../b": 1}}"#,
                "values.a/../b: `a/../b` is not the name of a kernel setting like net.ipv4.ip_forward",
            ),
            (
                r#"{"values": {"a.b c": 1}}"#,
                "values.a.b c: `a.b c` is not the name of a kernel setting like net.ipv4.ip_forward",
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
        }
    }
}
