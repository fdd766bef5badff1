//! Text that is put together by the compiler. The manifest is a section of the component, so its JSON must be a constant; the types'
//! schemas nest and are generic, so its length is not known where they are written: hence a buffer of fixed capacity.

/// Bytes one schema or manifest may have. More is an error of the compiler, not of the build.
const CAPACITY: usize = 32 * 1024;

/// A constant text. UTF-8, as only whole `&str` are put into it.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl Text {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { bytes: [0; CAPACITY], length: 0 }
    }

    /// With `text`.
    pub const fn of(text: &str) -> Self {
        Self::new().text(text)
    }

    /// Bytes so far.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is nothing yet.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds `text` as it is.
    #[must_use]
    pub const fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes(), text.len())
    }

    /// Adds another constant text.
    #[must_use]
    pub const fn joined(self, other: &Self) -> Self {
        self.bytes(&other.bytes, other.length)
    }

    const fn bytes(mut self, bytes: &[u8], length: usize) -> Self {
        assert!(self.length + length <= CAPACITY, "the manifest of this element is larger than 32 KiB");
        let mut at = 0;
        while at < length {
            self.bytes[self.length] = bytes[at];
            self.length += 1;
            at += 1;
        }
        self
    }

    /// Adds a JSON string: quoted, with what JSON forbids escaped.
    #[must_use]
    pub const fn quoted(mut self, text: &str) -> Self {
        self = self.text("\"");
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            self = match byte {
                b'"' => self.text("\\\""),
                b'\\' => self.text("\\\\"),
                b'\n' => self.text("\\n"),
                0..=0x1f => self.bytes(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)], 6),
                _ => self.bytes(&[byte], 1),
            };
            at += 1;
        }
        self.text("\"")
    }

    /// Adds a decimal number.
    #[must_use]
    pub const fn number(mut self, number: u8) -> Self {
        let mut unit = 100;
        while unit > 0 {
            if number >= unit || unit == 1 {
                self = self.bytes(&[b'0' + number / unit % 10], 1);
            }
            unit /= 10;
        }
        self
    }

    /// Takes the `}` off, so that members can be added to the object.
    #[must_use]
    pub const fn opened(mut self) -> Self {
        assert!(self.length > 0 && self.bytes[self.length - 1] == b'}', "a schema is a JSON object");
        self.length -= 1;
        self
    }

    /// The text as an array of its exact length.
    pub const fn exactly<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        assert!(LENGTH == self.length, "the length is the text's own");
        let mut exact = [0; LENGTH];
        let mut at = 0;
        while at < LENGTH {
            exact[at] = self.bytes[at];
            at += 1;
        }
        exact
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

const fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

/// The text of bytes that came out of a [`Text`].
pub const fn as_str(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a Text holds whole strings only"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_are_escaped_by_the_compiler() {
        const TEXT: Text =
            Text::new().quoted("a \"b\"\\\n\u{1}é").text(":").number(0).number(7).number(50).number(205);
        const BYTES: [u8; TEXT.len()] = TEXT.exactly();
        assert_eq!(as_str(&BYTES), r#""a \"b\"\\\n\u0001é":0750205"#);
    }
}
