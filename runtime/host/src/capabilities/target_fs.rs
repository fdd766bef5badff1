//! `target-fs`: files of the target. Every path is asked for as spelled and as it lands.

use dibw_policy::Operation;

use crate::bindings::dibw::element::target_fs::{FileStat, Host};
use crate::gate::{Answer, State};
use crate::lent::Follow;
use crate::limits::within;

impl Host for State {
    fn read(&mut self, path: String, offset: u64, length: u64) -> Answer<Vec<u8>> {
        self.answer(|state| {
            let path = state.permit_path(&path, Follow::Whole, |path| Operation::ReadFile { path })?;
            let most = state.limits.file_bytes as u64;
            let mut bytes = state.lent.read_file(&path, offset, length.min(most))?;
            bytes.truncate(state.limits.file_bytes);
            Ok(bytes)
        })
    }

    fn write(&mut self, path: String, contents: Vec<u8>, mode: u32) -> Answer<()> {
        self.answer(|state| {
            let path =
                state.permit_path(&path, Follow::Parents, |path| Operation::WriteFile { path, mode })?;
            within(&path, contents.len(), state.limits.file_bytes)?;
            Ok(state.lent.write_file(&path, &contents, mode)?)
        })
    }

    fn make_dir(&mut self, path: String, mode: u32) -> Answer<()> {
        self.answer(|state| {
            let path =
                state.permit_path(&path, Follow::Parents, |path| Operation::MakeDirectory { path, mode })?;
            Ok(state.lent.make_directory(&path, mode)?)
        })
    }

    fn symlink(&mut self, target: String, path: String) -> Answer<()> {
        self.answer(|state| {
            let made = |path| Operation::Symlink { path, target: target.clone() };
            let path = state.permit_path(&path, Follow::Parents, made)?;
            Ok(state.lent.symlink(&target, &path)?)
        })
    }

    fn read_link(&mut self, path: String) -> Answer<String> {
        self.answer(|state| {
            let path = state.permit_path(&path, Follow::Parents, |path| Operation::ReadLink { path })?;
            Ok(state.lent.read_link(&path)?)
        })
    }

    fn stat(&mut self, path: String) -> Answer<Option<FileStat>> {
        self.answer(|state| {
            let path = state.permit_path(&path, Follow::Parents, |path| Operation::Stat { path })?;
            let found = state.lent.stat(&path)?;
            Ok(found.map(|s| FileStat {
                kind: s.kind.to_owned(),
                mode: s.mode,
                uid: s.uid,
                gid: s.gid,
                size: s.size,
            }))
        })
    }

    fn list_dir(&mut self, path: String) -> Answer<Vec<String>> {
        self.answer(|state| {
            let path = state.permit_path(&path, Follow::Whole, |path| Operation::ListDirectory { path })?;
            Ok(state.lent.list_directory(&path)?)
        })
    }

    fn rename(&mut self, from: String, to: String) -> Answer<()> {
        self.answer(|state| {
            let one = |path: &str| Operation::Rename { from: path.to_owned(), to: path.to_owned() };
            let tree = |path: &str| Operation::RenameTree { from: path.to_owned(), to: path.to_owned() };
            let from = state.permit_path(&from, Follow::Parents, |path| one(&path))?;
            let to = state.permit_path(&to, Follow::Parents, |path| one(&path))?;
            // What is below a directory moves with it. Nothing else changes the target while a hook runs.
            if state.lent.stat(&from)?.is_some_and(|entry| entry.kind == "dir") {
                state.permit(&tree(&from))?;
                state.permit(&tree(&to))?;
            }
            Ok(state.lent.rename(&from, &to)?)
        })
    }

    fn remove(&mut self, path: String) -> Answer<()> {
        self.answer(|state| {
            let path = state.permit_path(&path, Follow::Parents, |path| Operation::Remove { path })?;
            Ok(state.lent.remove(&path)?)
        })
    }

    fn remove_all(&mut self, path: String) -> Answer<()> {
        self.answer(|state| {
            let path = state.permit_path(&path, Follow::Parents, |path| Operation::RemoveTree { path })?;
            Ok(state.lent.remove_tree(&path)?)
        })
    }

    fn set_mode(&mut self, path: String, mode: u32) -> Answer<()> {
        self.answer(|state| {
            let path = state.permit_path(&path, Follow::Parents, |path| Operation::SetMode { path, mode })?;
            Ok(state.lent.set_mode(&path, mode)?)
        })
    }

    fn set_owner(&mut self, path: String, uid: u32, gid: u32) -> Answer<()> {
        self.answer(|state| {
            let path =
                state.permit_path(&path, Follow::Parents, |path| Operation::SetOwner { path, uid, gid })?;
            Ok(state.lent.set_owner(&path, uid, gid)?)
        })
    }
}
