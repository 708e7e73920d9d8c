//! Who has which key. In a service this is a table of the database, behind a cache.

use std::collections::HashMap;
use std::sync::Arc;

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: Arc<str>,
    /// What it pays for.
    pub plan: Plan,
}

/// What a customer pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Free,
    /// More.
    Paid,
}

/// Accounts by their keys.
#[derive(Clone, Debug, Default)]
pub struct Accounts(HashMap<Vec<u8>, Account>);

impl Accounts {
    /// Adds a key of an account; an account may have several.
    #[must_use]
    pub fn with(mut self, key: &str, name: &str, plan: Plan) -> Self {
        let name = name.into();
        self.0.insert(key.into(), Account { name, plan });
        self
    }

    /// The account of a key.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Account> {
        self.0.get(key)
    }
}
