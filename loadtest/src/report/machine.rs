//! Where and how a run was made, as the system says.

use std::path::Path;

use super::model::{Machine, Meta};

impl Machine {
    /// This one. What the system does not say is empty.
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kilobytes(&read("/proc/meminfo")) << 10,
            kernel: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()).trim().into(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gib = self.memory_bytes.div_ceil(1 << 30);
        write!(f, "{}, {} cores, {gib} GiB of memory, {}", self.cpu, self.cores, self.kernel)
    }
}

impl Meta {
    /// Of a run of this process that begins now.
    pub fn begins() -> Self {
        Self {
            command: command_line(std::env::args().skip(1)),
            version: env!("CARGO_PKG_VERSION").into(),
            commit: commit(Path::new(".")).or_else(|| commit(std::env::current_exe().ok()?.parent()?)),
            machine: Machine::this(),
            started: now(),
            ..Self::default()
        }
    }

    /// It ends now.
    pub fn ends(&mut self) {
        self.ended = now();
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As a person would type it.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+".contains(character);
    let quoted = arguments.map(|argument| match argument.chars().all(plain) && !argument.is_empty() {
        true => argument,
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    });
    std::iter::once("panda-loadtest".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

/// The commit of the working copy in or above `folder`, if that is one: files of git, because git need not be there.
fn commit(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let git = folder.ancestors().map(|folder| folder.join(".git")).find(|git| git.exists())?;
    let read = |path: &Path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    // A further working tree has a file that names its folder, and that one names the folder of all.
    let git = match git.is_dir() {
        true => git,
        false => read(&git)?.strip_prefix("gitdir: ")?.into(),
    };
    let head = read(&git.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref: ") else { return Some(head) };
    let shared = read(&git.join("commondir")).map_or_else(|| git.clone(), |shared| git.join(shared));
    let packed = || {
        let refs = read(&shared.join("packed-refs"))?;
        refs.lines().find_map(|line| Some(line.strip_suffix(name)?.trim().to_owned()))
    };
    read(&git.join(name)).or_else(|| read(&shared.join(name))).or_else(packed)
}

fn field(table: &str, name: &str) -> Option<String> {
    let line = table.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kilobytes(meminfo: &str) -> u64 {
    let total = field(meminfo, "MemTotal");
    total.and_then(|total| total.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_so_that_a_shell_takes_it_again() {
        let line = |arguments: &[&str]| command_line(arguments.iter().map(ToString::to_string));
        assert_eq!(line(&["idle", "--target", "http://a:1"]), "panda-loadtest idle --target http://a:1");
        assert_eq!(line(&["a b", "", "it's"]), r"panda-loadtest 'a b' '' 'it'\''s'");
    }

    #[test]
    fn the_commit_is_found_in_loose_packed_and_shared_references() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("copy/.git/HEAD", "ref: refs/heads/main\n");
        write("copy/.git/packed-refs", "# pack-refs\naaaa refs/heads/main\nbbbb refs/heads/other\n");
        write("copy/below/file", "");
        let at = |path: &str| commit(&folder.path().join(path));
        assert_eq!(at("copy/below").as_deref(), Some("aaaa"));
        write("copy/.git/refs/heads/main", "cccc\n");
        assert_eq!(at("copy").as_deref(), Some("cccc"));
        let tree = folder.path().join("copy/.git/worktrees/tree");
        write("tree/.git", &format!("gitdir: {}\n", tree.display()));
        write("copy/.git/worktrees/tree/HEAD", "ref: refs/heads/other\n");
        write("copy/.git/worktrees/tree/commondir", "../..\n");
        assert_eq!(at("tree").as_deref(), Some("bbbb"));
        write("copy/.git/HEAD", "dddd\n");
        assert_eq!(at("copy").as_deref(), Some("dddd"), "no branch");
    }

    #[test]
    fn the_machine_is_told_and_its_table_read() {
        assert_eq!(field("processor : 0\nmodel name\t: A B\n", "model name").as_deref(), Some("A B"));
        assert_eq!(kilobytes("MemTotal:       1024 kB\n"), 1_024);
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.memory_bytes > 0 && !machine.kernel.is_empty(), "{machine}");
    }
}
