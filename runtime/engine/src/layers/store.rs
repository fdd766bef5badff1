//! The cache of layers on disk: entries that are found by key, come into place by rename, and are checked before they are used.
//! Knows nothing of steps but the texts it is given. Called by [`crate::layers`] and by `dibw cache`.
//!
//! ```text
//! keys/KEY            ids of the entries with this key, newest first, one a line
//! entries/ID/         entry.json, and where it has them: tree/ with list, hooks/ (the hooks tree), files/ (outputs)
//! new/PID-N/          an entry that is being written; locked by its writer, so what can be locked is dead
//! images/NAME.json    what the last build of an image said of each step
//! ```
//! An entry in use is locked (shared) by its user, so that nobody evicts it. All of it is root's alone: layers hold setuid programs.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use dibw_sys::observed::Reads;
use dibw_sys::stored_tree::{Scrutiny, Stored, first_damage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalogue::hex;
use crate::hooks_tree::{self, Snapshot};

/// The file of an entry with what the step has read.
const READS: &str = "reads.json";

/// Entries of one key that are kept: what differs between them is what they were made from.
const PER_KEY: usize = 8;

/// What a killed build left is removed when it is older than this.
const SETTLED: Duration = Duration::from_secs(60);

/// What is known of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// What it is found by.
    pub key: String,
    /// What it is also found by, whatever it was made on, when what it has read is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loose_key: Option<String>,
    /// The step it is of, or `outputs`.
    pub title: String,
    /// The image it was made for.
    pub image: String,
    /// Seconds since 1970 when it was made.
    pub created: u64,
    /// Seconds that making it took.
    pub took: f64,
    /// Whether what it was made from came over the network unchecked.
    pub network: bool,
    /// The layer, where the step changed the target.
    pub tree: Option<Tree>,
    /// Allocated bytes of all files.
    pub bytes: u64,
    /// What the step left beside the target, as the caller writes it.
    pub left: serde_json::Value,
}

impl Entry {
    fn has(&self, key: &str) -> bool {
        self.key == key || self.loose_key.as_deref() == Some(key)
    }
}

/// A layer of the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Entries in it.
    pub entries: u64,
    /// SHA-256 of its list.
    pub list_digest: String,
}

/// An entry that can't go away while this lives.
#[derive(Debug)]
pub struct Held {
    /// What is known of it.
    pub entry: Entry,
    directory: PathBuf,
    _lock: File,
}

impl Held {
    /// Its layer.
    pub fn tree(&self) -> Option<PathBuf> {
        self.entry.tree.as_ref().map(|_| self.directory.join("tree"))
    }

    /// The hooks tree after the step, where the step changed it.
    pub fn hooks(&self) -> Option<PathBuf> {
        Some(self.directory.join("hooks")).filter(|hooks| hooks.is_dir())
    }

    /// What the step has read of the target, where that was observed.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn reads(&self) -> Result<Option<Reads>> {
        let path = self.directory.join(READS);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => {
                let context = || path.display().to_string();
                Ok(Some(serde_json::from_slice(&text.with_context(context)?).with_context(context)?))
            }
        }
    }

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join("files").join(name)
    }
}

/// An entry that is being written.
#[derive(Debug)]
pub struct NewEntry {
    /// Where its files go.
    pub directory: PathBuf,
    /// Its name to be.
    pub id: String,
    _lock: File,
}

impl NewEntry {
    /// Copies a layer into it.
    ///
    /// # Errors
    /// When something can't be read or written.
    pub fn store_tree(&self, upper: &Path) -> Result<(Tree, u64)> {
        let tree = self.directory.join("tree");
        make_private(&tree)?;
        let stored = dibw_sys::stored_tree::store(upper, &tree, &self.directory.join("list"))?;
        let Stored { entries, bytes, list_digest } = stored;
        Ok((Tree { entries, list_digest }, bytes))
    }

    /// Notes what the step has read.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn store_reads(&self, reads: &Reads) -> Result<()> {
        let path = self.directory.join(READS);
        let text = serde_json::to_vec(reads).with_context(|| path.display().to_string())?;
        fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

impl Drop for NewEntry {
    fn drop(&mut self) {
        // One that was committed is elsewhere by now.
        if let Err(error) = remove_tree(&self.directory) {
            tracing::warn!("{}: {error:#}", self.directory.display());
        }
    }
}

/// The cache of a machine.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) base: PathBuf,
}

