//! The files in which one `dib-block-device` tells the next what there is: the configuration (`config.json`, and `layout.json`, which is
//! ours), `state.json`, `fstab`. Each is whole or not there. Called by `block_device`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use dibw_plan::layout::{FlatNode, Layout, Places, State};
use dibw_sys::mounts;

use crate::failure::Failure;

/// The directory and what is in it.
pub(super) struct Files {
    build_dir: PathBuf,
    directory: PathBuf,
}

impl Files {
    pub(super) fn new(build_dir: &Path) -> Self {
        Self { build_dir: build_dir.to_owned(), directory: build_dir.join("states/block-device") }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where files of vfat file systems wait for being written.
    pub(super) fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }

    pub(super) fn write_configuration(&self, flat: &[FlatNode], layout: &Layout) -> Result<(), Failure> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("making {}", self.directory.display()))?;
        let flat: serde_json::Value = flat.iter().map(FlatNode::to_json).collect();
        self.write("config.json", &flat.to_string())?;
        let layout = serde_json::to_string(layout).context("the layout as JSON")?;
        Ok(self.write("layout.json", &layout)?)
    }

    pub(super) fn layout(&self) -> Result<Layout, Failure> {
        let file = self.directory.join("layout.json");
        let Some(text) = read_if_there(&file)? else {
            let failure = Failure::new(format!("there is no configuration: {} is missing", file.display()));
            return Err(failure.hint("dib-block-device init"));
        };
        Ok(serde_json::from_str(&text).with_context(|| file.display().to_string())?)
    }

    /// None when no disk was made.
    pub(super) fn state(&self) -> Result<Option<State>> {
        let file = self.directory.join("state.json");
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        State::parse(&text).map(Some).map_err(|reason| anyhow!("{}: {reason}", file.display()))
    }

    pub(super) fn write_state(&self, layout: &Layout, done: usize, places: &dyn Places) -> Result<()> {
        self.write("state.json", &State::new(layout, done, places).to_json().to_string())
    }

    pub(super) fn remove_state(&self) -> Result<()> {
        let staging = self.staging();
        if staging.exists() {
            fs::remove_dir_all(&staging).with_context(|| format!("removing {}", staging.display()))?;
        }
        let file = self.directory.join("state.json");
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", file.display()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn write_fstab(&self, text: &str) -> Result<(), Failure> {
        self.write("fstab", text)?;
        let etc = self.build_dir.join("built/etc");
        let file = etc.join("fstab");
        fs::create_dir_all(&etc).with_context(|| format!("making {}", etc.display()))?;
        Ok(fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?)
    }

    /// Removes the directory.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        let what = || format!("removing {}", self.directory.display());
        let real = self.directory.canonicalize().with_context(what)?;
        if let Some(mounted) = mounts::mounted_below(&real)?.first() {
            return Err(Failure::new(format!("{}: {} is mounted", what(), mounted.display())));
        }
        Ok(fs::remove_dir_all(&self.directory).with_context(what)?)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let (file, new) = (self.directory.join(name), self.directory.join(format!(".{name}.new")));
        let what = || format!("writing {}", file.display());
        fs::write(&new, text).with_context(what)?;
        fs::rename(&new, &file).with_context(what)
    }
}

/// The text of a file.
pub(super) fn read(file: &Path) -> Result<String> {
    match read_if_there(file)? {
        Some(text) => Ok(text),
        None => bail!("{} does not exist", file.display()),
    }
}

fn read_if_there(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => text.map(Some).with_context(|| format!("reading {}", file.display())),
    }
}
