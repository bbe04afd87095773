//! `seeds DIR` writes the seed corpus of every target below DIR, made from the vectors.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

/// The bytes of each vector of a file.
fn vectors(name: &str) -> Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(name))?;
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    Ok(vectors.iter().filter_map(|vector| vector["hex"].as_str()).map(unhex).collect())
}

fn write(dir: &Path, target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
    let dir = dir.join(target);
    fs::create_dir_all(&dir)?;
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(dir.join(format!("seed-{number:03}")), seed)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let dir = std::env::args().nth(1).ok_or_else(|| Error::other("which folder? seeds DIR"))?;
    let dir = Path::new(&dir);
    let frames = [vectors("frames.json")?, vectors("traces.json")?].concat();
    let malformed = vectors("malformed.json")?;
    write(dir, "decode_frame", [frames.clone(), vectors("grown.json")?, malformed.clone()].concat())?;
    write(dir, "link_frame", [vectors("link.json")?, vectors("malformed_link.json")?].concat())?;
    let all = frames.concat();
    write(dir, "split_feed", [0u8, 1, 7, 16].map(|seed| [&[seed][..], &all].concat()))?;
    let rest = [vectors("malformed_events.json")?, vectors("malformed_records.json")?].concat();
    write(dir, "round_trip", [vectors("events.json")?, vectors("records.json")?, rest].concat())?;
    // A session opens with the first Hello, then hears one frame each.
    let opened = [&[0xff][..], &frames[0], &[10, 0xff]].concat();
    write(dir, "server_session", [frames, malformed].concat().iter().map(|frame| [&opened[..], frame].concat()))
}
