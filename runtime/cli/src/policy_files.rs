//! Reads policy files: the site's, which only root may have written, and those that the user names.
//! Parsing and deciding is `dibw-policy`'s. Called by everything that plans, and by `dibw policy`.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dibw_plan::{Fault, FaultKind, Faults};
use dibw_policy::yaml::MAX_BYTES;
use dibw_policy::{Policy, PolicyFault, PolicyFile};
use dibw_signature::{Kind, PublicKey, Statement, Verifier, verify};
use dibw_sys::calendar::Moment;

use crate::commands::key::{beside, public};
use crate::commands::sign::{SUFFIX, read_signatures};

/// Where the keys are that a site's policy must be signed with: when there is one, a file without a signature of one of them is refused.
pub const KEYS: &str = "/etc/dibw/policy-keys";

/// Where a site's policy is.
pub const SITE: &str = "/etc/dibw/policy.d";

/// The policy in force: the site's files, or the built-in policy where there are none, narrowed by the file of the command line.
///
/// # Errors
/// All faults of the files at once.
pub fn in_force(narrowing: Option<&Path>) -> Result<Policy, Faults> {
    let mut faults = Faults::default();
    let site = faults.take(site()).unwrap_or_default();
    let file = narrowing.and_then(|path| faults.take(read(path)));
    let policy = faults.take(Policy::of_site(site).map_err(of_policy)).unwrap_or_default();
    let policy = match file {
        Some(file) => faults.take(policy.narrowed_by(file).map_err(of_policy)).unwrap_or_default(),
        None => policy,
    };
    faults.or(policy)
}

/// The site's files, in the order of their names; none when there is no directory.
///
/// # Errors
/// A file or directory that others than root could have written, and all faults of the files.
pub fn site() -> Result<Vec<PolicyFile>, Faults> {
    let directory = Path::new(SITE);
    for place in [directory.parent().unwrap_or(directory), directory] {
        match fs::symlink_metadata(place) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(place, &error).into()),
            Ok(found) if !found.is_dir() => return Err(wrong(place, "is not a directory").into()),
            Ok(found) => check_owner(place, &found)?,
        }
    }
    let keys = policy_keys()?;
    let mut faults = Faults::default();
    let files: Vec<PolicyFile> =
        listed(directory)?.iter().filter_map(|path| faults.take(read_of_root(path, &keys))).collect();
    faults.or(files)
}

/// The keys that the site's policy must be signed with; none when there is no directory.
fn policy_keys() -> Result<Vec<PublicKey>, Faults> {
    let directory = Path::new(KEYS);
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory, &error).into()),
        Ok(found) => check_owner(directory, &found)?,
    }
    let mut faults = Faults::default();
    let mut keys = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, &error))? {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        let found = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, &error))?;
        faults.take(check_owner(&path, &found));
        keys.extend(faults.take(public(&path).map_err(Faults::from)));
    }
    if keys.is_empty() && faults.is_empty() {
        faults.push(wrong(directory, "has no key, so no policy could be signed with one"));
    }
    faults.or(keys)
}

/// Refuses a policy that none of the keys signed.
fn check_signed(path: &Path, bytes: &[u8], keys: &[PublicKey]) -> Result<(), Faults> {
    if keys.is_empty() {
        return Ok(());
    }
    let signatures = read_signatures(&beside(path, SUFFIX))?.unwrap_or_default();
    let keys: Vec<&dyn Verifier> = keys.iter().map(|key| -> &dyn Verifier { key }).collect();
    let found = verify(&Statement::about(Kind::Policy, bytes), &signatures, &keys);
    let refused = |why: String| {
        let hint = format!("dibw sign --key KEY {}", path.display());
        wrong(path, &format!("is not {why} ({KEYS})")).hint(hint).into()
    };
    found.require(1).map(drop).map_err(refused)
}