impl Store {
    /// The cache below `base`, which is made where it is missing. What killed builds left is removed.
    ///
    /// # Errors
    /// When it can't be made or read.
    pub fn open(base: &Path) -> Result<Self> {
        let store = Self { base: base.to_owned() };
        for part in ["", "keys", "entries", "new", "images"] {
            make_private(&base.join(part))?;
        }
        store.remove_dead()?;
        Ok(store)
    }

    /// The cache below `base`, if there is one.
    pub fn existing(base: &Path) -> Option<Self> {
        base.join("entries").is_dir().then(|| Self { base: base.to_owned() })
    }

    fn remove_dead(&self) -> Result<()> {
        for path in children(&self.base.join("new"))? {
            let Ok(file) = File::open(&path) else { continue };
            // What was made just now is not locked yet.
            let age = file.metadata().and_then(|found| found.modified()).map(|made| made.elapsed());
            let settled = matches!(age, Ok(Ok(age)) if age > SETTLED);
            if settled && file.try_lock().is_ok() {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }

    /// The entries with a key, newest first. Those that can't be read, or are not whole at a quick look, are removed.
    ///
    /// # Errors
    /// When the cache can't be read.
    pub fn find(&self, key: &str) -> Result<Vec<Held>> {
        let mut found = Vec::new();
        for id in self.ids(key)? {
            match self.hold(&id) {
                Ok(held) => found.extend(held.filter(|held| held.entry.has(key))),
                Err(error) => {
                    tracing::warn!("layer {id} is not used: {error:#}");
                    self.remove(&id)?;
                }
            }
        }
        Ok(found)
    }

    fn ids(&self, key: &str) -> Result<Vec<String>> {
        let path = self.base.join("keys").join(key);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            text => {
                Ok(text.with_context(|| path.display().to_string())?.lines().map(str::to_owned).collect())
            }
        }
    }

    /// Locks an entry and reads what is known of it; none when it has gone.
    pub(super) fn hold(&self, id: &str) -> Result<Option<Held>> {
        let directory = self.entry_dir(id);
        let lock = match File::open(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            lock => lock.with_context(|| directory.display().to_string())?,
        };
        // Whoever removes it has it alone.
        if lock.try_lock_shared().is_err() {
            return Ok(None);
        }
        let path = directory.join("entry.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && !directory.exists() => return Ok(None),
            text => text.with_context(|| path.display().to_string())?,
        };
        let entry: Entry = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        Ok(Some(Held { entry, directory, _lock: lock }))
    }

    /// What is wrong with an entry's layer. Contents are looked at once after each start of the machine: a crash may have lost what was on
    /// its way to the disk, and nothing is synced.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn damage(&self, held: &Held) -> Result<Option<String>> {
        let checked = held.directory.join("checked");
        let boot = dibw_sys::probe::boot_id();
        let known = fs::read_to_string(&checked).is_ok_and(|known| known == boot);
        let scrutiny = if known { Scrutiny::Quick } else { Scrutiny::Thorough };
        let damage = look(held, scrutiny)?;
        if damage.is_none() && !known {
            fs::write(&checked, boot).with_context(|| checked.display().to_string())?;
        }
        Ok(damage)
    }

