//! A queue between two threads that hands over as much as there is.
//!
//! Waking another thread costs microseconds, a frame in memory next to nothing. A channel that wakes
//! the reader for each item and the writer for each place spends all its time on that as soon as one
//! side is faster. Here the reader takes all there is at once, and whoever is awake is not woken.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use fusebox_core::sync::lock;

/// A queue of at most `places` items, besides as many in the hands of the reader.
pub(super) fn queue<T>(places: usize) -> (Writer<T>, Reader<T>) {
    let shared = Arc::new(Shared {
        places,
        state: Mutex::new(State {
            items: VecDeque::new(),
            reader: None,
            writer: None,
            over: false,
        }),
    });
    let reader = Reader {
        shared: shared.clone(),
        taken: VecDeque::new(),
    };
    (Writer(shared), reader)
}

struct Shared<T> {
    places: usize,
    /// Of one body: its reader and its producer are all who ever want it.
    state: Mutex<State<T>>,
}

struct State<T> {
    items: VecDeque<T>,
    /// Who sleeps until there is an item, and until there is a place.
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// One of the two is gone.
    over: bool,
}

pub(super) struct Writer<T>(Arc<Shared<T>>);

pub(super) struct Reader<T> {
    shared: Arc<Shared<T>>,
    taken: VecDeque<T>,
}

/// Nobody reads any more.
pub(super) struct Gone;

impl<T> Writer<T> {
    /// Waits for a place.
    pub(super) async fn write(&self, item: T) -> Result<(), Gone> {
        let mut item = Some(item);
        std::future::poll_fn(|cx| self.poll_write(cx, &mut item)).await?;
        // A body that is always ready would not let anybody else onto the thread.
        tokio::task::coop::consume_budget().await;
        Ok(())
    }

    fn poll_write(&self, cx: &mut Context<'_>, item: &mut Option<T>) -> Poll<Result<(), Gone>> {
        // Declared before the lock, and so dropped after it; as in `poll_read`.
        let _replaced;
        let mut state = lock(&self.0.state);
        if state.over {
            return Poll::Ready(Err(Gone));
        }
        if state.items.len() >= self.0.places {
            _replaced = keep(&mut state.writer, cx);
            return Poll::Pending;
        }
        state.items.extend(item.take());
        wake(state.reader.take(), state);
        Poll::Ready(Ok(()))
    }
}

impl<T> Reader<T> {
    /// `None` when the writer is gone and everything was read.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(item) = self.taken.pop_front() {
            return Poll::Ready(Some(item));
        }
        let _replaced;
        let mut state = lock(&self.shared.state);
        // Back and forth, so that there are two buffers for the whole of a body.
        std::mem::swap(&mut self.taken, &mut state.items);
        let Some(item) = self.taken.pop_front() else {
            if state.over {
                return Poll::Ready(None);
            }
            _replaced = keep(&mut state.reader, cx);
            return Poll::Pending;
        };
        wake(state.writer.take(), state);
        Poll::Ready(Some(item))
    }
}

/// Whom to wake from now on, and returns whom to wake before, to be dropped after the lock: what a waker
/// does when it is dropped is not ours, and it may come back here.
fn keep(place: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        place => place.replace(cx.waker().clone()),
    }
}

