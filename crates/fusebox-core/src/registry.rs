use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::{LayerKind, Mode, Name, Snapshot};

/// A handle that can be read and steered while traffic flows.
///
/// What a dashboard or an admin endpoint needs of any layer; each handle has richer methods of its own.
pub trait Live: Send + Sync {
    /// Which layer it is the handle of.
    fn layer(&self) -> LayerKind;
    /// Its configured name.
    fn name(&self) -> Name;
    /// Its settings, counters and gauges now.
    fn snapshot(&self) -> Snapshot;
    /// Its mode now.
    fn mode(&self) -> Mode;
    /// Changes its mode for every request from now on.
    fn set_mode(&self, mode: Mode);
}

/// The live handles of a process, for whoever wants to show or steer them all.
///
/// It holds weak references: a handle that nobody uses any more disappears from it. Handles register
/// themselves in [`Registry::global`] unless their settings name another one. Two handles may have the
/// same name; both are listed.
///
/// ```
/// use fusebox_core::Registry;
///
/// for handle in Registry::global().handles() {
///     println!("{:?}", handle.snapshot());
/// }
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    handles: Arc<Mutex<Vec<Weak<dyn Live>>>>,
}

/// Where a handle registers itself.
#[derive(Clone, Debug, Default)]
pub enum Registration {
    /// In [`Registry::global`].
    #[default]
    Global,
    /// In this one.
    In(Registry),
    /// Nowhere.
    Unlisted,
}

impl Registration {
    /// Lists `handle` where this says.
    pub fn list(&self, handle: Weak<dyn Live>) {
        match self {
            Self::Global => Registry::global().list(handle),
            Self::In(registry) => registry.list(handle),
            Self::Unlisted => {}
        }
    }
}

impl Registry {
    /// An empty registry, apart from the global one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry of the process.
    #[must_use]
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<Registry> = OnceLock::new();
        GLOBAL.get_or_init(Self::new)
    }

    /// Adds a handle, for as long as someone else keeps it alive.
    pub fn list(&self, handle: Weak<dyn Live>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        // Each arrival sweeps out the dead, so the list is never longer than the most handles that
        // were alive at once, plus one.
        handles.retain(|handle| handle.strong_count() > 0);
        handles.push(handle);
    }

    /// The handles alive now, oldest first.
    #[must_use]
    pub fn handles(&self) -> Vec<Arc<dyn Live>> {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.iter().filter_map(Weak::upgrade).collect()
    }

    /// A snapshot of every handle alive now. The registry is not locked while they are taken.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Snapshot> {
        self.handles()
            .iter()
            .map(|handle| handle.snapshot())
            .collect()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_list();
        for handle in self.handles() {
            list.entry(&format_args!("{} \"{}\"", handle.layer(), handle.name()));
        }
        list.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModeCell;

    struct Dummy(ModeCell);

    impl Live for Dummy {
        fn layer(&self) -> LayerKind {
            LayerKind::Other("dummy")
        }
        fn name(&self) -> Name {
            "dummy".into()
        }
        fn snapshot(&self) -> Snapshot {
            Snapshot::new(self.layer(), self.name(), self.mode())
        }
        fn mode(&self) -> Mode {
            self.0.get()
        }
        fn set_mode(&self, mode: Mode) {
            self.0.set(mode);
        }
    }

    fn dummy() -> Arc<dyn Live> {
        Arc::new(Dummy(ModeCell::new(Mode::Enforce)))
    }

    #[test]
    fn a_dropped_handle_disappears() {
        let registry = Registry::new();
        let (kept, dropped) = (dummy(), dummy());
        registry.list(Arc::downgrade(&kept));
        registry.list(Arc::downgrade(&dropped));
        assert_eq!(registry.snapshot().len(), 2);
        drop(dropped);
        assert_eq!(registry.snapshot().len(), 1);
    }

    #[test]
    fn does_not_grow_with_handles_that_came_and_went() {
        let registry = Registry::new();
        for _ in 0..1_000 {
            registry.list(Arc::downgrade(&dummy()));
        }
        assert!(registry.handles.lock().unwrap().len() <= 1);
    }

    #[test]
    fn steers_the_handle_it_lists() {
        let registry = Registry::new();
        let handle = dummy();
        Registration::In(registry.clone()).list(Arc::downgrade(&handle));
        for listed in registry.handles() {
            listed.set_mode(Mode::Shadow);
        }
        assert_eq!(handle.mode(), Mode::Shadow);
        assert_eq!(format!("{registry:?}"), "[dummy \"dummy\"]");
    }
}
