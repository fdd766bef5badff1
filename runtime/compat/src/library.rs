//! The files that classic elements find at `$_LIB`: shell functions to source, programs to run, a Python package to import. They are
//! texts of this program; the engine writes them into each build's own directory. What elements may rely on: docs/compatibility.md.

/// A file of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibraryFile {
    /// Where it belongs, relative to `$_LIB`.
    pub path: &'static str,
    /// What is in it.
    pub text: &'static str,
    /// Whether it is a program: mode 0755 instead of 0644.
    pub executable: bool,
}

macro_rules! library {
    ($executable:literal: $($path:literal)*) => {
        [$(LibraryFile {
            path: $path,
            text: include_str!(concat!("../lib/", $path)),
            executable: $executable,
        }),*]
    };
}

/// The runner of one directory of scripts. A copy belongs beside the hooks in a target too.
pub const RUN_PARTS: &str = "dib-run-parts";

/// The stand-in for sudo. A copy belongs into the search path of a target that has no sudo of its own.
pub const SUDO: &str = "bin/sudo";

/// The Python that `DIB_PYTHON_EXEC` names.
pub const PYTHON_EXEC: &str = "bin/dib-python-exec";

/// The programs of the library.
pub const PROGRAMS: [LibraryFile; 5] = library!(true:
    "bin/dib-python-exec"
    "bin/sudo"
    "dib-run-parts"
    "disk-image-create"
    "ramdisk-image-create"
);

/// What is sourced, imported, or given to an interpreter by name.
pub const TEXTS: [LibraryFile; 13] = library!(false:
    "common-defaults"
    "common-functions"
    "dib-block-device.py"
    "element-info.py"
    "img-defaults"
    "img-functions"
    "python/diskimage_builder/__init__.py"
    "python/diskimage_builder/element_dependencies.py"
    "python/diskimage_builder/logging_config.py"
    "python/diskimage_builder/paths.py"
    "python/diskimage_builder/program.py"
    "ramdisk-defaults"
    "ramdisk-functions"
);

/// Every file of the library.
pub const FILES: [LibraryFile; PROGRAMS.len() + TEXTS.len()] = {
    let mut files = [PROGRAMS[0]; PROGRAMS.len() + TEXTS.len()];
    let mut index = 0;
    while index < files.len() {
        files[index] = if index < PROGRAMS.len() { PROGRAMS[index] } else { TEXTS[index - PROGRAMS.len()] };
        index += 1;
    }
    files
};

/// The text of one file, for those that go elsewhere too.
#[must_use]
pub fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find(|file| file.path == path).map(|file| file.text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn every_file_of_the_directory_is_in_the_library_with_its_mode() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("lib");
        let mut found: Vec<(String, bool)> = files_below(&root)
            .into_iter()
            .map(|path| {
                let executable = fs::metadata(&path).unwrap().permissions().mode() & 0o111 != 0;
                (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), executable)
            })
            .filter(|(path, _)| !path.contains("__pycache__"))
            .collect();
        found.sort();
        let mut known: Vec<_> = FILES.iter().map(|file| (file.path.to_owned(), file.executable)).collect();
        known.sort();
        assert_eq!(known, found);
    }

    #[test]
    fn programs_say_what_runs_them() {
        for file in FILES {
            assert_eq!(file.text.starts_with("#!"), file.executable, "{}", file.path);
        }
    }

    #[test]
    fn the_files_with_a_name_of_their_own_are_there() {
        for path in [RUN_PARTS, SUDO, PYTHON_EXEC] {
            assert!(text(path).is_some(), "{path}");
        }
        assert_eq!(text("no-such-file"), None);
    }

    fn files_below(directory: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
        }
        files
    }
}
