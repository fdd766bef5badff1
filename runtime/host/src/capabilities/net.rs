//! `net`: downloads. The URL is decided before anything is sent, each hop with the addresses it leads to before it is.

use std::net::IpAddr;
use std::str::FromStr;

use dibw_policy::subject::escape;
use dibw_policy::{Checksum, Decision, Effective, Operation, Record, decide};

use crate::bindings::dibw::element::net::Host;
use crate::bindings::dibw::element::types::Error;
use crate::gate::{Answer, Halt, State};
use crate::lent::{Download, Expected, Follow, Header, Judge, Lend, Lent, Verdict};

/// Headers that say how a request travels, not what it asks for: never an element's.
/// Source: RFC 9110 section 7.6.1 and the list of forbidden request headers of the Fetch standard.
const RESERVED: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-range",
    "keep-alive",
    "proxy-authorization",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

type Secret = Option<(String, String)>;

impl Host for State {
    fn fetch(&mut self, url: String, checksum: String, header: Secret) -> Answer<Vec<u8>> {
        self.answer(|state| {
            let download = state.download(url, &checksum, header)?;
            state.judged(&download, |lent, judge| lent.fetch(&download, judge))
        })
    }

    fn fetch_to_file(
        &mut self,
        url: String,
        checksum: String,
        header: Secret,
        path: String,
        mode: u32,
    ) -> Answer<()> {
        self.answer(|state| {
            let path =
                state.permit_path(&path, Follow::Parents, |path| Operation::WriteFile { path, mode })?;
            let download =
                Download { most: state.limits.download_bytes, ..state.download(url, &checksum, header)? };
            state.judged(&download, |lent, judge| lent.fetch_to_file(&download, judge, &path, mode))
        })
    }
}

impl State {
    /// What is to be fetched, once it is known that the element may ask for it.
    fn download(&mut self, url: String, checksum: &str, header: Secret) -> Result<Download, Halt> {
        let invalid = |wrong| Halt::Guest(Error::Invalid(wrong));
        let expected: Expected = checksum.parse().map_err(invalid)?;
        let kind = expected.kind();
        self.permit(&Operation::Fetch { url: url.clone(), checksum: kind, addresses: Vec::new() })?;
        let header = match header {
            None => None,
            Some((name, secret)) => {
                check_header(&name).map_err(invalid)?;
                self.permit(&Operation::SendSecret { name: secret.clone(), origin: url.clone() })?;
                Some(Header { name, secret })
            }
        };
        let most = self.limits.file_bytes as u64;
        Ok(Download { url, expected, header, most, time: self.limits.download_time.min(self.time_left()) })
    }

    /// Does a download whose every hop is decided. A refused hop is the element's refusal, whatever the engine makes of it.
    fn judged<T>(
        &mut self,
        download: &Download,
        work: impl FnOnce(&mut dyn Lent, &mut Judge<'_>) -> Lend<T>,
    ) -> Result<T, Halt> {
        let mut denied = None;
        let (effective, phase, checksum) = (&self.effective, &self.phase, download.expected.kind());
        let mut judge = |url: &str, addresses: &[IpAddr]| {
            let (record, decision) = decide_hop(effective, phase, url, checksum, addresses);
            let refused = match decision {
                Decision::Allow { .. } | Decision::WouldDeny(_) => None,
                Decision::Malformed { message } => Some(message),
                Decision::Deny(denial) => {
                    let said = denial.to_string();
                    denied = Some(denial);
                    Some(said)
                }
            };
            Verdict { record, refused }
        };
        let done = work(self.lent.as_mut(), &mut judge);
        match denied {
            Some(denial) => Err(self.refuse(denial)),
            None => Ok(done?),
        }
    }
}

fn decide_hop(
    effective: &Effective,
    phase: &str,
    url: &str,
    checksum: Checksum,
    addresses: &[IpAddr],
) -> (Record, Decision) {
    let operation = Operation::Fetch { url: url.to_owned(), checksum, addresses: addresses.to_vec() };
    let decision = decide(effective, &operation);
    (Record::new(effective, phase, &operation, &decision), decision)
}

fn check_header(name: &str) -> Result<(), String> {
    let proper = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let shown = escape(name);
    if name.is_empty() || name.len() > 64 || !name.chars().all(proper) {
        return Err(format!("`{shown}` is not the name of a header: letters, digits and hyphens are"));
    }
    if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("the header `{shown}` is not an element's to set"));
    }
    Ok(())
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(digits) = text.strip_prefix("sha256:") {
            let digits = digits.to_ascii_lowercase();
            if digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
                return Ok(Expected::Sha256(digits));
            }
        }
        match text.parse() {
            Ok(Checksum::FirstUse) => Ok(Expected::FirstUse),
            Ok(Checksum::None) => Ok(Expected::Unknown),
            Ok(Checksum::Required) | Err(_) => Err(format!(
                "`{}` is not `sha256:` and 64 hexadecimal digits, `first-use` or `none`",
                escape(text)
            )),
        }
    }
}

impl Expected {
    /// What the policy is asked about.
    pub fn kind(&self) -> Checksum {
        match self {
            Expected::Sha256(_) => Checksum::Required,
            Expected::FirstUse => Checksum::FirstUse,
            Expected::Unknown => Checksum::None,
        }
    }
}
