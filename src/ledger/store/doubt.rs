//! What nobody knows for a while: the answer to a commit was lost, and it is asked whether it took place.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Shared by the store that asks and by those who would wait for it meanwhile.
#[derive(Debug, Default)]
pub struct Doubt {
    open: AtomicBool,
    leaving: AtomicBool,
}

/// It is not known yet. Once dropped, it is.
pub(super) struct Asking<'d>(&'d Doubt);

impl Doubt {
    /// It is still asked. Nothing else is written meanwhile, so who needs the store is better refused at once.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// The process ends, and waits for no answer much longer.
    pub fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    pub(super) fn begin(&self) -> Asking<'_> {
        self.open.store(true, Relaxed);
        Asking(self)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.open.store(false, Relaxed);
    }
}
