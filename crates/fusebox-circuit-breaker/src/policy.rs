use fusebox_core::{Outcome, Rejection};

use crate::End;

#[cfg(feature = "http")]
pub use errors::{JudgeError, LooksIntoBoxes};

/// Which results of a call are failures, where nothing is known of HTTP.
///
/// A closure `Fn(Result<&T, &E>) -> End` is one.
pub trait JudgeResult<T, E>: Send + Sync {
    /// How a call ended that returned this.
    fn judge(&self, result: Result<&T, &E>) -> End;
}

/// Every error is a failure, except a [`Rejection`] somewhere in its chain: a layer on this side has
/// refused, and the dependency was never asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefusalsAreNeutral;

impl<T, E: std::error::Error + 'static> JudgeResult<T, E> for RefusalsAreNeutral {
    #[inline]
    fn judge(&self, result: Result<&T, &E>) -> End {
        match result {
            Ok(_) => Outcome::Success.into(),
            Err(error) => End {
                local: Rejection::find(error).is_some(),
                ..Outcome::Failure.into()
            },
        }
    }
}

/// Every error is a failure, of whatever type it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorsAreFailures;

impl<T, E> JudgeResult<T, E> for ErrorsAreFailures {
    #[inline]
    fn judge(&self, result: Result<&T, &E>) -> End {
        match result {
            Ok(_) => Outcome::Success.into(),
            Err(_) => Outcome::Failure.into(),
        }
    }
}

impl<T, E, F> JudgeResult<T, E> for F
where
    F: Fn(Result<&T, &E>) -> End + Send + Sync,
{
    #[inline]
    fn judge(&self, result: Result<&T, &E>) -> End {
        self(result)
    }
}

#[cfg(feature = "http")]
mod errors {
    use std::{any::Any, error::Error};

    use super::{End, ErrorsAreFailures, Outcome, RefusalsAreNeutral, Rejection};

    /// What an HTTP service's errors say of the dependency. Its answers are
    /// [`Classify`](fusebox_http::Classify)'s business.
    ///
    /// A closure `Fn(&E) -> End` is one. What the caller has done itself (its request body broke off, it gave
    /// up) is [`Outcome::Cancelled`]; what never reached the dependency is [`local`](End::local).
    pub trait JudgeError<E>: Send + Sync {
        /// How a call ended that returned this.
        fn judge_error(&self, error: &E) -> End;
    }

    /// Every error is a failure, of whatever type it is; but a boxed one (tower's `BoxError`) is looked into,
    /// and a [`Rejection`] somewhere in its chain says nothing about the dependency.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct LooksIntoBoxes;

    impl<E: 'static> JudgeError<E> for LooksIntoBoxes {
        #[inline]
        fn judge_error(&self, error: &E) -> End {
            // Which it is the compiler knows. A bound would shut out either the boxes, which are no `Error`
            // themselves, or everything else.
            let error: &dyn Any = error;
            let inside: Option<&(dyn Error + 'static)> =
                if let Some(error) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
                    Some(&**error)
                } else if let Some(error) = error.downcast_ref::<Box<dyn Error + Send>>() {
                    Some(&**error)
                } else if let Some(error) = error.downcast_ref::<Box<dyn Error>>() {
                    Some(&**error)
                } else {
                    None
                };
            inside.map_or_else(|| Outcome::Failure.into(), failed_unless_refused)
        }
    }

    impl<E: Error + 'static> JudgeError<E> for RefusalsAreNeutral {
        fn judge_error(&self, error: &E) -> End {
            failed_unless_refused(error)
        }
    }

    impl<E> JudgeError<E> for ErrorsAreFailures {
        fn judge_error(&self, _: &E) -> End {
            Outcome::Failure.into()
        }
    }

    impl<E, F> JudgeError<E> for F
    where
        F: Fn(&E) -> End + Send + Sync,
    {
        fn judge_error(&self, error: &E) -> End {
            self(error)
        }
    }

    /// The end of a call that returned this: a failure, unless a layer on this side has refused.
    fn failed_unless_refused(error: &(dyn Error + 'static)) -> End {
        End {
            local: Rejection::find(error).is_some(),
            ..Outcome::Failure.into()
        }
    }
}