/// The files that the user names: a directory stands for its `*.yaml`.
///
/// # Errors
/// All faults of the files at once.
pub fn named(paths: &[PathBuf]) -> Result<Vec<PolicyFile>, Faults> {
    let mut faults = Faults::default();
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(faults.take(listed(path)).unwrap_or_default());
        } else {
            all.push(path.clone());
        }
    }
    if all.is_empty() && faults.is_empty() {
        faults.push(
            Fault::new(FaultKind::Usage, "no policy file is there")
                .hint(format!("name one, or put one in {SITE}")),
        );
    }
    let files: Vec<PolicyFile> = all.iter().filter_map(|path| faults.take(read(path))).collect();
    faults.or(files)
}

/// One policy file.
///
/// # Errors
/// All its faults at once.
pub fn read(path: &Path) -> Result<PolicyFile, Faults> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    parse(path, bytes(path, file)?)
}

/// What is wrong with policy files, as the command line tells it.
pub fn of_policy(faults: Vec<PolicyFault>) -> Faults {
    let fault = |error: PolicyFault| {
        let fault = Fault::new(FaultKind::Config, error.message).at(error.file, error.line, 0);
        error.hint.into_iter().fold(fault, Fault::hint)
    };
    Faults(faults.into_iter().map(fault).collect())
}

/// Today in UTC as `YYYY-MM-DD`, for what a policy lets expire.
pub fn today() -> String {
    let Moment { year, month, day, .. } = Moment::at(std::time::SystemTime::now());
    format!("{year:04}-{month:02}-{day:02}")
}

/// The policy files of a directory, sorted. A name that looks like one and is not read is a trap, so it is refused.
fn listed(directory: &Path) -> Result<Vec<PathBuf>, Faults> {
    let entries = fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| unreadable(directory, &error))?.path());
    }
    paths.sort();
    let ends = |path: &Path, word: &str| path.extension().is_some_and(|extension| extension == word);
    if let Some(path) = paths.iter().find(|path| ends(path, "yml")) {
        return Err(wrong(path, "would not be read; name it .yaml").into());
    }
    paths.retain(|path| ends(path, "yaml") && path.file_name().is_none_or(|name| name != "policy_test.yaml"));
    Ok(paths)
}

/// A file of the site. What was looked at is what is read: the open file must be the one that is no link.
fn read_of_root(path: &Path, keys: &[PublicKey]) -> Result<PolicyFile, Faults> {
    let seen = fs::symlink_metadata(path).map_err(|error| unreadable(path, &error))?;
    if !seen.is_file() {
        return Err(wrong(path, "is not a regular file").into());
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let opened = file.metadata().map_err(|error| unreadable(path, &error))?;
    if (seen.dev(), seen.ino()) != (opened.dev(), opened.ino()) {
        return Err(wrong(path, "was replaced while it was read").into());
    }
    check_owner(path, &opened)?;
    let bytes = bytes(path, file)?;
    check_signed(path, &bytes, keys)?;
    parse(path, bytes)
}

fn check_owner(path: &Path, found: &Metadata) -> Result<(), Faults> {
    let what = match (found.uid(), found.mode() & 0o022) {
        (0, 0) => return Ok(()),
        (0, _) => format!("can be written by others than root (mode {:04o})", found.mode() & 0o7777),
        (owner, _) => format!("belongs to user {owner}, not to root"),
    };
    let shown = path.display();
    Err(wrong(path, &what).hint(format!("chown root: {shown}; chmod go-w {shown}")).into())
}

fn bytes(path: &Path, file: File) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    // One byte more than is accepted, so that the parser sees that it is too long.
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn parse(path: &Path, bytes: Vec<u8>) -> Result<PolicyFile, Faults> {
    let text = String::from_utf8(bytes).map_err(|_| wrong(path, "is not UTF-8 text"))?;
    dibw_policy::file::parse(&path.display().to_string(), &text, &today()).map_err(of_policy)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(FaultKind::Config, format!("cannot read {}: {error}", path.display()))
}

fn wrong(path: &Path, what: &str) -> Fault {
    Fault::new(FaultKind::Config, format!("policy {} {what}", path.display()))
}
