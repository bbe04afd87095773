//! Lays the built page (`edge/web/dist`) into this crate as a table of files, each with what was compressed beside it.
//!
//! Without a built page the table is empty, and the crate builds all the same: nobody needs Node to run a server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Files of a page, compressed ones counted by themselves; more are not a page of ours.
const FILES_MAX: usize = 256;
/// How deep folders lie in each other.
const DEPTH_MAX: usize = 4;

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let built = manifest.join("../web/dist");
    // The folder is always there, so that cargo sees a page that comes later.
    println!("cargo:rerun-if-changed={}", built.display());
    let mut files = BTreeMap::new();
    collect(&built, "", 0, &mut files)?;
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    copy_into(&out.join("page"), &mut files)?;
    fs::write(out.join("page_files.rs"), table(&files))
}

/// The compiler takes copies: it comes minutes later, and somebody may build the page anew meanwhile.
fn copy_into(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for (path, file) in files.iter_mut() {
        let copy = folder.join(path);
        fs::create_dir_all(copy.parent().unwrap_or(folder))?;
        fs::copy(&*file, &copy)?;
        *file = copy;
    }
    Ok(())
}

/// Every file below a folder, by its path there with `/` between.
fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| io::Error::other(format!("{}: {name:?} is no name of a page's file", folder.display())))?;
        // `.gitignore`, which keeps the folder, is nothing to serve.
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if depth == DEPTH_MAX {
                return Err(io::Error::other(format!("{path}: folders of a page lie at most {DEPTH_MAX} deep")));
            }
            collect(&entry.path(), &format!("{path}/"), depth + 1, files)?;
        } else {
            files.insert(path, entry.path());
        }
        if files.len() > FILES_MAX {
            return Err(io::Error::other(format!("{}: more than {FILES_MAX} files", folder.display())));
        }
    }
    Ok(())
}

fn table(files: &BTreeMap<String, PathBuf>) -> String {
    let compressed = |path: &str, suffix: &str| match files.get(&format!("{path}{suffix}")) {
        Some(found) => format!("Some(include_bytes!({found:?}))"),
        None => "None".to_owned(),
    };
    let mut rows = String::from("&[\n");
    for (path, found) in files {
        if path.ends_with(".br") || path.ends_with(".gz") {
            continue;
        }
        let (brotli, gzip) = (compressed(path, ".br"), compressed(path, ".gz"));
        writeln!(
            rows,
            "    File {{ path: {path:?}, plain: include_bytes!({found:?}), brotli: {brotli}, gzip: {gzip} }},"
        )
        .expect("a String takes what is written to it");
    }
    rows.push_str("]\n");
    rows
}
