//! The report of what takes room in the target (`DIB_SHOW_IMAGE_USAGE`). Knows the words; the counting is that of `dibw-sys`.

use dibw_sys::tree_walk::entry_sizes;

use crate::events::Level;
use crate::failure::Failure;
use crate::run::Build;

impl Build<'_> {
    /// Tells of every entry of at least `least` bytes, the largest last.
    pub(crate) fn report_usage(&self, least: u64) -> Result<(), Failure> {
        let target = self.target()?;
        self.message(Level::Info, "", "KiB in the target, by path:");
        for (bytes, path) in entry_sizes(&target, least)? {
            let path = if path.as_os_str() == "." { "/".to_owned() } else { format!("/{}", path.display()) };
            self.message(Level::Info, "", format!("{:>10} {path}", bytes.div_ceil(1024)));
        }
        Ok(())
    }
}
