use std::hash::Hash;

/// A key, or something that is as good as one: borrowed from a request, say, so that a call whose circuit is there
/// allocates nothing.
///
/// It must hash as the key that it is like. A key is like itself, and so is a reference to one.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use fusebox_circuit_breaker::{Breaker, KeyLike};
/// use fusebox_core::Outcome;
///
/// #[derive(Hash)]
/// struct Host<'a>(&'a str);
///
/// impl KeyLike<String> for Host<'_> {
///     fn is(&self, key: &String) -> bool {
///         self.0 == key
///     }
///     fn into_key(self) -> String {
///         self.0.to_owned()
///     }
/// }
///
/// let hosts = Breaker::builder("hosts").keyed().build::<String>()?;
/// hosts.try_pass(Host("db-1"))?.end(Outcome::Success);
/// assert_eq!(hosts.states().len(), 1);
/// # Ok(())
/// # }
/// ```
pub trait KeyLike<K>: Hash {
    /// Whether it is like that key.
    fn is(&self, key: &K) -> bool;

    /// The key that it is like; for a circuit that is not there yet.
    fn into_key(self) -> K;
}

impl<K: Hash + Eq> KeyLike<Self> for K {
    #[inline]
    fn is(&self, key: &K) -> bool {
        self == key
    }

    #[inline]
    fn into_key(self) -> K {
        self
    }
}

impl<K: Hash + Eq + Clone> KeyLike<K> for &K {
    #[inline]
    fn is(&self, key: &K) -> bool {
        *self == key
    }

    #[inline]
    fn into_key(self) -> K {
        self.clone()
    }
}
