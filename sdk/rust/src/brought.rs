//! What `Cx` brings in from outside the target: downloads, the site's files and secrets, what was kept from earlier builds.

use crate::cx::Cx;
use crate::error::{Error, Result};

/// A download under preparation: say what is known of its contents, then where they go.
///
/// ```no_run
/// # use dibw_sdk::prelude::*;
/// # fn install(cx: &Cx) -> Result {
/// cx.fetch("https://example.com/tool-1.4")
///     .sha256("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
///     .mode(0o755)
///     .to("/usr/local/bin/tool")
/// # }
/// ```
#[must_use = "nothing is downloaded before `to` or `bytes`"]
pub struct Fetch<'a> {
    cx: &'a Cx,
    url: String,
    checksum: Option<String>,
    header: Option<(String, String)>,
    mode: u32,
}

impl Fetch<'_> {
    /// The SHA-256 that the contents must have, hexadecimal.
    pub fn sha256(mut self, digits: impl AsRef<str>) -> Self {
        self.checksum = Some(format!("sha256:{}", digits.as_ref()));
        self
    }

    /// What comes the first time on a machine is what must come ever after. Needs `fetch "URL first-use"`.
    pub fn first_use(mut self) -> Self {
        self.checksum = Some("first-use".to_owned());
        self
    }

    /// Whatever comes. Needs `fetch "URL none"`, which is granted on the command line only.
    pub fn unchecked(mut self) -> Self {
        self.checksum = Some("none".to_owned());
        self
    }

    /// Sends a header whose value is the secret of that name, to the origin of the URL only. Needs `secret "NAME header ORIGIN"`.
    pub fn secret_header(mut self, header: impl Into<String>, secret: impl Into<String>) -> Self {
        self.header = Some((header.into(), secret.into()));
        self
    }

    /// Permission bits of the file, 0644 unless said otherwise.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Downloads into a file of the target, atomically; the contents do not pass through the element. Needs `write` too.
    pub fn to(self, path: impl AsRef<str>) -> Result {
        let checksum = self.known()?;
        let header = header_of(&self.header);
        self.cx.host.fetch_to_file(&self.url, checksum, header, path.as_ref(), self.mode)
    }

    /// Downloads at most 16 MiB into the element.
    pub fn bytes(self) -> Result<Vec<u8>> {
        self.cx.host.fetch(&self.url, self.known()?, header_of(&self.header))
    }

    fn known(&self) -> Result<&str> {
        self.checksum.as_deref().ok_or_else(|| {
            Error::Invalid(format!(
                "{}: say what is known of the contents: `.sha256(\"..\")`, `.first_use()` or `.unchecked()`",
                self.url
            ))
        })
    }
}

fn header_of(header: &Option<(String, String)>) -> Option<(&str, &str)> {
    header.as_ref().map(|(name, secret)| (name.as_str(), secret.as_str()))
}

/// What comes from outside the target.
impl Cx {
    /// Prepares a download, which the runtime makes. Needs `fetch`.
    pub fn fetch(&self, url: impl Into<String>) -> Fetch<'_> {
        Fetch { cx: self, url: url.into(), checksum: None, header: None, mode: 0o644 }
    }

    /// A file that the one who builds offers under this name (`--input NAME=PATH`), at most 16 MiB. Needs `input`.
    pub fn input(&self, name: impl AsRef<str>) -> Result<Vec<u8>> {
        self.host.input(name.as_ref())
    }

    /// The same as text; `Invalid` when it is not UTF-8.
    pub fn input_text(&self, name: impl AsRef<str>) -> Result<String> {
        let name = name.as_ref();
        String::from_utf8(self.input(name)?)
            .map_err(|_| Error::Invalid(format!("the input {name} is not UTF-8 text")))
    }

    /// Has the runtime write a secret (`--secret NAME=PATH`) into a file of the target, mode 0600. Needs `secret "NAME file PATH"` and
    /// `write`. The element never sees it.
    pub fn write_secret(&self, name: impl AsRef<str>, path: impl AsRef<str>) -> Result {
        self.write_secret_mode(name, path, 0o600)
    }

    /// As [`Cx::write_secret`], with permission bits.
    pub fn write_secret_mode(&self, name: impl AsRef<str>, path: impl AsRef<str>, mode: u32) -> Result {
        self.host.write_secret(name.as_ref(), path.as_ref(), mode)
    }

    /// What this element put there in an earlier build, if it is still kept; another version of the element starts anew.
    /// Needs `cache`.
    pub fn cached(&self, key: impl AsRef<str>) -> Result<Option<Vec<u8>>> {
        self.host.cached(key.as_ref())
    }

    /// Keeps bytes for later builds, at most 16 MiB. Needs `cache`, which says how much all keys together may hold.
    pub fn cache(&self, key: impl AsRef<str>, bytes: impl AsRef<[u8]>) -> Result {
        self.host.cache(key.as_ref(), bytes.as_ref())
    }
}
