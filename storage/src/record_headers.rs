//! What is told of a record of the command log beside its bytes: who appended it, and whose trace it is a part of.
//! No router's decision depends on it.

use std::fmt;
use std::str::FromStr;

use panda_protocol::TraceContext;
use panda_protocol::link::LinkId;

/// The header with who appended, as [`Appender`] is written.
pub(crate) const FROM_HEADER: &str = "panda-from";
/// The header with the trace context, as W3C Trace Context names and writes it.
pub(crate) const TRACE_HEADER: &str = "traceparent";

/// The target of the lines in the log that say how long the steps of a sampled command took. Nothing is done for them
/// while it is off. Filters match targets by how they begin: no module can have this one.
pub const TRACE_TARGET: &str = "panda.trace";

/// Who appended a record. In a header and in the log it is one word: `edge-` or `router-` and 16 hexadecimal digits,
/// or `admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appender {
    /// An edge, or an HTTP API, by the name of its end of the links: its own log says it where links are opened, and a
    /// router's with the address from which it came.
    Edge(LinkId),
    /// A router, by the number that it took at its start.
    Router(u64),
    /// A command of `panda admin`.
    Admin,
}

impl fmt::Display for Appender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge(link) => write!(out, "edge-{:016x}", link.0),
            Self::Router(router) => write!(out, "router-{router:016x}"),
            Self::Admin => out.write_str("admin"),
        }
    }
}

/// The text names nobody whom this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no name of who appends")]
pub struct UnknownAppender;

impl FromStr for Appender {
    type Err = UnknownAppender;

    fn from_str(text: &str) -> Result<Self, UnknownAppender> {
        let number = |digits: &str| {
            let are_digits = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            are_digits.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(UnknownAppender)
        };
        match text.split_once('-') {
            Some(("edge", link)) => Ok(Self::Edge(LinkId(number(link)?))),
            Some(("router", router)) => Ok(Self::Router(number(router)?)),
            None if text == "admin" => Ok(Self::Admin),
            _ => Err(UnknownAppender),
        }
    }
}

/// The headers of a record. Records of an older release have none, and what cannot be read is taken for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHeaders {
    /// Who appended it.
    pub from: Option<Appender>,
    /// In whose context it is to be followed.
    pub trace: Option<TraceContext>,
}

impl From<Appender> for RecordHeaders {
    fn from(from: Appender) -> Self {
        Self { from: Some(from), trace: None }
    }
}

impl RecordHeaders {
    /// These headers, in a context.
    #[must_use]
    pub const fn traced(self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self }
    }
}

/// Reads a record's headers, one after another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeaderReader {
    headers: RecordHeaders,
    traces: usize,
}

impl HeaderReader {
    /// Takes in a header; one that says nothing that is known changes nothing. Of several trace contexts nobody knows which
    /// one is meant: then there is none, as in an HTTP request.
    pub(crate) fn take(&mut self, key: &str, value: Option<&[u8]>) {
        let text = value.and_then(|value| str::from_utf8(value).ok());
        match key {
            FROM_HEADER => self.headers.from = text.and_then(|text| text.parse().ok()).or(self.headers.from),
            TRACE_HEADER => {
                self.traces += 1;
                self.headers.trace = text.filter(|_| self.traces == 1).and_then(|text| text.parse().ok());
            }
            _ => {}
        }
    }

    /// What they said.
    pub(crate) const fn read(self) -> RecordHeaders {
        self.headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_appends_is_one_word_and_is_read_back() {
        for (from, word) in [
            (Appender::Edge(LinkId(0x1f)), "edge-000000000000001f"),
            (Appender::Router(u64::MAX), "router-ffffffffffffffff"),
            (Appender::Admin, "admin"),
        ] {
            assert_eq!(from.to_string(), word);
            assert_eq!(word.parse(), Ok(from));
        }
        for word in
            ["", "edge", "edge-", "edge-1f", "edge-+00000000000001f", "edge-000000000000001F", "clerk-1", "admin-"]
        {
            assert_eq!(word.parse::<Appender>(), Err(UnknownAppender), "{word}");
        }
    }

    #[test]
    fn headers_that_nobody_knows_or_that_are_garbage_change_nothing_and_a_second_context_leaves_none() {
        let trace = TraceContext::new([1; 16], [2; 8], 1).unwrap();
        let (word, text) = (Appender::Router(7).to_string(), trace.to_string());
        let mut headers = HeaderReader::default();
        for (key, value) in [(FROM_HEADER, &word), (TRACE_HEADER, &text)] {
            headers.take(key, Some(value.as_bytes()));
        }
        let good = RecordHeaders::from(Appender::Router(7)).traced(Some(trace));
        assert_eq!(headers.read(), good);
        let garbage = [None, Some(&b""[..]), Some(&[0xff; 9]), Some(&[b'0'; 100_000])];
        for key in [FROM_HEADER, "tracestate", ""] {
            for value in garbage {
                headers.take(key, value);
                assert_eq!(headers.read(), good);
            }
        }
        for value in garbage.into_iter().chain([Some(text.as_bytes())]) {
            let mut headers = headers;
            headers.take(TRACE_HEADER, value);
            assert_eq!(headers.read(), good.traced(None), "nobody knows which one is meant");
            headers.take(TRACE_HEADER, Some(text.as_bytes()));
            assert_eq!(headers.read(), good.traced(None));
        }
    }
}
