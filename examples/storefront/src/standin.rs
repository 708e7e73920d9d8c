//! TEMPORARY: the shape of fusebox-bulkhead, until it is there.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::{runtime::Runtime, sync::Semaphore};
use tower::{Layer, Service};

#[derive(Clone, Debug)]
pub struct Compartment(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    slots: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    wait: Duration,
    runtime: Option<Runtime>,
    refused: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug)]
pub struct Builder {
    name: String,
    slots: usize,
    queue: (usize, Duration),
    threads: Option<usize>,
    nice: i32,
}

#[derive(Debug)]
pub struct Refused;
impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}
impl std::error::Error for Refused {}

impl Builder {
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }
    pub fn queue(mut self, length: usize, wait: Duration) -> Self {
        self.queue = (length, wait);
        self
    }
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }
    pub fn nice(mut self, nice: i32) -> Self {
        self.nice = nice;
        self
    }
    pub fn build(self) -> std::io::Result<Compartment> {
        let nice = self.nice;
        let runtime = self
            .threads
            .map(|threads| {
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(threads)
                    .thread_name(&self.name)
                    .enable_all()
                    .on_thread_start(move || {
                        if nice != 0 {
                            let _ = rustix::process::setpriority_process(
                                Some(rustix::thread::gettid()),
                                nice,
                            );
                        }
                    })
                    .build()
            })
            .transpose()?;
        Ok(Compartment(Arc::new(Inner {
            name: self.name,
            slots: Arc::new(Semaphore::new(self.slots)),
            queue: Arc::new(Semaphore::new(self.queue.0)),
            wait: self.queue.1,
            runtime,
            refused: AtomicU64::new(0),
        })))
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);
impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Compartment {
    pub fn builder(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            slots: 1,
            queue: (0, Duration::ZERO),
            threads: None,
            nice: 0,
        }
    }

    pub async fn run<F>(&self, future: F) -> Result<F::Output, Refused>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let slot = match Arc::clone(&self.0.slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                let refuse = |_| {
                    self.0.refused.fetch_add(1, Ordering::Relaxed);
                    Refused
                };
                let _place = Arc::clone(&self.0.queue)
                    .try_acquire_owned()
                    .map_err(refuse)?;
                match tokio::time::timeout(self.0.wait, Arc::clone(&self.0.slots).acquire_owned())
                    .await
                {
                    Ok(Ok(slot)) => slot,
                    _ => {
                        self.0.refused.fetch_add(1, Ordering::Relaxed);
                        return Err(Refused);
                    }
                }
            }
        };
        let future = async move {
            let output = future.await;
            drop(slot);
            output
        };
        match &self.0.runtime {
            Some(runtime) => {
                let mut task = AbortOnDrop(runtime.spawn(future));
                (&mut task.0).await.map_err(|_| Refused)
            }
            None => Ok(future.await),
        }
    }

    pub fn layer(&self) -> BulkheadLayer {
        BulkheadLayer(self.clone())
    }

    pub fn snapshot(&self) -> serde_json::Value {
        serde_json::json!({"name": self.0.name, "refused": self.0.refused.load(Ordering::Relaxed)})
    }

    pub async fn shutdown(&self) {}
}

#[derive(Clone, Debug)]
pub struct BulkheadLayer(Compartment);

impl<S> Layer<S> for BulkheadLayer {
    type Service = Bulkhead<S>;
    fn layer(&self, inner: S) -> Self::Service {
        Bulkhead {
            inner,
            compartment: self.0.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Bulkhead<S> {
    inner: S,
    compartment: Compartment,
}

impl<S> Service<Request<Body>> for Bulkhead<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, clone);
        let compartment = self.compartment.clone();
        Box::pin(async move {
            match compartment
                .run(async move { ready.call(request).await })
                .await
            {
                Ok(result) => result,
                Err(Refused) => Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()),
            }
        })
    }
}
