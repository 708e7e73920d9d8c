//! Where the Core Rule Set is.

use std::io::Write as _;
use std::path::PathBuf;

/// The folder that `FUSEBOX_CRS` names, or the one beside the project; says that nothing is checked if there is none.
pub(crate) fn folder() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/crs");
    let folder = std::env::var_os("FUSEBOX_CRS").map_or(beside, PathBuf::from);
    if folder.join("rules").is_dir() {
        return Some(folder);
    }
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    // Straight to the terminal: what a test prints is hidden when it passes.
    let _told = writeln!(
        std::io::stderr(),
        "{name}: not checked, there are no rules in {} (set FUSEBOX_CRS to a copy of the Core Rule Set)",
        folder.display()
    );
    None
}
