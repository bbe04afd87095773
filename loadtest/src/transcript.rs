//! Transcripts of real conversations: one JSON object a line, plain or gzip, in the order of speaking.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use panda_protocol::limits::TEXT_BYTES_MAX;
use serde::Deserialize;

/// The longest line: every byte of a text may be escaped to six.
const LINE_BYTES_MAX: u64 = 8 * TEXT_BYTES_MAX as u64;
/// The most messages of a transcript.
const MESSAGES_MAX: usize = 10_000_000;
/// What a gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a transcript cannot be used.
#[derive(Debug)]
pub enum TranscriptError {
    /// The file cannot be read, or ends within its compression.
    Read(io::Error),
    /// A line is not what it should be; lines count from 1.
    Line {
        /// Which line.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no message in it.
    Empty,
}

impl std::fmt::Display for TranscriptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the transcript cannot be read: {error}"),
            Self::Line { number, problem } => write!(f, "line {number} of the transcript: {problem}"),
            Self::Empty => f.write_str("the transcript has no messages"),
        }
    }
}

impl std::error::Error for TranscriptError {}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Minutes from the chat's first day.
    pub minute: u64,
    /// Place of the sender in [`Transcript::users`].
    pub user: u32,
    /// The text, byte for byte.
    pub text: Box<str>,
}

/// A chat and what was said in it.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The chat's name.
    pub name: String,
    /// Who speaks in it, each once, in the order of their first word.
    pub members: Vec<u32>,
    /// In the order of speaking.
    pub messages: Vec<Message>,
}

/// Who said what where.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// Names as they stand in the file.
    pub users: Vec<String>,
    /// The chats, in the order of their first message.
    pub chats: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Line {
    chat: String,
    minute: u64,
    user: String,
    kind: String,
    text: String,
}

impl Transcript {
    /// Reads a file, plain or gzip: its first bytes say which.
    ///
    /// # Errors
    /// [`TranscriptError`], with the line where one is at fault.
    pub fn open(path: &Path) -> Result<Self, TranscriptError> {
        Self::read(BufReader::with_capacity(64 * 1024, File::open(path).map_err(TranscriptError::Read)?))
    }

    /// Reads a transcript from bytes, plain or gzip.
    ///
    /// # Errors
    /// [`TranscriptError`], with the line where one is at fault.
    pub fn read(mut input: impl BufRead) -> Result<Self, TranscriptError> {
        let zipped = input.fill_buf().map_err(TranscriptError::Read)?.starts_with(&GZIP_MAGIC);
        if zipped { Self::lines(BufReader::new(MultiGzDecoder::new(input))) } else { Self::lines(input) }
    }

    /// How many messages there are.
    pub fn message_count(&self) -> usize {
        self.chats.iter().map(|chat| chat.messages.len()).sum()
    }

    fn lines(mut input: impl BufRead) -> Result<Self, TranscriptError> {
        let mut reading = Reading::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.map_err(TranscriptError::Read)? == 0 {
                break;
            }
            if !line.trim_ascii().is_empty() {
                reading.line(&line, number).map_err(|problem| TranscriptError::Line { number, problem })?;
            }
        }
        if reading.transcript.chats.is_empty() { Err(TranscriptError::Empty) } else { Ok(reading.transcript) }
    }
}

#[derive(Default)]
struct Reading {
    transcript: Transcript,
    users: HashMap<String, u32>,
    chats: HashMap<String, usize>,
    /// Per chat, where each user stands: in `Conversation::members` once only.
    members: HashMap<(usize, u32), ()>,
}

impl Reading {
    fn line(&mut self, bytes: &[u8], number: usize) -> Result<(), String> {
        let line: Line = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if line.kind != "text" {
            return Err(format!("the kind `{}` is unknown; only `text` is", line.kind));
        }
        if line.text.is_empty() || line.text.len() > TEXT_BYTES_MAX {
            return Err(format!("a text has 1 to {TEXT_BYTES_MAX} bytes, not {}", line.text.len()));
        }
        if number > MESSAGES_MAX {
            return Err(format!("a transcript has at most {MESSAGES_MAX} messages"));
        }
        let user = self.user(line.user)?;
        let at = self.chat(line.chat);
        let chat = &mut self.transcript.chats[at];
        if self.members.insert((at, user), ()).is_none() {
            chat.members.push(user);
        }
        chat.messages.push(Message { minute: line.minute, user, text: line.text.into() });
        Ok(())
    }

