//! Owns views of a tree that remember what was asked of them: to know exactly what a command has read.
//! Must not know commands, nor what a reading is good for. Called by `overlay`; the engine keeps and compares the [`Reads`].
//!
//! A view is a FUSE file system that this process serves, mounted by ourselves. It ends with this process, whatever way
//! that ends: the kernel then refuses what is still asked.

mod below;
mod compare;
mod nodes;
mod owners;
mod raw_name;
mod reads;
mod server;

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, Session, SessionACL};
use rustix::fs::{Mode, OFlags};

pub use compare::{Change, Difference};
pub use raw_name::RawName;
pub use reads::{Digest, Properties, Reads, Seen, What};

use crate::mounts::{self, Mount};
use below::Below;
use owners::Shift;
use server::{Server, View};

/// Most threads that answer the kernel; more only wait for each other.
const MOST_THREADS: usize = 4;

/// Whether this machine has what views need.
pub fn is_possible() -> bool {
    Path::new("/dev/fuse").exists()
}

/// A mounted read-only view of a tree that remembers what was asked of it. Call [`ObservedTree::finish`]; dropping it only
/// takes the mount away.
#[derive(Debug)]
pub struct ObservedTree {
    place: PathBuf,
    /// None once it is taken down.
    serving: Option<Serving>,
    /// The mount of the tree itself, when it was made for this view only.
    below: Option<Mount>,
}

#[derive(Debug)]
struct Serving {
    view: Arc<View>,
    session: BackgroundSession,
}

impl ObservedTree {
    /// Shows the directory `tree` at the directory `place`, with all owners shifted up by `id_base` (0 shows them as they
    /// are), so that a user namespace sees its own without an id-mapped mount. What is in the tree must not change while
    /// the view lives.
    ///
    /// # Errors
    /// Not root, or a kernel without FUSE.
    pub fn mount(tree: &Path, place: &Path, id_base: u32) -> Result<Self> {
        let below = Below::new(tree)?;
        let view = View::new(below, Shift(id_base)).with_context(|| tree.display().to_string())?;
        let view = Arc::new(view);
        let serve = || {
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            let device = rustix::fs::open("/dev/fuse", flags, Mode::empty()).context("open /dev/fuse")?;
            let options = format!(
                "ro,fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
                device.as_raw_fd()
            );
            let mount = Mount::new("dibw".as_ref(), place, "fuse", &options)?;
            let mut config = Config::default();
            config.n_threads = Some(available_parallelism().map_or(1, usize::from).min(MOST_THREADS));
            config.clone_fd = true;
            let server = Server(view.clone());
            let session = Session::from_fd(server, device, SessionACL::All, config)
                .and_then(Session::spawn)
                .context("serve the kernel")?;
            mount.keep();
            Ok::<_, anyhow::Error>(session)
        };
        let session = serve().with_context(|| format!("observe {}", tree.display()))?;
        Ok(Self { place: place.to_owned(), serving: Some(Serving { view, session }), below: None })
    }

    /// Has the tree's own mount go away with the view.
    pub(crate) fn with_mount(mut self, below: Mount) -> Self {
        self.below = Some(below);
        self
    }

    /// Ends the view and says what was asked for. Whoever still uses it gets errors from now on.
    ///
    /// # Errors
    /// Somebody keeps it mounted (the message says who), or the tree can't be read any more.
    pub fn finish(mut self) -> Result<Reads> {
        let view = self.take_down()?.context("a view that is taken down")?;
        let reads = Reads::of(&view)?;
        drop(view);
        self.below.take().map_or(Ok(()), Mount::unmount)?;
        Ok(reads)
    }

    /// Unmounts the view and waits until nobody answers any more; none when that was done already.
    fn take_down(&mut self) -> Result<Option<Arc<View>>> {
        let Some(Serving { view, session }) = self.serving.take() else { return Ok(None) };
        tracing::debug!(place = %self.place.display(), "end an observed view");
        // By force: a sandbox that was just killed may still have a copy of the mount for a moment.
        let unmounted = mounts::unmount_by_force(&self.place);
        session.join().context("serve the kernel")?;
        unmounted?;
        Ok(Some(view))
    }
}

impl Drop for ObservedTree {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            tracing::warn!("{error:#}");
        }
    }
}
