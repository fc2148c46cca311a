//! `Published` with one mistake each: what the model must find, or it proves nothing.
//!
//! A swap without Release is not among them: the fence in `epoch::pin` orders what precedes it
//! anyway. Must not: be used for anything else. None frees memory in time: the mistake shows in the
//! canary and not in the allocator.

use std::sync::atomic::Ordering;

use crossbeam_epoch::{self as epoch, Atomic, Owned};

use crate::Cell;

macro_rules! planted {
    ($(#[$doc:meta])* $name:ident, $publish:expr, $read:expr) => {
        $(#[$doc])*
        pub struct $name<T>(Atomic<T>);

        impl<T: Send + Sync + 'static> Cell<T> for $name<T> {
            fn new(value: T) -> Self {
                Self(Atomic::new(value))
            }

            fn publish(&self, value: T) {
                #[allow(clippy::redundant_closure_call)]
                ($publish)(&self.0, value)
            }

            fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
                #[allow(clippy::redundant_closure_call)]
                ($read)(&self.0, read)
            }
        }
    };
}

fn publish<T: 'static>(cell: &Atomic<T>, value: T) {
    let guard = epoch::pin();
    let old = cell.swap(Owned::new(value), Ordering::AcqRel, &guard);
    // SAFETY: unlinked by the swap, and once; never null.
    unsafe { guard.defer_destroy(old) };
}

fn read<T, R>(cell: &Atomic<T>, read: impl FnOnce(&T) -> R, ordering: Ordering) -> R {
    let guard = epoch::pin();
    // SAFETY: never null; loaded under a pin.
    read(unsafe { cell.load(ordering, &guard).deref() })
}

fn unpinned<T, R>(cell: &Atomic<T>, read: impl FnOnce(&T) -> R) -> R {
    // SAFETY: none; that is the mistake.
    read(unsafe { cell.load(Ordering::Acquire, epoch::unprotected()).deref() })
}

planted! {
    /// The reader's load does not acquire what the writer released.
    RelaxedLoad,
    |cell, value| publish(cell, value),
    |cell, then| read(cell, then, Ordering::Relaxed)
}

planted! {
    /// The old value is destroyed at once, whoever reads it.
    EagerDrop,
    |cell: &Atomic<T>, value| {
        let guard = epoch::pin();
        let old = cell.swap(Owned::new(value), Ordering::AcqRel, &guard);
        // SAFETY: none; that is the mistake. The memory itself is leaked.
        unsafe { std::ptr::drop_in_place(old.as_raw().cast_mut()) };
    },
    |cell, then| read(cell, then, Ordering::Acquire)
}

planted! {
    /// The reader does not pin, so that nothing keeps what it reads.
    UnpinnedRead,
    |cell: &Atomic<T>, value| {
        let guard = epoch::pin();
        let old = cell.swap(Owned::new(value), Ordering::AcqRel, &guard).as_raw().addr();
        let destroy = move || {
            let old = std::ptr::with_exposed_provenance_mut::<T>(old);
            // SAFETY: unlinked, and once; the memory itself is leaked.
            unsafe { std::ptr::drop_in_place(old) };
        };
        // SAFETY: the value is `Send`, and the address outlives everything.
        unsafe { guard.defer_unchecked(destroy) };
    },
    |cell, then| unpinned(cell, then)
}
