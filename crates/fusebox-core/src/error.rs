use crate::Rejection;

/// The error of every plain flavour: the layer said no, or the inner service failed.
///
/// Generic over the inner error, so nothing is boxed and nothing has to be downcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError<E> {
    /// The layer refused; the inner service was not called.
    Rejected(Rejection),
    /// The inner service's own error, as it was.
    Inner(E),
}

impl<E> CallError<E> {
    /// The refusal, if it was one.
    pub const fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Inner(_) => None,
        }
    }

    /// The inner service's error, if it was one.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E> From<Rejection> for CallError<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E> std::fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rejected(_) => f.write_str("refused before the inner service was called"),
            Self::Inner(_) => f.write_str("the inner service failed"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    /// The refusal or the inner error, as itself: whoever walks the chain can downcast to either,
    /// and [`Rejection::find`] sees a refusal through any number of wrappers.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Inner(error) => Some(error),
        }
    }
}
