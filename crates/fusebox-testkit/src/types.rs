//! The bounds that tower's users put on layers, as functions that compile or do not.

use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::Subject;

/// Compiles if `L` can be a layer of an axum router: it is cloned per route and shared by threads.
///
/// ```
/// fusebox_testkit::assert_layer::<tower_layer::Identity>();
/// ```
/// ```compile_fail,E0277
/// #[derive(Clone)]
/// struct OfOneThread(std::rc::Rc<()>);
/// fusebox_testkit::assert_layer::<OfOneThread>();
/// ```
pub const fn assert_layer<L: Clone + Send + Sync + 'static>() {}

/// Compiles if `S` can serve `R` in axum, tonic and hyper: it is cloned per connection, shared by
/// threads, and its futures are spawned.
///
/// ```
/// # use fusebox_testkit::{MockBody, MockService};
/// fusebox_testkit::assert_service::<MockService, http::Request<MockBody>>();
/// ```
/// ```compile_fail,E0277
/// # use std::{convert::Infallible, future::Ready, rc::Rc, task::{Context, Poll}};
/// #[derive(Clone)]
/// struct FutureNotSend;
/// impl tower_service::Service<()> for FutureNotSend {
///     type Response = Rc<()>;
///     type Error = Infallible;
///     type Future = Ready<Result<Rc<()>, Infallible>>;
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
///         Poll::Ready(Ok(()))
///     }
///     fn call(&mut self, _: ()) -> Self::Future {
///         std::future::ready(Ok(Rc::new(())))
///     }
/// }
/// fusebox_testkit::assert_service::<FutureNotSend, ()>();
/// ```
pub const fn assert_service<S, R>()
where
    S: Service<R, Future: Send + 'static> + Clone + Send + Sync + 'static,
{
}

/// Compiles if `B` can be the body of a response in axum, tonic and hyper.
///
/// ```
/// fusebox_testkit::assert_body::<fusebox_testkit::MockBody>();
/// ```
/// ```compile_fail,E0277
/// # use std::{convert::Infallible, pin::Pin, rc::Rc, task::{Context, Poll}};
/// struct NotSend(Rc<()>);
/// impl http_body::Body for NotSend {
///     type Data = bytes::Bytes;
///     type Error = Infallible;
///     fn poll_frame(
///         self: Pin<&mut Self>,
///         _: &mut Context<'_>,
///     ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
///         Poll::Ready(None)
///     }
/// }
/// fusebox_testkit::assert_body::<NotSend>();
/// ```
pub const fn assert_body<B>()
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
}

/// Compiles if the service that `L` makes of `I` fails as `I` fails, and in no other way.
///
/// ```
/// # use fusebox_testkit::{MockBody, MockService};
/// # type Request = http::Request<MockBody>;
/// fusebox_testkit::assert_error_is_the_inners::<tower_layer::Identity, MockService, Request>();
/// ```
/// ```compile_fail,E0271
/// # use std::{future::Ready, task::{Context, Poll}};
/// # use fusebox_testkit::{MockBody, MockService};
/// # type Request = http::Request<MockBody>;
/// #[derive(Clone)]
/// struct Boxing;
/// impl<S> tower_layer::Layer<S> for Boxing {
///     type Service = Boxing;
///     fn layer(&self, _: S) -> Boxing {
///         Boxing
///     }
/// }
/// impl tower_service::Service<Request> for Boxing {
///     type Response = ();
///     type Error = Box<dyn std::error::Error + Send + Sync>;
///     type Future = Ready<Result<(), Self::Error>>;
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
///         Poll::Ready(Ok(()))
///     }
///     fn call(&mut self, _: Request) -> Self::Future {
///         std::future::ready(Ok(()))
///     }
/// }
/// fusebox_testkit::assert_error_is_the_inners::<Boxing, MockService, Request>();
/// ```
pub const fn assert_error_is_the_inners<L, I, R>()
where
    I: Service<R>,
    L: Layer<I, Service: Service<R, Error = I::Error>>,
{
}

/// All of the above for a subject; that it implements [`Subject`] says as much already.
pub(crate) const fn assert_subject<S: Subject>() {
    type Request = http::Request<crate::MockBody>;
    assert_layer::<S::Layer>();
    assert_service::<<S::Layer as Layer<crate::MockService>>::Service, Request>();
    assert_body::<S::Body>();
    assert_error_is_the_inners::<S::Layer, crate::MockService, Request>();
}
