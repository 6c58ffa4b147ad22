//! The limit of open files (`ulimit -n`). Every connection holds one, so the limit must suit the most connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are kept free for everything but connections: models, libraries, sockets that listen, threads' timers, the log.
const RESERVE: usize = 64;

/// Raises the limit to what the system allows, and returns how many connections fit into it: at most `wanted`, which is told where
/// it is less.
pub(super) fn room_for(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    let files =
        getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let fit = fitting(wanted, files);
    if fit < wanted {
        tracing::warn!(
            open_files = files,
            connections = fit,
            "`connections.max` is {wanted}, but the limit of open files leaves room for {fit} connections; raise it with `ulimit -n {}`",
            wanted + RESERVE
        );
    }
    fit
}

fn fitting(wanted: usize, files: usize) -> usize {
    // Under a tiny limit half of the files are for connections; some are better than none.
    wanted.min(files.saturating_sub(RESERVE).max(files / 2)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(fitting(10_000, 1_048_576), 10_000);
        assert_eq!(fitting(10_000, 256), 192);
        assert_eq!(fitting(10_000, 64), 32);
        assert_eq!(fitting(100, 256), 100);
    }
}
