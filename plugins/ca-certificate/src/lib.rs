//! The element `ca-certificate`: authorities that a site runs itself, trusted by the whole image. A certificate comes from the machine that
//! builds, offered as `site-...`, or from a URL with its checksum. What changed since the last build is pointed out.

use dibw_sdk::prelude::*;

/// Where Debian's update-ca-certificates(8) looks for what an administrator added.
const DIRECTORY: &str = "/usr/local/share/ca-certificates";

/// Certificate authorities of a site.
#[derive(Config)]
struct CaCertificate {
    /// Files that are offered with `--input site-NAME=PATH`, by that name.
    inputs: Vec<String>,
    /// Certificates that are downloaded.
    downloads: Vec<Downloaded>,
}

/// A certificate and where it is.
#[derive(ConfigValue)]
struct Downloaded {
    /// What to call it in the image.
    name: String,
    /// An https URL.
    url: String,
    /// The SHA-256 of the file, hexadecimal.
    sha256: String,
}

#[hooks]
impl Element for CaCertificate {
    fn install(&self, cx: &Cx) -> Result {
        cx.packages(["ca-certificates"])
    }

    fn post_install(&self, cx: &Cx) -> Result {
        for name in &self.inputs {
            add(cx, name, &cx.input(name)?)?;
        }
        for Downloaded { name, url, sha256 } in &self.downloads {
            add(cx, name, &cx.fetch(url).sha256(sha256).bytes()?)?;
        }
        if self.inputs.is_empty() && self.downloads.is_empty() {
            cx.warn("there are no certificates: nothing is added");
            return Ok(());
        }
        cx.run(["/usr/sbin/update-ca-certificates"]).map(drop)
    }
}

element!(
    CaCertificate,
    needs! {
        package "ca-certificates";
        input "site-*";
        fetch "https://*/";
        cache "1MiB";
        write "/usr/local/share/ca-certificates/*";
        exec "/usr/sbin/update-ca-certificates";
    }
);

/// Adds one certificate, and says so when it is another than in the build before.
fn add(cx: &Cx, name: &str, bytes: &[u8]) -> Result {
    check(name, bytes)?;
    let key = format!("certificate {name}");
    match cx.cached(&key)? {
        Some(before) if before != bytes => {
            cx.warn(format!("{name} is another certificate than in the last build"))
        }
        Some(_) | None => {}
    }
    cx.cache(&key, bytes)?;
    cx.write(format!("{DIRECTORY}/{name}.crt"), bytes)
}

/// One certificate in PEM, and by no mistake the key that belongs to it.
fn check(name: &str, bytes: &[u8]) -> Result {
    let proper = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || !name.chars().all(proper) {
        return Err(Error::invalid(format!(
            "`{name}` is not a name: lower case letters, digits and hyphens"
        )));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::invalid(format!("{name} is not text, so it is not PEM")))?;
    if text.contains("PRIVATE KEY") {
        return Err(Error::invalid(format!("{name} has a private key in it, which no image must have")));
    }
    let count = |mark: &str| text.lines().filter(|line| line.trim_end() == mark).count();
    match (count("-----BEGIN CERTIFICATE-----"), count("-----END CERTIFICATE-----")) {
        (1, 1) => Ok(()),
        _ => Err(Error::invalid(format!("{name} is not one certificate in PEM"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::Mock;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const URL: &str = "https://pki.example/root.pem";
    /// Of `PEM`.
    const SHA256: &str = "8010bfcee1842b2a4ce8f67c3e9455f0188f7a15bf39ec61a26feb75cd785821";

    fn mock() -> Mock {
        Mock::strict(CaCertificate::MANIFEST).with_input("site-root", PEM).with_url(URL, PEM)
    }

    fn downloads(sha256: &str) -> String {
        format!(r#"{{"downloads": [{{"name": "pki-root", "url": "{URL}", "sha256": "{sha256}"}}]}}"#)
    }

    #[test]
    fn certificates_come_from_inputs_and_downloads() {
        let mock = mock();
        let config = downloads(SHA256).replacen('{', r#"{"inputs": ["site-root"], "#, 1);
        mock.run_all::<CaCertificate>(&config).unwrap();
        for name in ["site-root", "pki-root"] {
            assert_eq!(mock.file(&format!("{DIRECTORY}/{name}.crt")).as_deref(), Some(PEM));
        }
        assert_eq!(mock.packages(), ["ca-certificates"]);
        assert_eq!(mock.commands().len(), 1);
        assert_eq!(mock.log(), []);
        mock.assert_all_used();
    }

    #[test]
    fn another_certificate_than_last_time_is_pointed_out() {
        let mock = mock().with_cached("certificate site-root", "before");
        mock.run::<CaCertificate>(Phase::PostInstall, r#"{"inputs": ["site-root"]}"#).unwrap();
        assert_eq!(
            mock.log(),
            [("warn".to_owned(), "site-root is another certificate than in the last build".to_owned())]
        );
        assert_eq!(mock.cached("certificate site-root").as_deref(), Some(PEM.as_bytes()));
    }

    #[test]
    fn what_is_no_certificate_stays_outside() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
        for (contents, said) in [
            (key.to_owned(), "site-root has a private key in it, which no image must have"),
            (PEM.repeat(2), "site-root is not one certificate in PEM"),
            (String::new(), "site-root is not one certificate in PEM"),
        ] {
            let mock = Mock::strict(CaCertificate::MANIFEST).with_input("site-root", contents);
            let result = mock.run::<CaCertificate>(Phase::PostInstall, r#"{"inputs": ["site-root"]}"#);
            assert_eq!(result, Err(Error::invalid(said)));
            assert_eq!(mock.file(&format!("{DIRECTORY}/site-root.crt")), None);
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_had() {
        let result = mock().run::<CaCertificate>(Phase::PostInstall, r#"{"inputs": ["other"]}"#);
        assert!(matches!(result, Err(Error::Denied { .. })), "{result:?}");
        let result = mock().run::<CaCertificate>(Phase::PostInstall, &downloads(&"0".repeat(64)));
        assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
        let result =
            mock().run::<CaCertificate>(Phase::PostInstall, &downloads(SHA256).replace("https", "http"));
        assert!(matches!(result, Err(Error::Denied { .. })), "{result:?}");
    }
}
