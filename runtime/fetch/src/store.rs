//! What was downloaded, kept by content, and which content a URL had at its first use.
//!
//! A file of the store is verified each time it is taken out, so a torn write or a flipped bit costs a download and nothing
//! else. Must not know the network. Callers: [`crate::obtain`], the engine.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use dibw_policy::subject;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use sha2::{Digest, Sha256};

use crate::error::{FetchError, FetchErrorKind};
use crate::fetcher::hexadecimal;

/// Files named by their sha256: `objects/sha256/ab/cdef...`.
#[derive(Clone, Debug)]
pub struct Store {
    objects: PathBuf,
}

impl Store {
    /// The store in `directory`, which is made when it is not there. Its file system must know O_TMPFILE (ext4, xfs, btrfs, tmpfs).
    ///
    /// # Errors
    /// The directory can't be made.
    pub fn open(directory: &Path) -> Result<Self, FetchError> {
        let objects = directory.join("objects/sha256");
        make_private(&objects)?;
        Ok(Self { objects })
    }

    /// The file with this digest, read from the start. One whose content is not what its name says is removed.
    ///
    /// # Errors
    /// It can't be read.
    pub fn get(&self, sha256: &str) -> Result<Option<File>, FetchError> {
        let path = self.place(sha256)?;
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FetchError::local("open", &path, &error)),
        };
        let mut digest = Sha256::new();
        let read = copy(&mut file, &mut digest).and_then(|()| file.rewind());
        read.map_err(|error| FetchError::local("read", &path, &error))?;
        if hexadecimal(&digest.finalize()) == sha256 {
            return Ok(Some(file));
        }
        fs::remove_file(&path).map_err(|error| FetchError::local("remove the damaged", &path, &error))?;
        Ok(None)
    }

    /// A file to be filled. It has no name until it is kept, so nothing is left of it when this process dies.
    ///
    /// # Errors
    /// It can't be made.
    pub fn incoming(&self) -> Result<Incoming, FetchError> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = open(&self.objects, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| FetchError::local("make a file in", &self.objects, &error.into()))?;
        Ok(Incoming { file: file.into(), digest: Sha256::new() })
    }

    /// Names `incoming` by its content. Gives the digest and the file, read from the start.
    ///
    /// # Errors
    /// It can't be named or read.
    pub fn keep(&self, incoming: Incoming) -> Result<(String, File), FetchError> {
        let Incoming { mut file, digest } = incoming;
        let sha256 = hexadecimal(&digest.finalize());
        let path = self.place(&sha256)?;
        path.parent().map_or(Ok(()), make_private)?;
        let failed = |error: io::Error| FetchError::local("keep", &path, &error);
        match name(&file, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if let Some(kept) = self.get(&sha256)? {
                    return Ok((sha256, kept));
                }
                // It was damaged and is gone now.
                name(&file, &path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        file.rewind().map_err(failed)?;
        Ok((sha256, file))
    }

    fn place(&self, sha256: &str) -> Result<PathBuf, FetchError> {
        check_digest(sha256)?;
        let (start, rest) = sha256.split_at(2);
        Ok(self.objects.join(start).join(rest))
    }
}

/// A file on its way into the store, digested while it is written.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    digest: Sha256,
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Which content each URL had when it was fetched first: a file per URL, `DIGEST  URL`, named by the URL's own sha256.
#[derive(Clone, Debug)]
pub struct FirstUse {
    directory: PathBuf,
}

impl FirstUse {
    /// The book in `directory`, which is made when it is not there.
    ///
    /// # Errors
    /// The directory can't be made.
    pub fn open(directory: &Path) -> Result<Self, FetchError> {
        make_private(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The digest that `url` had at its first use.
    ///
    /// # Errors
    /// The entry can't be read, or is not one.
    pub fn remembered(&self, url: &str) -> Result<Option<String>, FetchError> {
        let path = self.entry(url);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FetchError::local("read", &path, &error)),
        };
        let entry = text.strip_suffix('\n').and_then(|line| line.split_once("  "));
        match entry {
            Some((sha256, of)) if of == url && check_digest(sha256).is_ok() => Ok(Some(sha256.to_owned())),
            Some(_) | None => {
                let message = format!("{}: not an entry of the first-use book; remove it", path.display());
                Err(FetchError::new(FetchErrorKind::Local, message))
            }
        }
    }

    /// Remembers a first use. When another process was first, its digest stands and is returned.
    ///
    /// # Errors
    /// It can't be written.
    pub fn remember(&self, url: &str, sha256: &str) -> Result<String, FetchError> {
        check_digest(sha256)?;
        let path = self.entry(url);
        let failed = |error: io::Error| FetchError::local("write", &path, &error);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file =
            open(&self.directory, flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
        let mut file = File::from(file);
        writeln!(file, "{sha256}  {url}").and_then(|()| file.sync_all()).map_err(failed)?;
        match name(&file, &path) {
            Ok(()) => Ok(sha256.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(self.remembered(url)?.unwrap_or_else(|| sha256.to_owned()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The file of a URL.
    pub fn entry(&self, url: &str) -> PathBuf {
        self.directory.join(hexadecimal(&Sha256::digest(url)))
    }
}

/// Refuses what is not 64 hexadecimal digits in lower case: it becomes part of a path.
pub(crate) fn check_digest(sha256: &str) -> Result<(), FetchError> {
    if sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    let message =
        format!("`{}` is not a sha256: 64 hexadecimal digits in lower case", subject::escape(sha256));
    Err(FetchError::new(FetchErrorKind::Invalid, message))
}

/// Gives a file without a name this one.
fn name(file: &File, path: &Path) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, source, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
}

fn make_private(directory: &Path) -> Result<(), FetchError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| FetchError::local("make", directory, &error))
}

fn copy(file: &mut File, digest: &mut Sha256) -> io::Result<()> {
    let mut piece = vec![0; 128 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            count => digest.update(&piece[..count]),
        }
    }
}
