//! Paths in the container, and paths beside the job file.
use crate::spec::problem::{Found, Report, Rule};

/// Absolute and plain, and not where something else lives. `false` if not, and then it was said.
pub fn absolute(pointer: &str, path: &str, report: &mut Report) -> bool {
    let inner = path.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !inner.is_some_and(|inner| inner.split('/').all(plain)) || path.len() > 1024 || path.contains('\n') {
        let message = "must be a path in the container that begins with / and has no `..`, `.` or `//`";
        report.add(Found::new(Rule::ContainerPath, pointer, message));
        return false;
    }
    for (folder, why) in [
        ("/dsg", "belongs to DSG"),
        ("/proc", "belongs to the kernel"),
        ("/sys", "belongs to the kernel"),
        ("/dev", "belongs to the kernel"),
    ] {
        if is_within(path, folder) {
            report.add(
                Found::new(Rule::PathReserved, pointer, format!("`{folder}` {why}"))
                    .hint("use a path under /in or /out"),
            );
            return false;
        }
    }
    true
}

pub fn is_within(path: &str, folder: &str) -> bool {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Relative to the job file, and not out of its folder.
pub fn beside(path: &str) -> bool {
    let inner = path.strip_suffix('/').unwrap_or(path);
    path.len() <= 1024
        && !path.contains(['\\', '\n'])
        && inner.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

pub fn has_wildcard(path: &str) -> bool {
    path.contains(['*', '?'])
}
