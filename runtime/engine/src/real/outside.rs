//! Commands on the host, caged: what each sees of the machine and of the build.

use std::path::PathBuf;

use anyhow::{Context, Result};
use dibw_sys::confined::{Captured, ConfinedCommand, Level, TargetView, View};
use dibw_sys::process::OnLine;
use dibw_sys::sandbox::{Extras, HostView, Input, SandboxCommand, TargetSource};

use super::{CAPTURE_WORK, KEPT, RealMachine, TMP, TMP_WORK, UPPER, is_tmp, network};
use crate::machine::{Ending, Machine, Outside};

impl RealMachine {
    /// Runs a command on the host's root, with its capabilities or with fewer.
    pub(super) fn outside_confined(
        &mut self,
        command: &Outside,
        level: Level,
        on_line: OnLine<'_>,
    ) -> Result<Ending> {
        let confined = ConfinedCommand {
            argv: command.argv.clone(),
            env: command.env.clone(),
            cwd: command.cwd.clone(),
            stdin: input(command),
            timeout: command.timeout,
            level,
            view: self.view(command)?,
            network: network(command.network),
            limits: self.limits.clone(),
        };
        let finished = self.runner.outside(&confined, on_line)?;
        self.keep_mounts(finished.kept.clone())?;
        Ok(self.ended(finished))
    }

    /// Runs a command in the target's sandbox, but with the host before its eyes.
    pub(super) fn outside_strict(&mut self, command: &Outside, on_line: OnLine<'_>) -> Result<Ending> {
        let view = HostView {
            // Of this and all other builds.
            hidden: self.build_dir.ancestors().nth(2).map(PathBuf::from).into_iter().collect(),
            readable: command.strict.readable.clone(),
            writable: command.strict.writable.clone(),
        };
        let strict = SandboxCommand {
            argv: command.argv.clone(),
            env: command.env.clone(),
            // Where dibw was started is the operator's.
            cwd: "/tmp".into(),
            stdin: input(command),
            timeout: command.timeout,
            extras: Extras {
                network: network(command.network),
                netns: command.netns.clone(),
                host: Some(view),
                ..Extras::default()
            },
            limits: self.limits.clone(),
        };
        let finished = match &self.moved {
            Some(mount) => self.runner.inside(&TargetSource::Tree(mount.dir()), &strict, on_line),
            None => {
                let layers = TargetSource::Layers(self.tree.sandbox_root()?);
                self.runner.inside(&layers, &strict, on_line)
            }
        };
        finished.map(|finished| self.ended(finished))
    }

    /// What a command on the host sees of the machine.
    fn view(&mut self, command: &Outside) -> Result<View> {
        let root = self.target()?;
        // Once the target is on the disk, mounts in it would keep the disk from being unmounted.
        let keep = self.moved.is_none().then(|| self.build_dir.join(KEPT));
        let captured = command.captured.iter().filter(|path| !is_tmp(path)).map(|path| Captured {
            path: path.clone(),
            upper: self.build_dir.join(UPPER),
            work: self.build_dir.join(CAPTURE_WORK),
        });
        let binds = self.hook_mounts.iter().map(|(path, place)| (place.clone(), path.clone()));
        Ok(View {
            writable: command.writable.clone(),
            readable: command.readable.clone(),
            tmp: Some(Captured {
                path: "/tmp".into(),
                upper: self.build_dir.join(TMP),
                work: self.build_dir.join(TMP_WORK),
            }),
            captured: captured.collect(),
            target: Some(TargetView { root, furnished: command.furnished, binds: binds.collect(), keep }),
        })
    }

    /// Remembers what a command left mounted in the target.
    fn keep_mounts(&mut self, left: Vec<(PathBuf, PathBuf)>) -> Result<()> {
        let root = self.target()?;
        for (path, place) in left {
            let inner = path.strip_prefix(&root).context("a mount outside the target")?;
            self.hook_mounts.push((format!("/{}", inner.display()), place));
        }
        Ok(())
    }
}

fn input(command: &Outside) -> Input {
    if command.interactive { Input::Terminal } else { Input::Null }
}
