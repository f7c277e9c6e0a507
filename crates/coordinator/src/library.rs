//! The components that functions are called of.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use asterism_component::{Component, Shelf};
use asterism_protocol::view::ComponentView;

use crate::{limits::COMPONENTS_WAIT_MAX, store::ComponentRecord};

/// All components, changed as one.
#[derive(Default)]
pub(crate) struct Library {
    shelf: RwLock<Arc<Shelf>>,
    reading: Mutex<Reading>,
    /// Told when somebody has read.
    was_read: Condvar,
}

/// How far the journal's components were read. It is never held while they are: their bytes may be far away.
#[derive(Default)]
struct Reading {
    /// What they looked like when they were read last.
    stamp: u64,
    /// Somebody reads them now.
    is_under_way: bool,
    /// And somebody waited for that in vain: nobody else does.
    is_slow: bool,
}

impl Library {
    /// The components as they are now; preparing a workflow sees one state.
    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has them read, unless that was done when they looked like this. One reads; who comes meanwhile waits for a moment, if
    /// nobody did so in vain, and then has to do with what is known.
    pub(crate) fn refresh<E>(
        &self,
        stamp: u64,
        read: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let until = Instant::now() + COMPONENTS_WAIT_MAX;
        let mut reading = self.reading();
        while reading.stamp != stamp && reading.is_under_way {
            let left = until.saturating_duration_since(Instant::now());
            reading.is_slow |= left.is_zero();
            if reading.is_slow {
                return Ok(());
            }
            let woken = self.was_read.wait_timeout(reading, left);
            (reading, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        if reading.stamp == stamp {
            return Ok(());
        }
        reading.is_under_way = true;
        drop(reading);
        let under_way = UnderWay(self);
        read()?;
        under_way.0.reading().stamp = stamp;
        Ok(())
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a component the last, if it is known by this name: nothing of it has to be read.
    pub(crate) fn make_last(&self, record: &ComponentRecord) -> Option<ComponentView> {
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let view = Arc::make_mut(&mut shelf).make_last(record.cid, &record.name);
        view.cloned()
    }

    /// Adds a component, or makes a known one the last.
    pub(crate) fn add(&self, record: &ComponentRecord, component: Component) -> ComponentView {
        let (cid, name) = (record.cid, record.name.clone());
        let shelved = asterism_world::shelved(cid, name, record.bytes, component);
        let view = shelved.view.clone();
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut shelf).add(shelved);
        view
    }
}

/// Somebody reads, until this is dropped.
struct UnderWay<'a>(&'a Library);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut reading = self.0.reading();
        (reading.is_under_way, reading.is_slow) = (false, false);
        drop(reading);
        self.0.was_read.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::mpsc, thread};

    use super::*;
    use crate::disk::LONG;

    /// A reading that begins to be told of, and ends when it is told to.
    fn read_slowly(
        library: &Arc<Library>,
        stamp: u64,
    ) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
        let (begun, has_begun) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let library = Arc::clone(library);
        let reader = thread::spawn(move || {
            let read = || {
                begun.send(()).unwrap();
                ends.recv_timeout(LONG).map_err(|error| error.to_string())
            };
            library.refresh(stamp, read).unwrap();
        });
        has_begun.recv_timeout(LONG).unwrap();
        (end, reader)
    }

    #[test]
    fn nobody_waits_long_for_components_that_are_far_away() {
        let library = Arc::new(Library::default());
        let (end, reader) = read_slowly(&library, 1);
        let (said, hears) = mpsc::channel();
        let other = Arc::clone(&library);
        thread::spawn(move || {
            let is_refreshed = other.refresh(1, || Err("it is read already"));
            said.send((is_refreshed, other.shelf().len())).unwrap();
        });
        // Far more than it waits, as the reading has no end yet.
        assert_eq!(hears.recv_timeout(LONG), Ok((Ok(()), 0)));
        // And who comes then does not wait at all.
        let begun = Instant::now();
        for _ in 0..10 {
            assert_eq!(library.refresh(1, || Err("it is read already")), Ok(()));
        }
        assert!(begun.elapsed() < COMPONENTS_WAIT_MAX * 5);
        end.send(()).unwrap();
        reader.join().unwrap();
        let again = library.refresh(1, || Err("it was read"));
        assert_eq!(again, Ok(()));
    }

    #[test]
    fn who_comes_while_components_are_read_gets_what_is_read() {
        let library = Arc::new(Library::default());
        let (end, reader) = read_slowly(&library, 1);
        let other = Arc::clone(&library);
        let waits = thread::spawn(move || {
            let is_refreshed = other.refresh(1, || Err("it is read already"));
            (is_refreshed, other.reading().stamp)
        });
        // Time to go on without, for whoever would not wait.
        thread::sleep(COMPONENTS_WAIT_MAX / 10);
        end.send(()).unwrap();
        assert_eq!(waits.join().unwrap(), (Ok(()), 1));
        reader.join().unwrap();
    }

    #[test]
    fn what_could_not_be_read_is_read_again() {
        let library = Library::default();
        assert_eq!(library.refresh(1, || Err("away")), Err("away"));
        let mut is_read = false;
        let read = || {
            is_read = true;
            Ok::<(), Infallible>(())
        };
        assert_eq!(library.refresh(1, read), Ok(()));
        assert!(is_read);
    }
}
