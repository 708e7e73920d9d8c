//! Where the calls of a layer run, as a type: what a service has to be able to do depends on it.

use fusebox_core::CallError;
use tower_service::Service;

use super::future::{Elsewhere, State};
use crate::{Compartment, ConfigError, call::Call, compartment::outcome};

/// Calls run on the compartment's own threads if it has any, and where they are polled otherwise.
///
/// Which of them it is turns out when the compartment is built, so the service has to be fit for both: `Clone`, and
/// like its futures, requests and answers `Send` and `'static`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anywhere;

/// Calls run where they are polled, and nowhere else: nothing has to be `Send` or `'static`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

/// What the layer of a service has to know of that.
pub(crate) trait Place<S: Service<R>, R> {
    /// Whether a call may run anywhere but here.
    const MAY_BE_ELSEWHERE: bool;

    /// Makes an admitted call, with the instance that is ready.
    fn begin(inner: &mut S, request: R, call: Call, compartment: &Compartment) -> State<S, R>;
}

impl<S, R> Place<S, R> for Anywhere
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    const MAY_BE_ELSEWHERE: bool = true;

    fn begin(inner: &mut S, request: R, mut call: Call, compartment: &Compartment) -> State<S, R> {
        let Some(threads) = compartment.threads() else {
            return Local::begin(inner, request, call, compartment);
        };
        // The next caller gets the clone, which has to become ready itself.
        let clone = inner.clone();
        let mut inner = std::mem::replace(inner, clone);
        let work = async move {
            let result = inner.call(request).await;
            call.finish(outcome(&result));
            result
        };
        Elsewhere::Remote(threads.spawn(work), compartment.clone()).into()
    }
}

impl<S: Service<R>, R> Place<S, R> for Local {
    const MAY_BE_ELSEWHERE: bool = false;

    #[inline]
    fn begin(inner: &mut S, request: R, call: Call, _: &Compartment) -> State<S, R> {
        State::Running {
            // The call exists before the inner service is called: a panic in there gives the slot back.
            future: inner.call(request),
            call,
        }
    }
}

/// A layer can be local in a compartment without threads of its own.
pub(crate) fn can_be_local(compartment: &Compartment) -> Result<(), ConfigError> {
    match compartment.threads() {
        None => Ok(()),
        Some(_) => Err(ConfigError::Conflict {
            field: "local",
            with: "threads",
        }),
    }
}

/// What a plain flavour answers.
pub(crate) type Answer<S, R> =
    Result<<S as Service<R>>::Response, CallError<<S as Service<R>>::Error>>;
