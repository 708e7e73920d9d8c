use super::BodyError;

/// How much a body may contain, whatever its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many arguments: `SecArgumentsLimit`.
    pub arguments: usize,
    /// How many bytes the names and values of all arguments may have together.
    ///
    /// A body cannot be shorter than its values, but in JSON it can be far shorter than the names: every value of an
    /// array below a long key has that key in its name.
    pub argument_bytes: usize,
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
            arguments: 65_536,
            argument_bytes: 8 << 20,
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
}

impl Budget {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            arguments: limits.arguments,
            bytes: limits.argument_bytes,
        }
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
                limit: self.limits.argument_bytes,
            })?;
        Ok(())
    }
}
