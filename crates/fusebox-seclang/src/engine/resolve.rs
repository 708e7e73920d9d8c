//! What is asked of a caller's resolvers.

use std::net::IpAddr;

use super::Engine;
use super::texts::TextId;

/// What a lookup counts as in work, in bytes: a search in a table in memory.
const LOOKUP: u64 = 256;

/// A location database tells a dozen words; one that does not stop is not listened to.
const MAX_FIELDS: usize = 32;

impl Engine<'_> {
    pub(super) fn is_listed(&mut self, list: &str, text: TextId) -> bool {
        self.state.work += LOOKUP;
        let Some(lists) = &self.program.resolvers.block_lists else {
            return false;
        };
        let Ok(subject) = std::str::from_utf8(self.state.texts.get(text)) else {
            return false;
        };
        match subject.parse::<IpAddr>() {
            Ok(address) => lists.is_listed(list, &address.to_canonical().to_string()),
            Err(_) => lists.is_listed(list, subject),
        }
    }

    /// Fills GEO; whether there is anything in it.
    pub(super) fn locate(&mut self, text: TextId) -> bool {
        self.state.work += LOOKUP;
        self.state.geo.clear();
        let Some(database) = &self.program.resolvers.geo else {
            return false;
        };
        let address = std::str::from_utf8(self.state.texts.get(text))
            .ok()
            .and_then(|text| text.parse::<IpAddr>().ok());
        let Some(address) = address else {
            return false;
        };
        let (texts, geo) = (&mut self.state.texts, &mut self.state.geo);
        database.locate(address.to_canonical(), &mut |field, value| {
            if geo.len() < MAX_FIELDS {
                geo.push((
                    texts.push(field.name().as_bytes()),
                    texts.push(value.as_bytes()),
                ));
            }
        })
    }
}