/// After the lock: whoever wakes up wants it next.
fn wake<S>(waker: Option<Waker>, locked: S) {
    drop(locked);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.over = true;
        wake(state.reader.take(), state);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.over = true;
        // Dropped here, by the reader, and after the lock.
        let _unread = std::mem::take(&mut state.items);
        wake(state.writer.take(), state);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// One side of a queue, and how often it was woken.
    #[derive(Default)]
    struct Side(Arc<Woken>);

    impl Side {
        fn write(&self, writer: &Writer<u32>, item: u32) -> Poll<bool> {
            let waker = Waker::from(self.0.clone());
            let mut cx = Context::from_waker(&waker);
            let mut item = Some(item);
            writer
                .poll_write(&mut cx, &mut item)
                .map(|sent| sent.is_ok())
        }

        fn read(&self, reader: &mut Reader<u32>) -> Poll<Option<u32>> {
            let waker = Waker::from(self.0.clone());
            reader.poll_read(&mut Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.0.0.load(Ordering::SeqCst)
        }
    }

    fn sides() -> (Side, Side) {
        Default::default()
    }

    #[test]
    fn whoever_is_awake_is_not_woken() {
        let (writer, mut reader) = queue(3);
        let (writes, reads) = sides();
        assert!(reads.read(&mut reader).is_pending());
        for item in 0..3 {
            assert_eq!(writes.write(&writer, item), Poll::Ready(true));
        }
        assert!(writes.write(&writer, 3).is_pending());
        assert_eq!(reads.woken(), 1, "by the first, and for all");
        assert_eq!(reads.read(&mut reader), Poll::Ready(Some(0)));
        assert_eq!(writes.woken(), 1, "for three places");
        assert_eq!(reads.read(&mut reader), Poll::Ready(Some(1)));
        assert_eq!(reads.read(&mut reader), Poll::Ready(Some(2)));
        assert!(reads.read(&mut reader).is_pending());
        assert_eq!((writes.woken(), reads.woken()), (1, 1));
    }

    /// A waker that, when it is dropped, takes a lock.
    struct Nosy(Arc<Shared<u32>>, std::sync::mpsc::Sender<()>);

    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Nosy {
        fn drop(&mut self) {
            drop(lock(&self.0.state));
            self.1.send(()).unwrap();
        }
    }

    #[test]
    fn a_waker_that_looks_at_the_queue_when_it_is_dropped_is_dropped_after_the_lock() {
        let (told, dropped) = std::sync::mpsc::channel();
        // On a thread of its own: if the lock is held, it hangs.
        std::thread::spawn(move || {
            let (writes, reads) = sides();
            let (writer, mut reader) = queue(1);
            let nosy = Waker::from(Arc::new(Nosy(writer.0.clone(), told.clone())));
            assert!(
                reader
                    .poll_read(&mut Context::from_waker(&nosy))
                    .is_pending()
            );
            drop(nosy);
            assert!(reads.read(&mut reader).is_pending());
            assert_eq!(writes.write(&writer, 0), Poll::Ready(true));
            let nosy = Waker::from(Arc::new(Nosy(writer.0.clone(), told)));
            let mut cx = Context::from_waker(&nosy);
            assert!(writer.poll_write(&mut cx, &mut Some(1)).is_pending());
            drop(nosy);
            assert!(writes.write(&writer, 1).is_pending());
        });
        for side in ["reader", "writer"] {
            let dropped = dropped.recv_timeout(crate::threads::testing::PATIENCE);
            assert_eq!(dropped, Ok(()), "{side}");
        }
    }

    #[test]
    fn what_was_written_is_read_though_the_writer_is_gone() {
        let (writer, mut reader) = queue(3);
        let (writes, reads) = sides();
        for item in 0..2 {
            assert_eq!(writes.write(&writer, item), Poll::Ready(true));
        }
        assert_eq!(reads.read(&mut reader), Poll::Ready(Some(0)));
        drop(writer);
        assert_eq!(reads.read(&mut reader), Poll::Ready(Some(1)));
        assert_eq!(reads.read(&mut reader), Poll::Ready(None));
    }

    #[test]
    fn both_sides_learn_that_the_other_is_gone() {
        let (writer, mut reader) = queue(1);
        let (writes, reads) = sides();
        assert!(reads.read(&mut reader).is_pending());
        drop(writer);
        assert_eq!(reads.woken(), 1);

        let (writer, reader) = queue(1);
        assert_eq!(writes.write(&writer, 0), Poll::Ready(true));
        assert!(writes.write(&writer, 1).is_pending());
        drop(reader);
        assert_eq!(writes.woken(), 1);
        assert_eq!(writes.write(&writer, 1), Poll::Ready(false));
    }

    #[test]
    fn nothing_is_lost_between_two_threads() {
        const ITEMS: u32 = 20_000;
        let (writer, mut reader) = queue(4);
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
        };
        let writing = std::thread::spawn(move || {
            runtime().block_on(async {
                for item in 0..ITEMS {
                    assert!(writer.write(item).await.is_ok());
                }
            });
        });
        runtime().block_on(async {
            for item in 0..ITEMS {
                let read = std::future::poll_fn(|cx| reader.poll_read(cx)).await;
                assert_eq!(read, Some(item));
            }
            let end = std::future::poll_fn(|cx| reader.poll_read(cx)).await;
            assert_eq!(end, None);
        });
        writing.join().unwrap();
    }
}
