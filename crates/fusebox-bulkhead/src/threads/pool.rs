use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fusebox_core::{Name, sync::lock};
use http_body::Body;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{Notify, Semaphore, TryAcquireError},
};
use tracing::{Instrument, Span};

use super::{
    RemoteBody, StartError, Task, ThreadSettings, priority::Priority, processors::Pinned,
    task::Running,
};

/// The threads of a compartment. Copies are handles of the same threads.
///
/// Work that was begun keeps them alive, whatever becomes of the handles; when there is neither, they
/// stop. The last handle may be dropped anywhere, in an async context and on the threads themselves.
///
/// How much work there may be at once is for the compartment's slots to say; nothing here queues a
/// call that has none. Of what is spawned, futures share the workers by their awaits, and functions
/// wait outside until a blocking thread is free for them, so that whoever gives up waiting leaves
/// nothing behind.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::{num::NonZeroUsize, time::Duration};
/// use fusebox_bulkhead::threads::{ThreadSettings, Threads};
///
/// let five = NonZeroUsize::new(5).unwrap();
/// let threads = Threads::start(&"analytics".into(), ThreadSettings::new(five))?;
///
/// let sum = threads.spawn(async { (1..=1_000_000_u64).sum::<u64>() });
/// assert_eq!(sum.await, Ok(500_000_500_000));
///
/// let cut_off = threads.shutdown(Duration::from_secs(5)).await;
/// assert_eq!(cut_off, 0);
/// # Ok::<_, fusebox_bulkhead::threads::StartError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Threads(Arc<Shared>);

struct Shared {
    handle: Handle,
    /// `None` once shut down. The handle of a runtime outlives it, so no call takes this lock.
    runtime: Mutex<Option<Runtime>>,
    /// As many permits as blocking threads: tokio's own queue for them has no bound, and what is
    /// cancelled while in it stays there until a thread comes by.
    blocking: Arc<Semaphore>,
    in_flight: AtomicUsize,
    /// Told when `in_flight` gets to zero.
    idle: Notify,
}

/// One piece of work that was begun and is not over.
struct InFlight(Arc<Shared>);

impl Threads {
    /// Starts the threads of the compartment with this name. They carry it, as far as the operating
    /// system shows it (15 bytes on Linux).
    ///
    /// # Errors
    /// [`StartError`] when the operating system gives no more threads.
    pub fn start(name: &Name, settings: ThreadSettings) -> Result<Self, StartError> {
        let ThreadSettings {
            workers,
            nice,
            processors,
            blocking,
        } = settings;
        let blocking = blocking.unwrap_or(workers).get();
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(workers.get())
            .max_blocking_threads(blocking)
            // What was given is kept: see below, and the system may not give it again.
            .thread_keep_alive(Duration::MAX)
            // A name with a zero byte is a panic of the standard library.
            .thread_name(name.as_str().replace('\0', ""))
            .enable_all();
        let priority = nice.map(|steps| Priority::below_this_thread(name.clone(), steps));
        let pinned = processors.map(|processors| Pinned::to(processors, name.clone()));
        builder.on_thread_start(move || {
            if let Some(priority) = &priority {
                priority.take();
            }
            if let Some(pinned) = &pinned {
                pinned.take();
            }
        });
        // One more, for blocking work.
        let runtime = could_start(workers.saturating_add(1))
            .and_then(|()| builder.build())
            .map_err(|source| StartError::new(name, workers, source))?;
        // The first blocking thread now, and the others when needed. When the system gives no more, work
        // waits for one that there is; without any, tokio would panic in the caller or keep the work in
        // its queue for ever.
        drop(runtime.spawn_blocking(|| ()));
        Ok(Self(Arc::new(Shared {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            blocking: Arc::new(Semaphore::new(blocking.min(Semaphore::MAX_PERMITS))),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
        })))
    }

