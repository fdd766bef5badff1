//! The part of the lender that brings things in from outside the target: downloads, offered files and secrets, what was kept.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

use dibw_host::{Download, Judge, Lend, LentError};
use dibw_sys::target_files::SpecialBits;

use super::{Lender, file, io};
use crate::downloads::{SecretHeader, Wanted};
use crate::kernel_files::write_in_place;
use crate::offers::Secret;

impl Lender {
    /// Downloads into a file without a name. Each hop is judged, recorded, and only then made.
    pub(super) fn download(&mut self, download: &Download, judge: &mut Judge<'_>) -> Lend<File> {
        let value = match &download.header {
            None => None,
            Some(header) => Some(header_value(&header.secret, self.secret(&header.secret)?)?),
        };
        let header = download.header.as_ref().zip(value.as_deref()).map(|(header, value)| SecretHeader {
            name: &header.name,
            secret: &header.secret,
            value,
        });
        let wanted = Wanted {
            url: &download.url,
            expected: &download.expected,
            header,
            most: download.most,
            time: download.time,
            offline: self.offline,
        };
        let audit = self.audit.clone();
        let mut allow = |url: &str, addresses: &[IpAddr]| {
            let verdict = judge(url, addresses);
            audit.borrow_mut().add(&verdict.record).map_err(|error| format!("{error:#}"))?;
            verdict.refused.map_or(Ok(()), Err)
        };
        self.machine.borrow_mut().download(&wanted, &mut allow)
    }

    pub(super) fn download_bytes(&mut self, download: &Download, judge: &mut Judge<'_>) -> Lend<Vec<u8>> {
        let file = self.download(download, judge)?;
        let mut bytes = Vec::new();
        let read = file.take(download.most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| LentError::Io(format!("{}: {error}", download.url)))?;
        if bytes.len() as u64 > download.most {
            return Err(LentError::Limit(format!("{}: more than {} bytes", download.url, download.most)));
        }
        Ok(bytes)
    }

    pub(super) fn download_file(
        &mut self,
        download: &Download,
        judge: &mut Judge<'_>,
        path: &str,
        mode: u32,
    ) -> Lend<()> {
        let mut contents = self.download(download, judge)?;
        let files = self.files()?.0.with_limit(download.most);
        files.write_from(path, &mut contents, mode, SpecialBits::Strip).map_err(file)
    }

    pub(super) fn input(&self, name: &str) -> Lend<Vec<u8>> {
        self.offers.inputs.get(name).cloned().ok_or_else(|| not_offered("input", name))
    }

    fn secret(&self, name: &str) -> Lend<&Secret> {
        self.offers.secrets.get(name).ok_or_else(|| not_offered("secret", name))
    }

    pub(super) fn secret_file(&mut self, name: &str, path: &str, mode: u32) -> Lend<()> {
        let secret = self.secret(name)?;
        self.files()?.0.write(path, secret.reveal(), mode, SpecialBits::Strip).map_err(file)?;
        self.secrets_in_target.set(true);
        Ok(())
    }

    /// A part of a file, unless the file has a secret in it. Asked piece by piece, one would not be found in a piece.
    pub(super) fn part(&self, path: &str, offset: u64, length: u64) -> Lend<Vec<u8>> {
        let files = self.files()?.0;
        if self.secrets_in_target.get() && self.redactor.reveals(&files.read_whole(path).map_err(file)?) {
            return Err(LentError::Invalid(format!("{path} holds a secret: it is not shown to elements")));
        }
        files.read(path, offset, length).map_err(file)
    }

    pub(super) fn catalogued(&mut self, id: &str) -> Lend<()> {
        let repository = self.offers.repositories.get(id).ok_or_else(|| {
            let hint = "the site defines them under `repositories:` of its policy";
            LentError::NotFound(format!("no package repository of the catalogue is called {id}; {hint}"))
        })?;
        let distro = self.variables.get("DISTRO_NAME").map_or("", String::as_str);
        if !matches!(distro, "debian" | "ubuntu") {
            let why = format!("repository {id} is one of Debian packages, and the target is {distro:?}");
            return Err(LentError::Invalid(why));
        }
        let written = crate::repositories::files(id, repository).map_err(LentError::Invalid)?;
        let files = self.files()?;
        for (path, contents) in written {
            write_in_place(&files, &path, &contents, 0o644).map_err(|error| io(&error))?;
        }
        self.left.borrow_mut().new_repositories = true;
        Ok(())
    }
}

fn not_offered(what: &str, name: &str) -> LentError {
    LentError::NotFound(format!("no {what} is offered as {name}; offer one with --{what} {name}=PATH"))
}

/// The secret as the value of a header: one line of text; a file's last line end does not count.
fn header_value(name: &str, secret: &Secret) -> Lend<String> {
    let text = std::str::from_utf8(secret.reveal()).map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Ok(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ') => {
            Ok(text.to_owned())
        }
        Ok(_) | Err(_) => {
            Err(LentError::Invalid(format!("the secret {name} is no line of text, as a header needs")))
        }
    }
}
