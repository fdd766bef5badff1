//! Owns paths and names of a tree as bytes, and their text: they may be anything but NUL, and must survive JSON and logs.
//! Must not know what they name. Used by all of `observed`.

use std::fmt;
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path (absolute, without links in it), the name of an attribute or the text of a link. As text it is itself, but for
/// control characters, backslashes and what is not UTF-8, which are `\xHH`. Its clones share the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawName(Arc<[u8]>);

impl RawName {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the name of an attribute that is an overlay's own, and no property of what it shows.
    pub(super) fn is_of_overlay(&self) -> bool {
        self.0.starts_with(b"trusted.overlay.")
    }

    /// The entry `name` of the directory with this path.
    pub(super) fn join(&self, name: &[u8]) -> Self {
        let parent = self.0.strip_suffix(b"/").unwrap_or(&self.0);
        Self([parent, b"/", name].concat().into())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((plain, escaped)) = rest.split_once('\\') {
            bytes.extend_from_slice(plain.as_bytes());
            let digits = escaped.strip_prefix('x')?.get(..2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &escaped[3..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        Some(Self(bytes.into()))
    }
}

impl From<&[u8]> for RawName {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for RawName {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl fmt::Display for RawName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                if letter.is_control() || letter == '\\' {
                    let mut bytes = [0; 4];
                    for byte in letter.encode_utf8(&mut bytes).bytes() {
                        write!(formatter, "\\x{byte:02x}")?;
                    }
                } else {
                    write!(formatter, "{letter}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(formatter, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RawName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

impl Serialize for RawName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RawName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not an escaped name")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_as_text() {
        let cases: [(&[u8], &str); 5] = [
            (b"/usr/bin", "/usr/bin"),
            ("/\u{e4}\u{1f600}".as_bytes(), "/\u{e4}\u{1f600}"),
            (b"/a\nb\\c\x7f", "/a\\x0ab\\x5cc\\x7f"),
            (b"/\xff\xc3", "/\\xff\\xc3"),
            ("/\u{85}".as_bytes(), "/\\xc2\\x85"),
        ];
        for (bytes, text) in cases {
            let name = RawName::from(bytes);
            assert_eq!(name.to_string(), text);
            assert_eq!(RawName::parse(text), Some(name));
        }
        for text in ["\\", "\\x1", "\\y00", "\\x\u{e4}", "\\xg0"] {
            assert_eq!(RawName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn entries_of_the_root_have_one_slash() {
        assert_eq!(RawName::from("/").join(b"etc"), RawName::from("/etc"));
        assert_eq!(RawName::from("/etc").join(b"passwd"), RawName::from("/etc/passwd"));
    }
}
