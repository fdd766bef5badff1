//! The in-memory target: entries by path, parents made as the runtime makes them. Links are kept but not followed.

use std::collections::{BTreeMap, BTreeSet};

use dibw_sdk::{Error, FileKind, Result, Stat};

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    pub contents: Contents,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum Contents {
    File(Vec<u8>),
    Directory,
    Symlink(String),
}

/// The target.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
    /// Paths that the element changed or removed.
    touched: BTreeSet<String>,
}

impl Tree {
    /// Puts an entry there before the element runs; it is not part of the snapshot unless the element changes it.
    pub fn given(&mut self, path: &str, contents: Contents, mode: u32) {
        self.make_parents(path);
        self.entries.insert(path.to_owned(), Entry { contents, mode, uid: 0, gid: 0 });
    }

    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub fn existing(&self, path: &str) -> Result<&Entry> {
        self.get(path).ok_or_else(|| Error::NotFound(path.to_owned()))
    }

    fn existing_mut(&mut self, path: &str) -> Result<&mut Entry> {
        self.touched.insert(path.to_owned());
        self.entries.get_mut(path).ok_or_else(|| Error::NotFound(path.to_owned()))
    }

    pub fn put(&mut self, path: &str, contents: Contents, mode: u32) -> Result {
        if let Some(Entry { contents: Contents::Directory, .. }) = self.get(path) {
            return Err(Error::Io(format!("{path} is a directory")));
        }
        self.make_parents(path);
        self.touched.insert(path.to_owned());
        self.entries.insert(path.to_owned(), Entry { contents, mode, uid: 0, gid: 0 });
        Ok(())
    }

    pub fn make_directory(&mut self, path: &str, mode: u32) -> Result {
        match self.get(path) {
            Some(Entry { contents: Contents::Directory, .. }) => Ok(()),
            Some(_) => Err(Error::Io(format!("{path} is not a directory"))),
            None => self.put(path, Contents::Directory, mode),
        }
    }

    pub fn stat(&self, path: &str) -> Option<Stat> {
        if path == "/" {
            return Some(Stat { kind: FileKind::Directory, mode: 0o755, uid: 0, gid: 0, size: 0 });
        }
        self.get(path).map(|entry| {
            let (kind, size) = match &entry.contents {
                Contents::File(bytes) => (FileKind::File, bytes.len()),
                Contents::Directory => (FileKind::Directory, 0),
                Contents::Symlink(target) => (FileKind::Symlink, target.len()),
            };
            Stat { kind, mode: entry.mode, uid: entry.uid, gid: entry.gid, size: size as u64 }
        })
    }

    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        match self.stat(path) {
            None => return Err(Error::NotFound(path.to_owned())),
            Some(stat) if !stat.is_dir() => return Err(Error::Io(format!("{path} is not a directory"))),
            Some(_) => {}
        }
        let prefix = below(path);
        let names = self.entries.keys().filter_map(|entry| entry.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect())
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Result {
        self.existing(from)?;
        self.make_parents(to);
        for path in self.at_and_below(from) {
            if let Some(entry) = self.entries.remove(&path) {
                let renamed = format!("{to}{}", &path[from.len()..]);
                self.touched.extend([path, renamed.clone()]);
                self.entries.insert(renamed, entry);
            }
        }
        Ok(())
    }

    pub fn remove(&mut self, path: &str) -> Result {
        self.existing(path)?;
        if self.at_and_below(path).len() > 1 {
            return Err(Error::Io(format!("{path} is not empty")));
        }
        self.remove_all(path)
    }

    pub fn remove_all(&mut self, path: &str) -> Result {
        self.existing(path)?;
        for path in self.at_and_below(path) {
            self.entries.remove(&path);
            self.touched.insert(path);
        }
        Ok(())
    }

    pub fn set_mode(&mut self, path: &str, mode: u32) -> Result {
        self.existing_mut(path)?.mode = mode;
        Ok(())
    }

    pub fn set_owner(&mut self, path: &str, uid: u32, gid: u32) -> Result {
        let entry = self.existing_mut(path)?;
        (entry.uid, entry.gid) = (uid, gid);
        Ok(())
    }

    fn at_and_below(&self, path: &str) -> Vec<String> {
        let prefix = below(path);
        self.entries.keys().filter(|entry| *entry == path || entry.starts_with(&prefix)).cloned().collect()
    }

    /// Parents made on the way are not part of the snapshot; directories asked for are.
    fn make_parents(&mut self, path: &str) {
        for (index, _) in path.match_indices('/').skip(1) {
            let parent = &path[..index];
            if !self.entries.contains_key(parent) {
                let directory = Entry { contents: Contents::Directory, mode: 0o755, uid: 0, gid: 0 };
                self.entries.insert(parent.to_owned(), directory);
            }
        }
    }

    /// What the element left behind: each path with its mode and contents.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for path in &self.touched {
            let Some(entry) = self.get(path) else {
                text.push_str(&format!("--- {path} removed\n"));
                continue;
            };
            let owner = match (entry.uid, entry.gid) {
                (0, 0) => String::new(),
                (uid, gid) => format!(" {uid}:{gid}"),
            };
            let line = match &entry.contents {
                Contents::Symlink(target) => format!("--- {path} -> {target}\n"),
                Contents::Directory => format!("--- {path}/ {:04o}{owner}\n", entry.mode),
                Contents::File(bytes) => {
                    let body = String::from_utf8(bytes.clone())
                        .unwrap_or_else(|_| format!("({} bytes)\n", bytes.len()));
                    let end = if body.is_empty() || body.ends_with('\n') {
                        ""
                    } else {
                        "\n(no newline at the end)\n"
                    };
                    format!("--- {path} {:04o}{owner}\n{body}{end}", entry.mode)
                }
            };
            text.push_str(&line);
        }
        text
    }
}

fn below(path: &str) -> String {
    if path == "/" { path.to_owned() } else { format!("{path}/") }
}
