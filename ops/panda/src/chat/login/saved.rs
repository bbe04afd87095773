//! Logins that stay: one a server, in a file that its owner alone reads.
//!
//! A refresh token is of use once, so of all clients that share a login only one may be renewing it: each holds a lock from
//! before it reads the token until the next one is on the disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const FILE: &str = "logins.json";

/// Where the logins of this user of the machine are.
#[derive(Clone)]
pub(in crate::chat) struct SavedLogins {
    folder: PathBuf,
}

/// A login that stays; its token is never printed.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::chat) struct SavedLogin {
    pub(in crate::chat) username: String,
    pub(in crate::chat) refresh_token: String,
}

/// By the base URLs of servers.
type Logins = BTreeMap<String, SavedLogin>;

impl SavedLogins {
    /// Those of whoever runs this: `panda` in `XDG_STATE_HOME`, or in `.local/state` of the home.
    ///
    /// # Errors
    /// There is neither.
    pub(in crate::chat) fn own() -> anyhow::Result<Self> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
        let state = state.context("find a place for the login: set HOME or XDG_STATE_HOME to an absolute path")?;
        Ok(Self::in_folder(state.join("panda")))
    }

    fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The login at a server, if one stays.
    #[cfg(test)]
    fn find(&self, server: &str) -> anyhow::Result<Option<SavedLogin>> {
        Ok(self.read()?.remove(server))
    }

    /// Looks at the login at a server and changes it, with nobody between; none: it stays no longer.
    ///
    /// # Errors
    /// Of the change, after which it stays as the change left it; the file cannot be read or written.
    pub(in crate::chat) fn change<T>(
        &self,
        server: &str,
        change: impl FnOnce(&mut Option<SavedLogin>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        panda_storage::private::make_folder(&self.folder)
            .with_context(|| format!("make the folder {}", self.folder.display()))?;
        let lock = self.folder.join("logins.lock");
        let lock = open(OpenOptions::new().write(true).create(true).truncate(false), &lock)?;
        lock.lock().context("wait for other clients of this login")?;
        let mut logins = self.read()?;
        let mut login = logins.remove(server);
        let changed = change(&mut login);
        // Also where it failed: what is over stays no longer.
        logins.extend(login.map(|login| (server.to_owned(), login)));
        self.write(&logins)?;
        changed
    }

    fn read(&self) -> anyhow::Result<Logins> {
        let path = self.folder.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Logins::new()),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
        match serde_json::from_str(&text) {
            Ok(logins) => Ok(logins),
            // Where it broke and not what is there.
            Err(_) => bail!("{} is not what this program wrote: remove it, and log in again", path.display()),
        }
    }

    /// Whole, or not at all.
    fn write(&self, logins: &Logins) -> anyhow::Result<()> {
        let (path, partial) = (self.folder.join(FILE), self.folder.join("logins.partial"));
        let failed = || format!("write {}", path.display());
        let mut file = open(OpenOptions::new().write(true).create(true).truncate(true), &partial)?;
        file.write_all(serde_json::to_string_pretty(logins)?.as_bytes()).with_context(failed)?;
        file.sync_all().with_context(failed)?;
        std::fs::rename(&partial, &path).with_context(failed)
    }
}

fn open(options: &mut OpenOptions, path: &Path) -> anyhow::Result<File> {
    options.mode(0o600).open(path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn login(token: &str) -> SavedLogin {
        SavedLogin { username: "ada".to_owned(), refresh_token: token.to_owned() }
    }

    fn keep(logins: &SavedLogins, server: &str, login: Option<SavedLogin>) {
        let change = |stays: &mut Option<SavedLogin>| {
            *stays = login;
            Ok(())
        };
        logins.change(server, change).unwrap();
    }

    #[test]
    fn a_login_stays_until_it_is_taken_out_and_its_owner_alone_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let logins = SavedLogins::in_folder(folder.path().join("state/panda"));
        assert!(logins.find("http://one").unwrap().is_none());
        for (server, token) in [("http://one", "1"), ("http://two", "2"), ("http://one", "3")] {
            keep(&logins, server, Some(login(token)));
        }
        let found = |server: &str| logins.find(server).unwrap().map(|login| login.refresh_token);
        assert_eq!((found("http://one").as_deref(), found("http://two").as_deref()), (Some("3"), Some("2")));
        let mode = std::fs::metadata(folder.path().join("state/panda").join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        keep(&logins, "http://one", None);
        assert_eq!((found("http://one"), found("http://two").as_deref()), (None, Some("2")));
    }

    #[test]
    fn clients_of_one_login_change_it_one_behind_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let logins = SavedLogins::in_folder(folder.path().to_owned());
        keep(&logins, "http://one", Some(login("0")));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let next = |stays: &mut Option<SavedLogin>| {
                        let before: u32 = stays.as_ref().unwrap().refresh_token.parse()?;
                        *stays = Some(login(&(before + 1).to_string()));
                        Ok(())
                    };
                    for _ in 0..10 {
                        logins.change("http://one", next).unwrap();
                    }
                });
            }
        });
        assert_eq!(logins.find("http://one").unwrap().unwrap().refresh_token, "80");
    }

    #[test]
    fn a_file_that_is_something_else_is_told_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "panda_rt_sesame").unwrap();
        let logins = SavedLogins::in_folder(folder.path().to_owned());
        let told = format!("{:#}", logins.find("http://one").err().unwrap());
        assert!(told.contains("log in again") && !told.contains("sesame"), "{told}");
    }
}
