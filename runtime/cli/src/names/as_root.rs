//! A caller who is not root but has sudo(8), as Nodepool has: the command starts itself again through it. sudo resets the environment,
//! which is what elements are configured by, so that it travels in a file that only its owner can read.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use dibw_sys::{probe, supervise};

/// The first argument of the part that sudo starts.
pub const WORD: &str = "__dibw-as-root";

/// Whose the artifacts are to be, as `UID:GID`.
const OWNER: &str = "DIBW_OWNER";

/// Starts the command `name` again as root, if this is not root and sudo is there. Returns only when it is not to be, or can't.
///
/// # Errors
/// When the environment can't be written or sudo can't be started.
pub fn become_root(name: &str, arguments: &[OsString]) -> Result<()> {
    let Some(sudo) = probe::find_tool("sudo").filter(|_| !probe::is_root()) else { return Ok(()) };
    let file = write_environment()?;
    let error = Command::new(&sudo)
        .arg("--")
        .arg(std::env::current_exe().context("finding this program")?)
        .args([WORD.as_ref(), file.as_os_str(), name.as_ref()])
        .args(arguments)
        .exec();
    fs::remove_file(&file).with_context(|| file.display().to_string())?;
    Err(error).with_context(|| format!("starting {}", sudo.display()))
}

/// The part that sudo starts: takes the environment from the file and becomes the command.
///
/// # Errors
/// When this is not root under sudo, or the file is not the caller's.
pub fn resume(arguments: &[OsString]) -> Result<Infallible> {
    let [file, name, arguments @ ..] = arguments else { bail!("{WORD} is for dibw's own use") };
    ensure!(probe::is_root(), "{WORD} is for dibw's own use, as root");
    let id = |name: &str| -> Result<u32> {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("{name} is not set"))
    };
    let (uid, gid) = (id("SUDO_UID")?, id("SUDO_GID")?);
    let environment = read_environment(Path::new(file), uid)?;
    // Whoever kills the command that he started kills sudo, which can't pass that on.
    supervise::die_with_parent()?;
    let error = Command::new(std::env::current_exe().context("finding this program")?)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .env(OWNER, format!("{uid}:{gid}"))
        .exec();
    Err(error).context("starting as root")
}

/// Who called, when it was through [`become_root`].
pub fn owner() -> Option<(u32, u32)> {
    let text = std::env::var(OWNER).ok()?;
    let (uid, gid) = text.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

fn write_environment() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("dibw-environment-{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        for (name, value) in std::env::vars_os() {
            file.write_all(&[name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat())?;
        }
        Ok::<_, io::Error>(())
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The variables in the file, which is removed.
fn read_environment(path: &Path, owner: u32) -> Result<Vec<(OsString, OsString)>> {
    let context = || format!("environment of the caller in {}", path.display());
    // O_NOFOLLOW
    let mut file = OpenOptions::new().read(true).custom_flags(0o400_000).open(path).with_context(context)?;
    let found = file.metadata().with_context(context)?;
    ensure!(found.is_file() && found.uid() == owner, "{} is not the caller's", path.display());
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(context)?;
    fs::remove_file(path).with_context(context)?;
    let entries = bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    let pair = |entry: &[u8]| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        let value = OsString::from_vec(entry[at + 1..].to_vec());
        Some((OsStr::from_bytes(&entry[..at]).to_owned(), value))
    };
    Ok(entries.filter_map(pair).collect())
}
