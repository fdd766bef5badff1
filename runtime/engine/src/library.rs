//! What classic hooks find of the runtime: the shell library at `$_LIB`, tools of ours before those of the machine, and the variables and
//! functions that every hook has. Facts: compat/CONTRACT.md sections 1.3, 2.6 and 6.9.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use dibw_compat::element_exports::array_body;
use dibw_compat::library::{FILES, LibraryFile, PYTHON_EXEC, RUN_PARTS, SUDO};

use crate::run::Build;
use crate::scripts::IN_TARGET_TOOLS;
use dibw_compat::environment::{PATH, Variables, function};

/// Files of the library that hooks in the target need too, and where in the hooks tree they find them.
const IN_TREE: [(&str, &str); 2] = [(SUDO, ".dibw/bin/sudo"), (RUN_PARTS, RUN_PARTS)];

/// What `die` does: one line for people, and the end.
const DIE: &str = "echo \"ERROR: $*\" >&2; exit 1";

impl Build<'_> {
    /// Writes the shell library, and what of it belongs into the hooks tree.
    pub(crate) fn install_library(&self) -> Result<()> {
        let directory = self.machine().work_dir().join("lib");
        for file in &FILES {
            write(&directory.join(file.path), file)?;
            for (_, place) in IN_TREE.iter().filter(|(path, _)| *path == file.path) {
                write(&self.hooks.join(place), file)?;
            }
        }
        debug_assert!(IN_TARGET_TOOLS.ends_with("/.dibw/bin"));
        Ok(())
    }

    /// The variables that hooks on the host begin every phase with: the caller's, over them the plan's, over them what names places
    /// on this machine.
    pub(crate) fn set_base_variables(&mut self, work_dir: &Path) {
        let caller = std::mem::take(&mut self.base_variables);
        let library = work_dir.join("lib");
        let mut variables =
            Variables::from([("HOME".to_owned(), "/root".to_owned()), ("PATH".to_owned(), PATH.to_owned())]);
        variables.extend(caller);
        variables.extend(self.plan.variables.clone());
        let path = variables.get("PATH").map_or(PATH, String::as_str);
        let path = format!("{}:{path}", library.join("bin").display());
        let at = |path: &Path| path.display().to_string();
        let fixed = [
            ("DIB_IMAGE_CACHE", at(&self.image_cache)),
            ("LC_ALL", "C".to_owned()),
            ("OUT_IMAGE_PATH", String::new()),
            ("PATH", path),
            ("TMP_BUILD_DIR", at(work_dir)),
            ("TMP_HOOKS_PATH", at(&self.hooks)),
            ("TMP_IMAGE_DIR", at(&work_dir.join("images"))),
            ("TMP_MOUNT_PATH", at(&work_dir.join("mnt"))),
            ("_LIB", at(&library)),
        ];
        variables.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
        let lockfiles = self.lockfiles.clone().unwrap_or_else(|| self.image_cache.clone());
        variables.insert("DIB_LOCKFILES".to_owned(), at(&lockfiles));
        if variables.get("DIB_PYTHON_EXEC").is_none_or(String::is_empty) {
            variables.insert("DIB_PYTHON_EXEC".to_owned(), at(&library.join(PYTHON_EXEC)));
        }
        if let Ok(program) = std::env::current_exe() {
            variables.insert("DIBW_PROGRAM".to_owned(), at(&program));
        }
        let elements = self.plan.elements.iter();
        let array = array_body(elements.map(|element| (element.name.as_str(), element.path.as_str())));
        variables.extend([function("die", DIE), function("get_image_element_array", &array)]);
        self.base_variables = variables;
    }
}

fn write(path: &Path, file: &LibraryFile) -> Result<()> {
    let make = || {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::write(path, file.text)?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    make().with_context(|| format!("writing {}", path.display()))
}
