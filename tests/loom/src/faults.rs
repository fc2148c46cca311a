//! `Published` with one fault each. If loom did not find them, its tests would prove nothing.
//!
//! A swap without Release is not among them: the fence in `epoch::pin` orders the writes before it
//! anyway. The faults run destructors too early but leak the memory, so that loom's cell in the value
//! shows them and not the allocator. Must not: be used for anything else.

use std::sync::atomic::Ordering;

use crossbeam_epoch::{self as epoch, Atomic, Owned};

use crate::Cell;

macro_rules! faulty {
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
    // SAFETY: none; that is the fault.
    read(unsafe { cell.load(Ordering::Acquire, epoch::unprotected()).deref() })
}

faulty! {
    /// The reader's load does not acquire what the writer released.
    RelaxedLoad,
    |cell, value| publish(cell, value),
    |cell, reader| read(cell, reader, Ordering::Relaxed)
}

faulty! {
    /// The old value is destroyed at once, even while it is read.
    EagerDrop,
    |cell: &Atomic<T>, value| {
        let guard = epoch::pin();
        let old = cell.swap(Owned::new(value), Ordering::AcqRel, &guard);
        // SAFETY: none; that is the fault. The memory itself is leaked.
        unsafe { std::ptr::drop_in_place(old.as_raw().cast_mut()) };
    },
    |cell, reader| read(cell, reader, Ordering::Acquire)
}

faulty! {
    /// The reader does not pin, so that the value may be destroyed while it is read.
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
    |cell, reader| unpinned(cell, reader)
}
