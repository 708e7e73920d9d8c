use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use fusebox_core::Outcome;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use pin_project::pin_project;

use crate::Slot;

/// An open connection, and the slot it holds until it is dropped.
///
/// It reads, writes and describes itself as the connection inside.
#[derive(Debug)]
#[pin_project]
pub struct LimitedConnection<C> {
    // Dropped first: the place is free when the connection is closed.
    #[pin]
    inner: C,
    held: Held,
}

#[derive(Debug)]
struct Held(Option<Slot>);

impl Drop for Held {
    fn drop(&mut self) {
        // A connection that was made is a success, however it was used.
        if let Some(slot) = self.0.take() {
            slot.finish(Outcome::Success);
        }
    }
}

impl<C> LimitedConnection<C> {
    pub(super) const fn new(inner: C, slot: Slot) -> Self {
        Self {
            inner,
            held: Held(Some(slot)),
        }
    }

    /// The connection inside.
    pub const fn get_ref(&self) -> &C {
        &self.inner
    }

    /// The connection inside. One that is put in its place counts as this one; the one taken out is open and not counted.
    pub const fn get_mut(&mut self) -> &mut C {
        &mut self.inner
    }
}

impl<C: Connection> Connection for LimitedConnection<C> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<C: Read> Read for LimitedConnection<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().inner.poll_read(cx, buffer)
    }
}

impl<C: Write> Write for LimitedConnection<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, bytes)
    }
}
