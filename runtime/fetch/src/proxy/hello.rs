//! The first message of TLS, ClientHello (RFC 8446 4.1.2, RFC 6066 3): which host does the client name?
//!
//! Pure. Anything that is not exactly a ClientHello is invalid. Callers: [`super::connection`], fuzzing.

/// What bytes from the start of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The start of a ClientHello: more is needed.
    Incomplete,
    /// A whole ClientHello.
    Whole {
        /// The host it names (SNI), as written.
        name: Option<String>,
        /// It carries an encrypted second ClientHello (ECH), so the name may not be the real one.
        encrypted: bool,
    },
    /// Anything else: why.
    Invalid(&'static str),
}

/// Longest ClientHello that is looked at, in bytes; large ones have about 2,000.
pub(super) const LONGEST: usize = 32 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Largest fragment of a record (RFC 8446 5.1).
const LARGEST_RECORD: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// Looks at all bytes that came so far.
pub fn parse(bytes: &[u8]) -> Hello {
    match handshake(bytes) {
        Ok(Some(message)) => {
            read(&message).map_or_else(Hello::Invalid, |(name, encrypted)| Hello::Whole { name, encrypted })
        }
        Ok(None) if bytes.len() >= LONGEST => Hello::Invalid("its TLS ClientHello is too long"),
        Ok(None) => Hello::Incomplete,
        Err(why) => Hello::Invalid(why),
    }
}

type Answer<T> = Result<T, &'static str>;

/// Joins the records that carry the message; none while some is missing.
fn handshake(mut bytes: &[u8]) -> Answer<Option<Vec<u8>>> {
    const NOT_TLS: &str = "it does not begin with a TLS ClientHello";
    let mut message = Vec::new();
    loop {
        // Say no as soon as it is certain: a client of another protocol may wait for us.
        let head = &bytes[..bytes.len().min(5)];
        if head.first().is_some_and(|kind| *kind != HANDSHAKE) || head.get(1).is_some_and(|major| *major != 3)
        {
            return Err(NOT_TLS);
        }
        let [_, _, _, high, low] = *head else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > LARGEST_RECORD {
            return Err(NOT_TLS);
        }
        let rest = &bytes[5..];
        message.extend_from_slice(&rest[..rest.len().min(length)]);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(NOT_TLS);
        }
        if rest.len() < length {
            return Ok(None);
        }
        bytes = &rest[length..];
        let [_, a, b, c, ..] = *message else { continue };
        let whole = 4 + usize::from(a) * 65536 + usize::from(b) * 256 + usize::from(c);
        if whole > LONGEST {
            return Err("its TLS ClientHello is too long");
        }
        match message.len().cmp(&whole) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Ok(Some(message.split_off(4))),
            std::cmp::Ordering::Greater => return Err("more than a TLS ClientHello in its first record"),
        }
    }
}

/// The name and whether there is more behind it.
fn read(message: &[u8]) -> Answer<(Option<String>, bool)> {
    let mut rest = Bytes(message);
    rest.take(2 + 32)?;
    rest.vector8()?;
    rest.vector16()?;
    rest.vector8()?;
    let (mut name, mut encrypted) = (None, false);
    if rest.0.is_empty() {
        return Ok((name, encrypted));
    }
    let mut extensions = rest.vector16()?;
    rest.end()?;
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.vector16()?;
        match kind {
            SERVER_NAME if name.is_some() => return Err("its TLS ClientHello names hosts twice"),
            SERVER_NAME => name = Some(server_name(content)?),
            ENCRYPTED_CLIENT_HELLO => encrypted = true,
            _ => {}
        }
    }
    Ok((name, encrypted))
}

/// The one host name of the extension.
fn server_name(mut content: Bytes<'_>) -> Answer<String> {
    let mut list = content.vector16()?;
    content.end()?;
    let kind = list.take(1)?;
    let name = list.vector16()?.0;
    list.end()?;
    if kind != [0] || name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return Err("its TLS ClientHello names no proper host");
    }
    Ok(name.iter().map(|byte| char::from(*byte)).collect())
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Answer<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BROKEN)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number16(&mut self) -> Answer<u16> {
        let taken = self.take(2)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn vector8(&mut self) -> Answer<Bytes<'a>> {
        let length = self.take(1)?[0];
        self.take(length.into()).map(Bytes)
    }

    fn vector16(&mut self) -> Answer<Bytes<'a>> {
        let length = self.number16()?;
        self.take(length.into()).map(Bytes)
    }

    fn end(&self) -> Answer<()> {
        if self.0.is_empty() { Ok(()) } else { Err(BROKEN) }
    }
}

const BROKEN: &str = "its TLS ClientHello is broken";
