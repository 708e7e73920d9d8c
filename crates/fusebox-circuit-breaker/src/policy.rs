use fusebox_core::{Outcome, Rejection};

use crate::End;

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
