//! What a run may ask of this machine, told before it begins.

/// Files that the process needs besides its WebSockets.
const FILES_BESIDES: u64 = 128;

/// Why a run is refused before it begins.
///
/// # Errors
/// A sentence that says what to do, if `websockets` connections need more open files than `limit`.
pub fn check_files(websockets: usize, limit: Option<u64>) -> Result<(), String> {
    let room = limit.map(|limit| limit.saturating_sub(FILES_BESIDES));
    match room {
        Some(room) if websockets as u64 > room => Err(format!(
            "{websockets} WebSocket sessions need more open files than this process may have ({room} are left); \
             take fewer, raise the limit with `ulimit -n`, or use --transport quic"
        )),
        _ => Ok(()),
    }
}

/// The process's limit of open files; `None` if the system does not say or has none.
pub fn open_files() -> Option<u64> {
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn soft_limit(table: &str) -> Option<u64> {
    let row = table.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    row.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_from_the_systems_table() {
        let table = "Limit   Soft Limit   Hard Limit   Units\nMax open files            20000    20000    files\n";
        assert_eq!(soft_limit(table), Some(20_000));
        assert_eq!(soft_limit("Max open files   unlimited  unlimited files"), None);
        assert_eq!(soft_limit(""), None);
    }

    #[test]
    fn more_websockets_than_files_are_refused_with_a_sentence() {
        assert!(check_files(19_872, Some(20_000)).is_ok());
        assert!(check_files(19_873, Some(20_000)).unwrap_err().contains("ulimit"));
        assert!(check_files(1_000_000, None).is_ok());
        assert!(check_files(1, Some(3)).is_err());
    }
}
