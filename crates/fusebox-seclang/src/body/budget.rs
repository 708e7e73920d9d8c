use super::BodyError;

/// How much a body may contain, whatever its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many arguments: `SecArgumentsLimit`.
    pub arguments: usize,
    /// How many bytes the names and values of all arguments may have together.
    ///
    /// A body cannot be shorter than its values, but in JSON it can be far shorter than the names: every value of an
    /// array below a long key has that key in its name. Long bodies may have more: [`argument_growth`].
    ///
    /// [`argument_growth`]: Self::argument_growth
    pub argument_bytes: usize,
    /// How many bytes of names and values each byte of the body allows beside.
    pub argument_growth: usize,
    /// How deep JSON may be nested: `SecRequestBodyJsonDepthLimit`.
    pub json_depth: usize,
    /// How deep XML may be nested.
    pub xml_depth: usize,
    /// How many headers a part of a multipart body may have.
    pub part_headers: usize,
}

impl Default for Limits {
    /// What an order of 100 KiB in JSON needs, several times over; depths as ModSecurity and libxml2 have them.
    fn default() -> Self {
        Self {
            // An order of 100 KiB has five thousand values; each costs every rule that looks at arguments.
            arguments: 8_192,
            argument_bytes: 1 << 20,
            // Coordinates in GeoJSON have names of sixty bytes for values of eight.
            argument_growth: 8,
            json_depth: 512,
            xml_depth: 256,
            part_headers: 64,
        }
    }
}

/// What is left of the limits.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    arguments: usize,
    bytes: usize,
    /// All that was allowed, for the error.
    allowed: usize,
}

impl Budget {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            arguments: limits.arguments,
            bytes: limits.argument_bytes,
            allowed: limits.argument_bytes,
        }
    }

    /// Notes that more of the body has come.
    pub(super) const fn grow(&mut self, body: usize) {
        let more = body.saturating_mul(self.limits.argument_growth);
        self.bytes = self.bytes.saturating_add(more);
        self.allowed = self.allowed.saturating_add(more);
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Pays for one value of this length, name included.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.arguments = self
            .arguments
            .checked_sub(1)
            .ok_or(BodyError::TooManyArguments {
                limit: self.limits.arguments,
            })?;
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .ok_or(BodyError::ArgumentsTooLong {
                limit: self.allowed,
            })?;
        Ok(())
    }
}
