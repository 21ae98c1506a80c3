//! Reports: reads that may take long. They are made one after the other on a thread beside the commits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::Backend;
use super::queue::{Inner, Read};

/// The reports that wait, and what reads them.
#[derive(Default)]
pub(super) struct Reports(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Read>,
    /// Once one was opened. The thread has it while it reads.
    reader: Option<Box<dyn Backend>>,
    is_reading: bool,
}

impl Reports {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Has a report read beside the commits. It sees all that is committed by now.
    pub(super) fn report(self: &Arc<Self>, report: Read) {
        let Ok(runtime) = Handle::try_current() else {
            return report(&mut **self.backend());
        };
        let mut state = self.reports.state();
        state.waiting.push_back(report);
        if std::mem::replace(&mut state.is_reading, true) {
            return;
        }
        let mut reading = Reading {
            inner: Arc::clone(self),
            reader: state.reader.take(),
            is_finished: false,
        };
        drop(state);
        runtime.spawn_blocking(move || reading.work_off());
    }
}

/// The duty to read the reports that wait. Keeps the store open meanwhile.
struct Reading {
    inner: Arc<Inner>,
    reader: Option<Box<dyn Backend>>,
    is_finished: bool,
}

impl Reading {
    fn work_off(&mut self) {
        while let Some(report) = self.next() {
            // A panic ends its own report, whose transaction is rolled back, and none of those that follow.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                if self.reader.is_none() {
                    self.reader = self.inner.backend().open_reader();
                }
                match &mut self.reader {
                    Some(reader) => report(&mut **reader),
                    None => report(&mut **self.inner.backend()),
                }
            }));
        }
    }

    fn next(&mut self) -> Option<Read> {
        let mut state = self.inner.reports.state();
        let next = state.waiting.pop_front();
        if next.is_none() {
            // Under the lock, so that a report that comes now finds somebody who reads, or the reader.
            state.is_reading = false;
            state.reader = self.reader.take();
            self.is_finished = true;
        }
        next
    }
}

impl Drop for Reading {
    /// The runtime is shutting down before all was read. Those who asked hear that they were interrupted.
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let mut state = self.inner.reports.state();
        state.is_reading = false;
        state.reader = self.reader.take();
        let unread = std::mem::take(&mut state.waiting);
        drop(state);
        drop(unread);
    }
}