    /// Runs a future on the threads, inside the caller's `tracing` span.
    ///
    /// It runs whether or not the task is polled, and is cancelled when the task is dropped. Timers and
    /// sockets it makes are the compartment's too; one made elsewhere and moved in is still driven by
    /// the runtime that it was made on.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        Task::running(self.run(future))
    }

    pub(super) fn run<F>(&self, future: F) -> Running<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let in_flight = self.begin();
        let work = async move {
            let _in_flight = in_flight;
            future.await
        };
        self.0.handle.spawn(work.in_current_span()).into()
    }

    /// Runs a synchronous function on a blocking thread, inside the caller's `tracing` span.
    ///
    /// If every blocking thread is taken it waits for one, first come first served, while the task is
    /// polled. Dropping the task ends the wait and drops the function; what has begun runs to its end.
    pub fn spawn_blocking<F, T>(&self, function: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let in_flight = self.begin();
        let span = Span::current();
        let work = move |permit| {
            let handle = in_flight.0.handle.clone();
            let function = move || {
                let _held = (permit, in_flight);
                span.in_scope(function)
            };
            Running::from(handle.spawn_blocking(function))
        };
        let blocking = self.0.blocking.clone();
        match blocking.clone().try_acquire_owned() {
            Ok(permit) => Task::running(work(permit)),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                Task::waiting(Box::pin(async move {
                    // An error is a shutdown.
                    let permit = blocking.acquire_owned().await.ok()?;
                    Some(work(permit))
                }))
            }
        }
    }

    /// Produces the frames of `body` on the threads, a few ahead of whoever reads them.
    ///
    /// Call it on the threads, from the future that made the body. `hold` is what the call holds, its
    /// slot for example: it is dropped after the body, as soon as that has ended, broken off, panicked
    /// or lost its reader, and before the reader is told the end.
    pub fn body<B, H>(&self, body: B, hold: H) -> RemoteBody<B::Data, B::Error>
    where
        B: Body<Data: Send, Error: Send> + Send + 'static,
        H: Send + 'static,
    {
        RemoteBody::start(self, body, hold)
    }

    /// Whether the caller is on these threads.
    pub(super) fn are_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.0.handle.id())
    }

    /// Pieces of work that were begun and are not over: futures, functions (also those that wait for a
    /// thread), and bodies.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Acquire)
    }

    /// Waits until no work is in flight, at most as long as `patience`, and stops the threads. Returns
    /// how many pieces of work were cut off.
    ///
    /// It does not keep new work away; whoever admits calls stops first. What is cut off is dropped at
    /// its next await and [`Lost::ShutDown`](super::Lost::ShutDown) to whoever waits for it, as is
    /// everything spawned later. A function that is running cannot be stopped: its thread ends with it.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the threads running; it can be asked again.
    pub async fn shutdown(&self, patience: Duration) -> usize {
        let _ = tokio::time::timeout(patience, self.0.idle()).await;
        let cut_off = self.in_flight();
        self.0.stop();
        cut_off
    }

    fn begin(&self) -> InFlight {
        // The count guards nothing, so only its end has to be ordered (with what the work did).
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.0.clone())
    }
}

/// Whether the operating system gives so many threads at once.
///
/// Tried out, because tokio panics when it gets no more, and in the middle of that waits for ever for
/// those that it did get.
fn could_start(threads: NonZeroUsize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // Nobody leaves before everybody has come.
        let closed = lock(&gate);
        let mut started = Vec::new();
        let all = (0..threads.get()).try_for_each(|_| {
            let thread = thread::Builder::new();
            started.push(thread.spawn_scoped(scope, || drop(lock(&gate)))?);
            Ok(())
        });
        drop(closed);
        // One by one, because a scope waits only for what they do: their stacks may still be there when it ends, and
        // take the place of those that are to come.
        for thread in started {
            // It does nothing that could panic.
            let _ = thread.join();
        }
        all
    })
}

impl Shared {
    async fn idle(&self) {
        loop {
            // Before the look at the count: a wake-up from here on is not missed.
            let told = self.idle.notified();
            if self.in_flight.load(Ordering::Acquire) == 0 {
                return;
            }
            told.await;
        }
    }

