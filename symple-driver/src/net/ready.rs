//! Which connections have something to do.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use atomic_waker::AtomicWaker;

/// The slots that were woken, and the task that looks at them.
///
/// Each connection has a waker of its own; all of them wake one task, once. So whatever is ready
/// when that task runs is handled before anything is written.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    slots: Mutex<Vec<u32>>,
    task: AtomicWaker,
}

impl Ready {
    fn slots(&self) -> MutexGuard<'_, Vec<u32>> {
        // A list of numbers is whole whatever has panicked.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which task to wake.
    pub(crate) fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Wakes the task.
    pub(crate) fn wake(&self) {
        self.task.wake();
    }

    /// Moves what there is behind what is in the list already.
    ///
    /// To be called whenever the task runs: the one wake that it has had stands for all that is
    /// there.
    pub(crate) fn take(&self, list: &mut Vec<u32>) {
        let mut slots = self.slots();
        if list.is_empty() {
            std::mem::swap(list, &mut slots);
        } else {
            list.append(&mut slots);
        }
    }

    /// The waker of a slot.
    pub(crate) fn waker(self: &Arc<Self>, slot: u32) -> Arc<SlotWaker> {
        Arc::new(SlotWaker { slot, queued: AtomicBool::new(false), ready: Arc::clone(self) })
    }
}

/// Wakes one slot.
#[derive(Debug)]
pub(crate) struct SlotWaker {
    slot: u32,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl SlotWaker {
    /// The slot is being looked at: from now on a wake counts again.
    pub(crate) fn taken(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let mut slots = self.ready.slots();
            slots.push(self.slot);
            let first = slots.len() == 1;
            drop(slots);
            if first {
                self.ready.task.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn each_slot_is_listed_once_and_the_task_woken() {
        let flag = Arc::new(Flag::default());
        let ready = Arc::new(Ready::default());
        ready.register(&Waker::from(Arc::clone(&flag)));
        let (one, two) = (ready.waker(1), ready.waker(2));
        for waker in [&one, &two, &one, &two] {
            waker.wake_by_ref();
        }
        assert!(flag.0.swap(false, Ordering::SeqCst));
        let mut list = Vec::new();
        ready.take(&mut list);
        assert_eq!(list, [1, 2]);
        one.wake_by_ref();
        ready.take(&mut list);
        assert_eq!(list, [1, 2], "not looked at yet");
        ready.register(&Waker::from(Arc::clone(&flag)));
        one.taken();
        one.wake_by_ref();
        assert!(flag.0.swap(false, Ordering::SeqCst));
        ready.take(&mut list);
        assert_eq!(list, [1, 2, 1]);
        // Whatever was left in the list, the next one wakes the task again.
        ready.register(&Waker::from(Arc::clone(&flag)));
        two.taken();
        two.wake_by_ref();
        assert!(flag.0.swap(false, Ordering::SeqCst));
    }
}
