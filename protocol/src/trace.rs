//! The context in which somebody follows a command through the processes: W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>, section 3.2), as text in headers and as bytes in a Command.

use core::fmt;
use core::str::FromStr;

use crate::codec::Writer;

/// Bytes of a context in a frame: trace, parent span, flags.
pub const TRACE_CONTEXT_BYTES: usize = 25;
/// Characters of a `traceparent` of version 00, the one that is written.
pub const TRACEPARENT_LEN: usize = 55;

/// The caller may have recorded the trace, and asks others to do so.
const SAMPLED: u8 = 0x01;
/// At least the last seven bytes of the trace's identifier are random.
const RANDOM: u8 = 0x02;
/// Flags that have a meaning. All others are passed on as zero, as the standard wants it.
const KNOWN_FLAGS: u8 = SAMPLED | RANDOM;

/// A trace, and the span in it that a command is a part of. Neither identifier is all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    parent: [u8; 8],
    flags: u8,
}

/// The text is no `traceparent`, or one whose identifiers are all zeros: it is to be taken for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no traceparent")]
pub struct InvalidTraceparent;

impl TraceContext {
    /// A context; none where an identifier is all zeros, which is no identifier. Flags without a meaning are dropped.
    pub fn new(trace: [u8; 16], parent: [u8; 8], flags: u8) -> Option<Self> {
        (trace != [0; 16] && parent != [0; 8]).then_some(Self { trace, parent, flags: flags & KNOWN_FLAGS })
    }

    /// Whether what is done in this context is to be recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's identifier, as 32 digits.
    pub fn trace_id(&self) -> impl fmt::Display + fmt::Debug {
        Hex(self.trace)
    }

    /// The identifier of the span that the sender was in, as 16 digits.
    pub fn parent_span(&self) -> impl fmt::Display + fmt::Debug {
        Hex(self.parent)
    }

    /// What stands behind a command's body: a context, if these bytes begin with `01` and a valid one. Any others are
    /// of a later version or of a sender who is wrong, and are ignored as bytes behind a frame's end are.
    pub fn behind_body(bytes: &[u8]) -> Option<Self> {
        let context: &[u8; TRACE_CONTEXT_BYTES] = bytes.strip_prefix(&[1])?.first_chunk()?;
        let (trace, rest) = context.split_first_chunk::<16>()?;
        let (parent, rest) = rest.split_first_chunk::<8>()?;
        Self::new(*trace, *parent, *rest.first()?)
    }

    /// Writes what [`Self::behind_body`] reads.
    pub(crate) fn encode_behind_body(&self, out: &mut Writer) {
        out.u8(1);
        out.raw(&self.trace);
        out.raw(&self.parent);
        out.u8(self.flags);
    }
}

/// A `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "00-{}-{}-{:02x}", Hex(self.trace), Hex(self.parent), self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    /// Reads a `traceparent`, also of a later version, of which only what version 00 has is taken.
    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        parse(text.as_bytes()).ok_or(InvalidTraceparent)
    }
}

fn parse(text: &[u8]) -> Option<TraceContext> {
    let (known, more) = text.split_at_checked(TRACEPARENT_LEN)?;
    let [version] = digits(known.get(..2)?)?;
    // The standard forbids version ff; a later one may have more behind another dash.
    let ends = more.is_empty() || (version > 0 && more.starts_with(b"-"));
    let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
    if version == 0xff || !ends || !dashes {
        return None;
    }
    let (trace, parent) = (digits(known.get(3..35)?)?, digits(known.get(36..52)?)?);
    let [flags] = digits(known.get(53..55)?)?;
    // What a later version's other flags mean is not known.
    TraceContext::new(trace, parent, if version == 0 { flags } else { flags & SAMPLED })
}

/// Bytes of exactly so many hexadecimal digits, all in lower case.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Bytes as hexadecimal digits.
struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
