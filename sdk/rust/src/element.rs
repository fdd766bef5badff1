//! The `Element` trait: one defaulted method per phase; and what the macros record about an implementation.

use std::fmt;

use crate::config::Config;
use crate::cx::Cx;
use crate::error::{Error, Result};

/// One of the ten phases, in running order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is explained on its method of `Element`")]
pub enum Phase {
    Root,
    ExtraData,
    PreInstall,
    Install,
    PostInstall,
    PostRoot,
    BlockDevice,
    PreFinalise,
    Finalise,
    Cleanup,
}

impl Phase {
    /// All phases in running order.
    pub const ALL: [Self; 10] = [
        Self::Root,
        Self::ExtraData,
        Self::PreInstall,
        Self::Install,
        Self::PostInstall,
        Self::PostRoot,
        Self::BlockDevice,
        Self::PreFinalise,
        Self::Finalise,
        Self::Cleanup,
    ];

    /// The name in the contract, as in `extra-data`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::ExtraData => "extra-data",
            Self::PreInstall => "pre-install",
            Self::Install => "install",
            Self::PostInstall => "post-install",
            Self::PostRoot => "post-root",
            Self::BlockDevice => "block-device",
            Self::PreFinalise => "pre-finalise",
            Self::Finalise => "finalise",
            Self::Cleanup => "cleanup",
        }
    }

    /// The phase of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// An implemented phase and its place among the hooks of that phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// The phase.
    pub phase: Phase,
    /// 0 to 99, as the number before a hook script's name; 50 unless `#[order(..)]` says otherwise.
    pub order: u8,
}

/// Which phases an element implements. Written by `#[hooks]`.
#[diagnostic::on_unimplemented(
    message = "`#[hooks]` is missing above `impl Element for {Self}`",
    label = "dibw cannot see which phases `{Self}` implements",
    note = "write:  #[hooks]\n        impl Element for {Self} {{ ... }}"
)]
pub trait Hooks {
    /// In phase order.
    const HOOKS: &'static [Hook];
}

/// A typed element: its configuration is `self`, its hooks are the methods it implements. Put `#[hooks]` above the `impl`.
pub trait Element: Config + Hooks {
    /// Makes the first tree of the target. Few elements do: it is the distribution's.
    fn root(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// Brings data in before anything is installed.
    fn extra_data(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// Before packages: repositories, configuration that package scripts read.
    fn pre_install(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// Packages, and files that do not depend on them.
    fn install(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// Configuration of what was installed: files, units, accounts.
    fn post_install(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// After the target's own hooks, before it is put on a disk.
    fn post_root(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// While the disk is laid out.
    fn block_device(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// On the mounted disk, before the target's finalise hooks.
    fn pre_finalise(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// On the mounted disk: what must know the real file systems, as boot loaders do.
    fn finalise(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
    /// Last touches: what the image must not carry.
    fn cleanup(&self, cx: &Cx) -> Result {
        ignore(cx)
    }
}

fn ignore(_cx: &Cx) -> Result {
    Ok(())
}

/// What `element!` records about an element.
pub trait Described: Element {
    /// The manifest that the component carries in its section `dibw:manifest`: JSON.
    const MANIFEST: &'static str;
}

/// Runs one hook: reads the configuration into `T` and calls the phase's method.
///
/// # Errors
/// `Invalid` when the configuration does not fit `T`, and whatever the hook returns.
pub fn dispatch<T: Element>(phase: Phase, config: &str, cx: &Cx) -> Result {
    let element = crate::config::parse::<T>(config)?;
    match phase {
        Phase::Root => element.root(cx),
        Phase::ExtraData => element.extra_data(cx),
        Phase::PreInstall => element.pre_install(cx),
        Phase::Install => element.install(cx),
        Phase::PostInstall => element.post_install(cx),
        Phase::PostRoot => element.post_root(cx),
        Phase::BlockDevice => element.block_device(cx),
        Phase::PreFinalise => element.pre_finalise(cx),
        Phase::Finalise => element.finalise(cx),
        Phase::Cleanup => element.cleanup(cx),
    }
}

/// As [`dispatch`], by the contract's name of the phase.
///
/// # Errors
/// `Invalid` for a name that this SDK does not know.
pub fn dispatch_named<T: Element>(phase: &str, config: &str, cx: &Cx) -> Result {
    let known = Phase::from_name(phase)
        .ok_or_else(|| Error::Invalid(format!("this element knows no phase `{phase}`")))?;
    dispatch::<T>(known, config, cx)
}