    /// Without waiting for the threads: a runtime that is merely dropped waits, and panics when it must
    /// not, which is in an async context.
    fn stop(&self) {
        self.blocking.close();
        let runtime = lock(&self.runtime).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::Release) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads")
            .field("workers", &self.0.handle.metrics().num_workers())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::resume_unwind,
        sync::{Barrier, mpsc},
    };

    use tokio::sync::oneshot;

    use super::*;
    use crate::threads::{Lost, Processors, testing::*};

    /// As a panic, without a word on the standard error.
    fn unwind() -> ! {
        resume_unwind(Box::new("a test wants it"))
    }

    #[tokio::test]
    async fn work_runs_on_threads_named_after_the_compartment() {
        let threads = threads(2);
        let name = || thread::current().name().map(str::to_owned);
        let worker = within(threads.spawn(async move { name() })).await;
        assert_eq!(worker, Ok(Some("compartment".to_owned())));
        let blocking = within(threads.spawn_blocking(name)).await;
        assert_eq!(blocking, Ok(Some("compartment".to_owned())));
        assert_ne!(name(), Some("compartment".to_owned()));
    }

    #[test]
    fn a_name_the_system_does_not_take_is_no_panic() {
        let settings = ThreadSettings::new(NonZeroUsize::MIN);
        assert!(Threads::start(&"pay\0ments".into(), settings).is_ok());
    }

    #[tokio::test]
    async fn there_are_as_many_workers_as_asked_for() {
        let threads = threads(3);
        // Each blocks its worker until there are three of them.
        let barrier = Arc::new(Barrier::new(3));
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let barrier = barrier.clone();
                threads.spawn(async move { barrier.wait() })
            })
            .collect();
        for task in tasks {
            within(task).await.unwrap();
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn workers_and_blocking_threads_are_nice_and_the_caller_is_not() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let one = NonZeroUsize::MIN;
        let settings = ThreadSettings {
            nice: Some(5),
            ..ThreadSettings::new(one)
        };
        let threads = Threads::start(&"compartment".into(), settings).unwrap();
        let expected = (before + 5).min(19);
        let worker = within(threads.spawn(async move { niceness() })).await;
        assert_eq!(worker, Ok(expected));
        let blocking = within(threads.spawn_blocking(niceness)).await;
        assert_eq!(blocking, Ok(expected));
        assert_eq!(niceness(), before);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn workers_and_blocking_threads_keep_to_their_processors() {
        let all = Processors::available();
        let (_, half) = all.halves();
        let settings = ThreadSettings {
            processors: Some(half.clone()),
            ..ThreadSettings::new(NonZeroUsize::MIN)
        };
        let threads = Threads::start(&"compartment".into(), settings).unwrap();
        let worker = within(threads.spawn(async { Processors::available() })).await;
        assert_eq!(worker.as_ref(), Ok(&half));
        let blocking = within(threads.spawn_blocking(Processors::available)).await;
        assert_eq!(blocking, Ok(half));
        assert_eq!(Processors::available(), all);
    }

    #[tokio::test]
    async fn a_panic_is_a_value_and_the_threads_live_on() {
        let threads = threads(1);
        for _ in 0..3 {
            let task = threads.spawn(async { unwind() });
            assert_eq!(
                within(task).await.map(|never: ()| never),
                Err(Lost::Panicked)
            );
            let task = threads.spawn_blocking(|| unwind());
            assert_eq!(
                within(task).await.map(|never: ()| never),
                Err(Lost::Panicked)
            );
        }
        assert_eq!(within(threads.spawn(async { 1 })).await, Ok(1));
        assert_eq!(within(threads.spawn_blocking(|| 2)).await, Ok(2));
        assert_eq!(threads.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_dropped_task_is_cancelled_at_its_next_await() {
        let threads = threads(1);
        let (held, dropped) = held();
        let (started, has_started) = oneshot::channel();
        let task = threads.spawn(async move {
            let _held = held;
            started.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        within(has_started).await.unwrap();
        assert_eq!(threads.in_flight(), 1);
        drop(task);
        within(dropped).await;
        within(threads.0.idle()).await;
    }

    #[tokio::test]
    async fn a_task_that_never_got_a_worker_is_cancelled_too() {
        let threads = threads(1);
        let (go_on, block) = mpsc::channel::<()>();
        let blocked = threads.spawn(async move { block.recv() });
        let (held, dropped) = held();
        let never = threads.spawn(async move {
            drop(held);
            panic!("it was cancelled before it began");
        });
        drop(never);
        go_on.send(()).unwrap();
        within(blocked).await.unwrap().unwrap();
        within(dropped).await;
        within(threads.0.idle()).await;
    }

    #[tokio::test]
    async fn functions_wait_outside_for_a_blocking_thread_and_leave_nothing_behind() {
        let threads = threads(1);
        let (go_on, block) = mpsc::channel::<()>();
        let taken = threads.spawn_blocking(move || block.recv());
        let (held, dropped) = held();
        let mut gives_up = threads.spawn_blocking(move || drop(held));
        assert!(poll_once(&mut gives_up).is_pending());
        let mut waits = threads.spawn_blocking(|| 7);
        assert!(poll_once(&mut waits).is_pending());
        assert_eq!(threads.in_flight(), 3);

        // At once, though the only thread is taken: nothing of it is queued over there.
        drop(gives_up);
        assert_eq!(threads.in_flight(), 2);
        within(dropped).await;

        go_on.send(()).unwrap();
        within(taken).await.unwrap().unwrap();
        assert_eq!(within(waits).await, Ok(7));
    }

    #[tokio::test]
    async fn a_function_that_has_begun_counts_until_its_end() {
        let threads = threads(1);
        let (started, has_started) = oneshot::channel();
        let (go_on, block) = mpsc::channel::<()>();
        let task = threads.spawn_blocking(move || {
            started.send(()).unwrap();
            block.recv().unwrap();
        });
        within(has_started).await.unwrap();
        drop(task);
        assert_eq!(threads.in_flight(), 1);
        go_on.send(()).unwrap();
        within(threads.0.idle()).await;
    }

    #[tokio::test]
    async fn shutdown_drains() {
        let threads = threads(1);
        let (go_on, gate) = oneshot::channel();
        let task = threads.spawn(gate);
        let mut shutdown = Box::pin(threads.shutdown(PATIENCE));
        assert!(poll_once(&mut shutdown).is_pending());
        // What is in flight may still begin more: a response its body, for example.
        assert_eq!(within(threads.spawn(async { 1 })).await, Ok(1));
        assert!(poll_once(&mut shutdown).is_pending());
        go_on.send(2).unwrap();
        assert_eq!(within(task).await, Ok(Ok(2)));
        assert_eq!(within(shutdown).await, 0);
    }

    #[tokio::test]
    async fn shutdown_cuts_off_what_outlasts_its_patience() {
        let threads = threads(1);
        let (held, dropped) = held();
        let task = threads.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let (go_on, block) = mpsc::channel::<()>();
        let function = threads.spawn_blocking(move || block.recv().is_ok());
        let mut waiting = threads.spawn_blocking(|| ());
        assert!(poll_once(&mut waiting).is_pending());

        assert_eq!(within(threads.shutdown(Duration::ZERO)).await, 3);
        assert_eq!(within(task).await, Err(Lost::ShutDown));
        assert_eq!(within(waiting).await, Err(Lost::ShutDown));
        within(dropped).await;
        // It had begun, or had not; it is not stopped half-way.
        drop(go_on);
        assert!(matches!(
            within(function).await,
            Ok(false) | Err(Lost::ShutDown)
        ));
    }

    #[tokio::test]
    async fn after_shutdown_everything_is_lost_at_once() {
        let threads = threads(1);
        assert_eq!(within(threads.shutdown(Duration::ZERO)).await, 0);
        assert_eq!(within(threads.spawn(async {})).await, Err(Lost::ShutDown));
        assert_eq!(
            within(threads.spawn_blocking(|| ())).await,
            Err(Lost::ShutDown)
        );
        assert_eq!(within(threads.shutdown(PATIENCE)).await, 0);
        assert_eq!(threads.in_flight(), 0);
    }

    #[tokio::test]
    async fn the_last_handle_may_be_dropped_in_an_async_context() {
        drop(threads(2));
    }

    #[tokio::test]
    async fn work_in_flight_outlives_the_handles() {
        let threads = threads(1);
        let (go_on, gate) = oneshot::channel();
        let task = threads.spawn(gate);
        drop(threads);
        go_on.send(3).unwrap();
        assert_eq!(within(task).await, Ok(Ok(3)));
    }

    #[tokio::test]
    async fn the_last_handle_may_be_dropped_on_the_threads_themselves() {
        let threads = threads(2);
        let (dropped, was_dropped) = oneshot::channel();
        let (go_on, gate) = oneshot::channel::<()>();
        let copy = threads.clone();
        let task = threads.spawn(async move {
            let _ = gate.await;
            drop(copy);
            dropped.send(()).unwrap();
        });
        drop(threads);
        go_on.send(()).unwrap();
        within(was_dropped).await.unwrap();
        // The runtime goes down with the end of the task, on its own worker.
        assert_eq!(within(task).await, Ok(()));
    }
}
