//! What a login at another provider carries through a browser and through that provider: nobody between reads or changes
//! it, every process of the deployment opens it, and none of them has to remember it.
//!
//! Text: base64 (URL-safe, without padding) of the sealed bytes. What is sealed for one step opens at no other.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::fleet_secret::{FleetSecret, Purpose};
use crate::seal::{SealError, Sealer};

/// Characters of a sealed text that is opened. What is sealed is half as much.
const TEXT_LEN_MAX: usize = 4_096;

/// For which step something is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowStep {
    /// Goes to the provider, and comes back with its answer.
    State,
    /// What came of it, for whoever began to redeem.
    Result,
    /// What a device polls with.
    Device,
}

impl FlowStep {
    /// Part of what is sealed, so it never changes.
    const fn context(self) -> &'static [u8] {
        match self {
            Self::State => b"panda login state 1",
            Self::Result => b"panda login result 1",
            Self::Device => b"panda login device 1",
        }
    }
}

/// Seals and opens what a login at a provider carries.
#[derive(Clone)]
pub struct FlowSealer(Sealer);

impl FlowSealer {
    /// The sealer of a deployment.
    pub fn new(secret: &FleetSecret) -> Self {
        Self(Sealer::new(&secret.derive(Purpose::ProviderLogin)))
    }

    /// Seals for a step.
    ///
    /// # Errors
    /// [`SealError::Random`] if the system has no random bytes; [`SealError::Invalid`] if it is too long to be opened.
    pub fn seal(&self, step: FlowStep, plain: &[u8]) -> Result<String, SealError> {
        let text = URL_SAFE_NO_PAD.encode(self.0.seal(plain, step.context())?);
        if text.len() > TEXT_LEN_MAX { Err(SealError::Invalid) } else { Ok(text) }
    }

    /// What this deployment sealed for that step; none: it is something else, or was changed.
    pub fn open(&self, step: FlowStep, text: &str) -> Option<Vec<u8>> {
        if text.len() > TEXT_LEN_MAX {
            return None;
        }
        self.0.open(&URL_SAFE_NO_PAD.decode(text).ok()?, step.context()).ok()
    }
}

impl fmt::Debug for FlowSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowSealer(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(digits: &str) -> FlowSealer {
        FlowSealer::new(&FleetSecret::parse(&digits.repeat(32)).unwrap())
    }

    #[test]
    fn what_is_sealed_opens_in_every_process_at_its_step_only() {
        let text = sealer("11").seal(FlowStep::State, b"nonce").unwrap();
        assert_eq!(sealer("11").open(FlowStep::State, &text), Some(b"nonce".to_vec()));
        assert_eq!(sealer("11").open(FlowStep::Result, &text), None);
        assert_eq!(sealer("11").open(FlowStep::Device, &text), None);
        assert_eq!(sealer("22").open(FlowStep::State, &text), None);
        assert!(!text.contains("nonce"));
    }

    #[test]
    fn what_was_changed_or_is_too_long_does_not_open() {
        let sealer = sealer("11");
        let text = sealer.seal(FlowStep::Result, b"x").unwrap();
        for (index, character) in text.char_indices() {
            let mut changed = text.clone();
            changed.replace_range(index..=index, if character == 'A' { "B" } else { "A" });
            assert_eq!(sealer.open(FlowStep::Result, &changed), None, "character {index}");
        }
        assert_eq!(sealer.open(FlowStep::Result, ""), None);
        assert_eq!(sealer.open(FlowStep::Result, &"A".repeat(TEXT_LEN_MAX + 1)), None);
        assert_eq!(sealer.seal(FlowStep::Result, &[0; TEXT_LEN_MAX]), Err(SealError::Invalid));
    }
}