    fn user(&mut self, name: String) -> Result<u32, String> {
        if let Some(&known) = self.users.get(&name) {
            return Ok(known);
        }
        let place = u32::try_from(self.transcript.users.len()).map_err(|_| "too many users".to_owned())?;
        self.transcript.users.push(name.clone());
        self.users.insert(name, place);
        Ok(place)
    }

    fn chat(&mut self, name: String) -> usize {
        if let Some(&known) = self.chats.get(&name) {
            return known;
        }
        let place = self.transcript.chats.len();
        self.transcript.chats.push(Conversation { name: name.clone(), members: Vec::new(), messages: Vec::new() });
        self.chats.insert(name, place);
        place
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const LINES: &str = concat!(
        r##"{"chat":"#a","minute":0,"user":"ada","kind":"text","text":"שלום"}"##,
        "\n",
        r##"{"chat":"#b","minute":3,"user":"ben","kind":"text","text":"tab\there"}"##,
        "\n\n",
        r##"{"chat":"#a","minute":1,"user":"ada","kind":"text","text":"e\u0301 👩‍🚀"}"##,
    );

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn check(transcript: &Transcript) {
        assert_eq!(transcript.users, ["ada", "ben"]);
        assert_eq!(transcript.message_count(), 3);
        assert_eq!(transcript.chats[0].members, [0]);
        assert_eq!(&*transcript.chats[0].messages[1].text, "e\u{301} 👩\u{200d}🚀");
        assert_eq!(&*transcript.chats[1].messages[0].text, "tab\there");
    }

    #[test]
    fn plain_and_gzip_read_the_same() {
        check(&Transcript::read(LINES.as_bytes()).unwrap());
        check(&Transcript::read(zipped(LINES.as_bytes()).as_slice()).unwrap());
    }

    #[test]
    fn the_line_at_fault_is_named() {
        for wrong in [
            "{",
            r#"{"chat":"a","minute":-1,"user":"u","kind":"text","text":"t"}"#,
            r#"{"chat":"a","minute":0,"user":"u","kind":"picture","text":"t"}"#,
            r#"{"chat":"a","minute":0,"user":"u","kind":"text","text":""}"#,
        ] {
            let input = format!("{LINES}\n{wrong}\n");
            let refused = Transcript::read(input.as_bytes());
            assert!(matches!(refused, Err(TranscriptError::Line { number: 5, .. })), "{wrong}: {refused:?}");
        }
        let long = format!(
            r#"{{"chat":"a","minute":0,"user":"u","kind":"text","text":"{}"}}"#,
            "x".repeat(TEXT_BYTES_MAX + 1)
        );
        assert!(matches!(Transcript::read(long.as_bytes()), Err(TranscriptError::Line { number: 1, .. })));
    }

    #[test]
    fn empty_and_cut_files_are_refused() {
        assert!(matches!(Transcript::read(&b""[..]), Err(TranscriptError::Empty)));
        assert!(matches!(Transcript::read(&b"\n \n"[..]), Err(TranscriptError::Empty)));
        let whole = zipped(LINES.as_bytes());
        assert!(matches!(Transcript::read(&whole[..whole.len() - 9]), Err(TranscriptError::Read(_))));
    }

    #[test]
    fn the_sample_has_what_makes_text_hard() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/scripts.jsonl");
        let sample = Transcript::open(Path::new(path)).unwrap();
        let texts: Vec<&str> = sample.chats.iter().flat_map(|chat| &chat.messages).map(|said| &*said.text).collect();
        assert!((20..=40).contains(&texts.len()));
        let all = texts.concat();
        for needed in ['ש', 'ع', 'अ', '東', 'あ', '한', 'ไ', 'ᠮ', '\u{301}', '\u{200d}', '\u{202e}', '🏽', '\n', '\0']
        {
            assert!(all.contains(needed), "{needed:?}");
        }
        assert!(texts.iter().any(|text| text.len() == TEXT_BYTES_MAX));
    }
}
