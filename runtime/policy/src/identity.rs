//! Who asks: an element's name, what its bytes are, who signed them; and what a rule ties itself to.
//!
//! Must not know: how digests are taken or signatures verified.
//! Callers: [`crate::effective`], [`crate::confinement`], [`crate::trust`], the plan.

use serde::{Deserialize, Serialize};

use crate::subject::escape;

/// An element as rules see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub id: String,
    /// SHA-256 of its component, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// SHA-256 over its directory, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Names of the keys (of `trust`) whose signatures on the component were verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
}

/// What a rule is tied to beside the element's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pin {
    /// Nothing: whatever has the name.
    #[default]
    Name,
    /// The SHA-256 of the component, hexadecimal.
    Digest(String),
    /// The SHA-256 over the directory, hexadecimal.
    Tree(String),
    /// Any component that this key of `trust` signed.
    Publisher(String),
}

impl Identity {
    /// An element of which only the name is known.
    pub fn named(id: impl Into<String>) -> Self {
        Identity { id: id.into(), ..Identity::default() }
    }

    /// `id@sha256:0123456789ab`, or the name alone.
    pub fn shown(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{}", escape(&self.id), short(digest)),
            None => escape(&self.id),
        }
    }

    /// As the `element` of a grant that is tied to what is there now, in YAML.
    pub fn as_grantee(&self) -> String {
        let id = quoted(&self.id);
        match (&self.digest, &self.tree) {
            (Some(digest), _) => format!("{{id: {id}, digest: \"sha256:{digest}\"}}"),
            (None, Some(tree)) => format!("{{id: {id}, tree: \"sha256:{tree}\"}}"),
            (None, None) => format!("{{id: {id}}}"),
        }
    }
}

impl Pin {
    /// Why a rule tied to this is not for the element, if so.
    pub fn mismatch(&self, identity: &Identity) -> Option<String> {
        match self {
            Pin::Name => None,
            Pin::Digest(wanted) => {
                differs("digest", wanted, identity.digest.as_deref(), "it has no component")
            }
            Pin::Tree(wanted) => differs("tree", wanted, identity.tree.as_deref(), "it has no directory"),
            Pin::Publisher(name) if identity.signers.contains(name) => None,
            Pin::Publisher(name) => {
                let signers = match identity.signers.as_slice() {
                    [] => "nobody".to_owned(),
                    names => names.join(", "),
                };
                Some(format!("for what `{}` signed, this is signed by {signers}", escape(name)))
            }
        }
    }
}

fn differs(word: &str, wanted: &str, found: Option<&str>, none: &str) -> Option<String> {
    match found {
        Some(found) if found == wanted => None,
        Some(found) => Some(format!("for {word} {}, this is {}", short(wanted), short(found))),
        None => Some(format!("for {word} {}, but {none}", short(wanted))),
    }
}

/// A digest as people see it: its first twelve digits.
pub fn short(digest: &str) -> String {
    match digest.get(..12) {
        Some(start) if digest.len() > 12 => format!("sha256:{start}.."),
        _ => format!("sha256:{}", escape(digest)),
    }
}

/// Reads `sha256:` and 64 hexadecimal digits.
///
/// # Errors
/// It is something else.
pub fn parse_digest(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(digits.to_owned());
    }
    Err(format!("`{}` is not sha256: and 64 lower-case hexadecimal digits", escape(text)))
}

/// A scalar of YAML that reads back as this text: plain where that is safe, else in double quotes.
pub fn quoted(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = starts
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !["true", "false", "yes", "no", "on", "off", "null"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// A list of YAML on one line.
pub fn quoted_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_say_why_they_do_not_fit() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let mut motd = Identity { digest: Some(a.clone()), ..Identity::named("motd") };
        let said = |pin: Pin, identity: &Identity| pin.mismatch(identity);
        assert_eq!(said(Pin::Name, &motd), None);
        assert_eq!(said(Pin::Digest(a.clone()), &motd), None);
        assert_eq!(
            said(Pin::Digest(b.clone()), &motd).unwrap(),
            "for digest sha256:bbbbbbbbbbbb.., this is sha256:aaaaaaaaaaaa.."
        );
        assert_eq!(
            said(Pin::Tree(b), &motd).unwrap(),
            "for tree sha256:bbbbbbbbbbbb.., but it has no directory"
        );
        let team = || Pin::Publisher("team".to_owned());
        assert_eq!(said(team(), &motd).unwrap(), "for what `team` signed, this is signed by nobody");
        motd.signers = vec!["other".to_owned()];
        assert_eq!(said(team(), &motd).unwrap(), "for what `team` signed, this is signed by other");
        motd.signers.push("team".to_owned());
        assert_eq!(said(team(), &motd), None);
        assert_eq!(motd.shown(), "motd@sha256:aaaaaaaaaaaa..");
    }

    #[test]
    fn digests_and_texts() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(parse_digest(&format!("sha256:{digits}")), Ok(digits.clone()));
        for text in ["", "sha256:", "sha512:00", &digits[1..], &digits.to_uppercase()] {
            assert!(parse_digest(text).is_err(), "{text}");
        }
        assert_eq!(
            quoted_list(["a-b", "/etc/x", "no", "*", "a b", "1"]),
            r#"[a-b, /etc/x, "no", "*", "a b", "1"]"#
        );
    }
}