    /// Starts an entry.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn begin(&self) -> Result<NewEntry> {
        let id = fresh_id();
        let directory = self.base.join("new").join(&id);
        make_private(&directory)?;
        let lock = File::open(&directory).with_context(|| directory.display().to_string())?;
        lock.lock().with_context(|| directory.display().to_string())?;
        Ok(NewEntry { directory, id, _lock: lock })
    }

    /// Puts an entry in its place, where others find it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn commit(&self, new: &NewEntry, entry: &Entry) -> Result<()> {
        let context = || format!("keeping layer {}", entry.id);
        let text = serde_json::to_vec(entry).with_context(context)?;
        fs::write(new.directory.join("entry.json"), text).with_context(context)?;
        fs::write(new.directory.join("checked"), dibw_sys::probe::boot_id()).with_context(context)?;
        fs::rename(&new.directory, self.entry_dir(&entry.id)).with_context(context)?;
        let _lock = self.lock_keys()?;
        for key in [Some(&entry.key), entry.loose_key.as_ref()].into_iter().flatten() {
            let mut ids = self.ids(key)?;
            ids.insert(0, entry.id.clone());
            for old in ids.split_off(PER_KEY.min(ids.len())) {
                self.remove_if_unused(&old)?;
            }
            self.write("keys", key, ids.join("\n").as_bytes()).with_context(context)?;
        }
        Ok(())
    }

    pub(super) fn lock_keys(&self) -> Result<File> {
        let path = self.base.join("lock");
        let open = || {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            file.lock().map(|()| file)
        };
        open().with_context(|| path.display().to_string())
    }

    /// Replaces a small file as a whole.
    fn write(&self, part: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let new = self.base.join("new").join(format!("{}.{part}", fresh_id()));
        let path = self.base.join(part).join(name);
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| path.display().to_string())
    }

    /// Notes that an entry is of use: the least recently used go first.
    pub fn touch(&self, held: &Held) {
        let noted = File::open(&held.directory).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = noted {
            tracing::debug!("{}: {error}", held.directory.display());
        }
    }

    pub(super) fn remove_if_unused(&self, id: &str) -> Result<bool> {
        let directory = self.entry_dir(id);
        let Ok(lock) = File::open(&directory) else { return Ok(false) };
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        if let Some(going) = self.put_aside(id)? {
            remove_tree(&going)?;
        }
        Ok(true)
    }

    /// Takes an entry away: at once for those who look for one. Its files go when no build uses them, now or later.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let Some(going) = self.put_aside(id)? else { return Ok(()) };
        match File::open(&going).is_ok_and(|directory| directory.try_lock().is_ok()) {
            true => remove_tree(&going),
            false => Ok(()),
        }
    }

    /// Moves an entry to where nobody looks for one; none when it has gone.
    fn put_aside(&self, id: &str) -> Result<Option<PathBuf>> {
        let going = self.base.join("new").join(format!("gone-{}", fresh_id()));
        match fs::rename(self.entry_dir(id), &going) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            renamed => renamed.with_context(|| format!("removing layer {id}")).map(|()| Some(going)),
        }
    }

    /// Removes an entry that was found damaged.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn drop_damaged(&self, held: Held) -> Result<()> {
        let id = held.entry.id.clone();
        // Our own use of it must not keep its files.
        drop(held);
        self.remove(&id)
    }

    /// What the last build of an image said of its steps; none of one that is not known.
    pub fn last_build<T: for<'a> Deserialize<'a>>(&self, image: &Path) -> Option<T> {
        serde_json::from_slice(&fs::read(self.image_file(image)).ok()?).ok()
    }

    /// Notes that.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn note_build(&self, image: &Path, build: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec(build).context("what a build said")?;
        self.write("images", &image_name(image), &text)
    }

    fn image_file(&self, image: &Path) -> PathBuf {
        self.base.join("images").join(image_name(image))
    }

    pub(super) fn entry_dir(&self, id: &str) -> PathBuf {
        self.base.join("entries").join(id)
    }
}

pub(super) fn look(held: &Held, scrutiny: Scrutiny) -> Result<Option<String>> {
    let files: BTreeMap<String, String> = held
        .entry
        .left
        .get("digests")
        .and_then(|files| serde_json::from_value(files.clone()).ok())
        .unwrap_or_default();
    for (name, digest) in files.iter().filter(|_| scrutiny == Scrutiny::Thorough) {
        let file = File::open(held.file(name)).with_context(|| held.file(name).display().to_string());
        let sums = file.and_then(|file| {
            dibw_image::checksum::of_file_while(&file, dibw_image::checksum::Algorithms::Sha256, &mut || {
                Ok(())
            })
        });
        if sums.map_or(true, |sums| sums.sha256 != *digest) {
            return Ok(Some(format!("{name} is not what was stored")));
        }
    }
    let hooks = held.entry.left.get("hooks_brought").cloned().unwrap_or_default();
    let hooks: Snapshot = serde_json::from_value(hooks).unwrap_or_default();
    let found = held.hooks().map(|hooks| hooks_tree::snapshot(&hooks)).transpose()?.unwrap_or_default();
    if hooks != found {
        return Ok(Some("the hooks it brings are not what was stored".to_owned()));
    }
    let Some(tree) = &held.entry.tree else { return Ok(None) };
    first_damage(&held.directory.join("tree"), &held.directory.join("list"), &tree.list_digest, scrutiny)
}

/// A name that no other has.
fn fresh_id() -> String {
    use std::hash::BuildHasher;
    let random = || std::collections::hash_map::RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", random(), random())
}

fn image_name(image: &Path) -> String {
    format!("{}.json", hex(&Sha256::digest(image.as_os_str().as_encoded_bytes())))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn make_private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making {}", path.display()))
}

pub(super) fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("listing {}", directory.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        paths.push(entry.with_context(context)?.path());
    }
    Ok(paths)
}

fn remove_tree(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}
