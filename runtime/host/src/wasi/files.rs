//! `wasi:filesystem/types` is wasmtime-wasi's, but for opening a file and making a directory:
//!
//! - only regular files and directories are opened: a FIFO would hold the build up for ever, a device is not part of the image;
//! - a file with a set-user-id or set-group-id bit is not opened for writing: root keeps the bits when it writes;
//! - what is made has the modes 0644 and 0755, whatever the umask of the caller of dibw is.
//!
//! What is looked at is what is opened: nothing else changes the tree while a hook runs, and the hook makes one call at a time.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, openat2};
use rustix::io::Errno;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    self, DescriptorFlags, ErrorCode, Host, HostDescriptor, OpenFlags, PathFlags,
};

use crate::gate::State;

use super::replace;

const SET_ID_BITS: u32 = 0o6000;

type OpenArguments = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

/// Links the interface.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    types::add_to_linker::<State, WasiFilesystem>(linker, |state| state.wasi().filesystem())?;
    replace(linker, "wasi:filesystem/types", "[method]descriptor.open-at", open_at)?;
    replace(linker, "wasi:filesystem/types", "[method]descriptor.create-directory-at", create_directory_at)
}

fn open_at(
    mut store: StoreContextMut<'_, State>,
    (fd, path_flags, path, open_flags, flags): OpenArguments,
) -> wasmtime::Result<(Result<Resource<Descriptor>, ErrorCode>,)> {
    let mut files = store.data_mut().wasi().filesystem();
    let directory = directory(files.table, &fd)?;
    let writes = open_flags.intersects(OpenFlags::TRUNCATE | OpenFlags::CREATE)
        || flags.contains(DescriptorFlags::WRITE);
    let found = match look(&directory, &path, path_flags, writes) {
        Ok(found) => found,
        Err(code) => return Ok((Err(code),)),
    };
    match files.open_at(fd, path_flags, path, open_flags, flags) {
        Ok(opened) => {
            if let (Found::Nothing, Descriptor::File(file)) = (found, files.table.get(&opened)?) {
                fchmod(&*file.file, Mode::from_raw_mode(0o644)).map_err(std::io::Error::from)?;
            }
            Ok((Ok(opened),))
        }
        Err(error) => Ok((Err(files.convert_error_code(error)?),)),
    }
}

fn create_directory_at(
    mut store: StoreContextMut<'_, State>,
    (fd, path): (Resource<Descriptor>, String),
) -> wasmtime::Result<(Result<(), ErrorCode>,)> {
    let mut files = store.data_mut().wasi().filesystem();
    let directory = directory(files.table, &fd)?;
    if let Err(error) = files.create_directory_at(fd, path.clone()) {
        return Ok((Err(files.convert_error_code(error)?),));
    }
    let made = open(&directory, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW);
    made.and_then(|made| fchmod(made, Mode::from_raw_mode(0o755))).map_err(std::io::Error::from)?;
    Ok((Ok(()),))
}

/// The directory that a path is relative to; none when the descriptor is a file, which WASI refuses itself.
fn directory(table: &ResourceTable, fd: &Resource<Descriptor>) -> wasmtime::Result<Option<Arc<File>>> {
    Ok(match table.get(fd)? {
        Descriptor::Dir(directory) => Some(directory.dir.clone()),
        Descriptor::File(_) => None,
    })
}

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Something,
}

/// Refuses what may not be opened.
fn look(
    directory: &Option<Arc<File>>,
    path: &str,
    path_flags: PathFlags,
    writes: bool,
) -> Result<Found, ErrorCode> {
    let follow =
        if path_flags.contains(PathFlags::SYMLINK_FOLLOW) { OFlags::empty() } else { OFlags::NOFOLLOW };
    let found = match open(directory, path, OFlags::PATH | follow) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(Errno::NOTDIR) => return Err(ErrorCode::NotDirectory),
        Err(Errno::LOOP) => return Err(ErrorCode::Loop),
        Err(Errno::NAMETOOLONG) => return Err(ErrorCode::NameTooLong),
        Err(Errno::INVAL) => return Err(ErrorCode::Invalid),
        // Above all EXDEV: the path leads out of the tree.
        Err(_) => return Err(ErrorCode::NotPermitted),
    };
    let stat = fstat(&found).map_err(|_| ErrorCode::Io)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if writes && stat.st_mode & SET_ID_BITS != 0 => Err(ErrorCode::NotPermitted),
        // A link that is not followed is not opened by the kernel either.
        FileType::RegularFile | FileType::Directory | FileType::Symlink => Ok(Found::Something),
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Err(ErrorCode::NotPermitted),
    }
}

fn open(directory: &Option<Arc<File>>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let directory = directory.as_deref().ok_or(Errno::NOTDIR)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
