//! Handles: what the component instances of a task hold of resources, their own and the world's.
//!
//! One table for each component instance, as in Wasmtime: numbers begin at one, and the one freed last is given next,
//! for a guest can see them. An owned handle that is lent is not given away before the call that borrowed it
//! ends, and a call does not end while its callee holds what it borrowed.

use wasmtime_environ::component::TypeResourceTableIndex;

use crate::halt::Halt;

/// Most handles that a task's instances hold together, lent ones counted once more: Wasmtime's default.
const HANDLES_MAX: usize = 100_000;

/// A resource type as one component instance sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResourceTable {
    /// The component instance that holds such handles.
    pub(crate) instance: usize,
    /// Where the resource comes from.
    pub(crate) origin: Origin,
}

/// Where a resource comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is the world's.
    World,
    /// A component instance defines it; `definition` counts those of the whole component.
    Guest { instance: usize, definition: usize },
}

/// All handles of a task.
#[derive(Debug)]
pub(crate) struct Handles {
    tables: Vec<Table>,
    /// Calls under way, the innermost last. The first is the task's own.
    calls: Vec<Call>,
    /// Handles that are held, and how often they are lent.
    live: usize,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    next: usize,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Free {
        next: usize,
    },
    Own {
        ty: TypeResourceTableIndex,
        rep: u32,
        lent: u32,
    },
    Borrow {
        ty: TypeResourceTableIndex,
        rep: u32,
        /// The call that it was lent to.
        call: usize,
    },
}

#[derive(Debug, Default)]
struct Call {
    /// Owned handles that were lent to it: component instance and number.
    lenders: Vec<(usize, u32)>,
    /// Handles that its callee borrowed and has not dropped.
    borrowed: usize,
}

impl Handles {
    /// No handles yet, for so many component instances.
    pub(crate) fn new(instances: usize) -> Self {
        Self {
            tables: (0..instances).map(|_| Table::default()).collect(),
            calls: vec![Call::default()],
            live: 0,
        }
    }

    /// A call begins that handles may be lent to.
    pub(crate) fn enter(&mut self) {
        self.calls.push(Call::default());
    }

    /// The call ends: what was lent to it comes back.
    pub(crate) fn exit(&mut self) -> Result<(), Halt> {
        let call = self.calls.pop().unwrap_or_default();
        if call.borrowed > 0 {
            return Err(Halt::abi("a call ended with borrowed handles left"));
        }
        for (instance, number) in call.lenders {
            if let Ok(Slot::Own { lent, .. }) = self.slot(instance, number) {
                *lent -= 1;
                self.live -= 1;
            }
        }
        Ok(())
    }

    /// Is there room for `more` handles beside those that are held?
    pub(crate) fn expect_room(&self, more: usize) -> Result<(), Halt> {
        if self.live + more > HANDLES_MAX {
            return Err(Halt::abi(format!(
                "the guest holds {HANDLES_MAX} handles, which is the most"
            )));
        }
        Ok(())
    }

    /// The host holds one more handle for a while.
    pub(crate) fn hold(&mut self) -> Result<(), Halt> {
        self.expect_room(1)?;
        self.live += 1;
        Ok(())
    }

    /// The host holds so many less.
    pub(crate) fn release(&mut self, count: usize) {
        self.live -= count;
    }

    /// A new owned handle.
    pub(crate) fn own(
        &mut self,
        table: ResourceTable,
        ty: TypeResourceTableIndex,
        rep: u32,
    ) -> Result<u32, Halt> {
        self.insert(table.instance, Slot::Own { ty, rep, lent: 0 })
    }

    /// A new borrowed handle, for the callee of the innermost call.
    pub(crate) fn borrow(
        &mut self,
        table: ResourceTable,
        ty: TypeResourceTableIndex,
        rep: u32,
    ) -> Result<u32, Halt> {
        let call = self.calls.len() - 1;
        let handle = self.insert(table.instance, Slot::Borrow { ty, rep, call })?;
        self.calls[call].borrowed += 1;
        Ok(handle)
    }

    /// What a handle stands for.
    pub(crate) fn rep(
        &mut self,
        table: ResourceTable,
        ty: TypeResourceTableIndex,
        number: u32,
    ) -> Result<u32, Halt> {
        match *self.slot(table.instance, number)? {
            Slot::Own { ty: is, rep, .. } | Slot::Borrow { ty: is, rep, .. } if is == ty => Ok(rep),
            _ => Err(other_type(number)),
        }
    }

    /// Lends a handle to the innermost call; gives what it stands for.
    pub(crate) fn lend(
        &mut self,
        table: ResourceTable,
        ty: TypeResourceTableIndex,
        number: u32,
    ) -> Result<u32, Halt> {
        let rep = self.rep(table, ty, number)?;
        if let Slot::Own { .. } = self.slot(table.instance, number)? {
            self.expect_room(1)?;
            self.live += 1;
            if let Slot::Own { lent, .. } = self.slot(table.instance, number)? {
                *lent += 1;
            }
            if let Some(call) = self.calls.last_mut() {
                call.lenders.push((table.instance, number));
            }
        }
        Ok(rep)
    }

    /// Gives away an owned handle; gives what it stands for.
    pub(crate) fn take(
        &mut self,
        table: ResourceTable,
        ty: TypeResourceTableIndex,
        number: u32,
    ) -> Result<u32, Halt> {
        match self.remove(table, ty, number)? {
            Slot::Own { rep, .. } => Ok(rep),
            _ => Err(Halt::abi(format!(
                "handle {number} is borrowed and cannot be given away"
            ))),
        }
    }

    /// Drops a handle; gives what it stood for if it was owned.
    pub(crate) fn drop(
        &mut self,
        table: ResourceTable,
        ty: TypeResourceTableIndex,
        number: u32,
    ) -> Result<Option<u32>, Halt> {
        match self.remove(table, ty, number)? {
            Slot::Own { rep, .. } => Ok(Some(rep)),
            Slot::Borrow { call, .. } => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.borrowed -= 1;
                }
                Ok(None)
            }
            Slot::Free { .. } => Err(unknown(number)),
        }
    }

    fn insert(&mut self, instance: usize, slot: Slot) -> Result<u32, Halt> {
        self.expect_room(1)?;
        let table = self
            .tables
            .get_mut(instance)
            .ok_or_else(|| Halt::host("a component instance is out of its range"))?;
        let index = table.next;
        if index == table.slots.len() {
            table.slots.push(Slot::Free { next: index + 1 });
        }
        if let Slot::Free { next } = std::mem::replace(&mut table.slots[index], slot) {
            table.next = next;
        }
        self.live += 1;
        // At most as many as there may be handles.
        Ok(index as u32 + 1)
    }

    fn remove(
        &mut self,
        table: ResourceTable,
        ty: TypeResourceTableIndex,
        number: u32,
    ) -> Result<Slot, Halt> {
        let slot = *self.slot(table.instance, number)?;
        match slot {
            Slot::Own { lent, .. } if lent > 0 => {
                return Err(Halt::abi(format!("handle {number} is lent")));
            }
            Slot::Own { ty: is, .. } | Slot::Borrow { ty: is, .. } if is == ty => {}
            _ => return Err(other_type(number)),
        }
        let table = &mut self.tables[table.instance];
        let index = number as usize - 1;
        table.slots[index] = Slot::Free { next: table.next };
        table.next = index;
        self.live -= 1;
        Ok(slot)
    }

    fn slot(&mut self, instance: usize, number: u32) -> Result<&mut Slot, Halt> {
        let slot = (number as usize)
            .checked_sub(1)
            .and_then(|index| self.tables.get_mut(instance)?.slots.get_mut(index));
        match slot {
            None | Some(Slot::Free { .. }) => Err(unknown(number)),
            Some(slot) => Ok(slot),
        }
    }
}

fn unknown(number: u32) -> Halt {
    Halt::abi(format!("there is no handle {number}"))
}

fn other_type(number: u32) -> Halt {
    Halt::abi(format!("handle {number} is of another type"))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const TABLE: ResourceTable = ResourceTable {
        instance: 0,
        origin: Origin::World,
    };

    fn ty(index: u32) -> TypeResourceTableIndex {
        TypeResourceTableIndex::from_u32(index)
    }

    #[test]
    fn numbers_begin_at_one_and_the_one_freed_last_is_given_next() {
        let mut handles = Handles::new(1);
        for number in 1..=3 {
            assert_eq!(handles.own(TABLE, ty(0), 10 * number), Ok(number));
        }
        assert_eq!(handles.drop(TABLE, ty(0), 1), Ok(Some(10)));
        assert_eq!(handles.take(TABLE, ty(0), 3), Ok(30));
        assert!(handles.rep(TABLE, ty(0), 3).is_err());
        assert_eq!(handles.own(TABLE, ty(0), 40), Ok(3));
        assert_eq!(handles.own(TABLE, ty(0), 50), Ok(1));
        assert_eq!(handles.own(TABLE, ty(0), 60), Ok(4));
    }

    #[test]
    fn handles_that_are_none_or_of_another_type_are_refused() {
        let mut handles = Handles::new(1);
        handles.own(TABLE, ty(0), 7).unwrap();
        for number in [0, 2, u32::MAX] {
            assert!(handles.rep(TABLE, ty(0), number).is_err());
            assert!(handles.lend(TABLE, ty(0), number).is_err());
            assert!(handles.take(TABLE, ty(0), number).is_err());
            assert!(handles.drop(TABLE, ty(0), number).is_err());
        }
        assert!(handles.rep(TABLE, ty(1), 1).is_err());
        assert!(handles.drop(TABLE, ty(1), 1).is_err());
        assert_eq!(handles.rep(TABLE, ty(0), 1), Ok(7));
    }

    #[test]
    fn what_is_lent_stays_until_the_call_ends() {
        let mut handles = Handles::new(1);
        handles.own(TABLE, ty(0), 7).unwrap();
        handles.enter();
        assert_eq!(handles.lend(TABLE, ty(0), 1), Ok(7));
        assert_eq!(handles.lend(TABLE, ty(0), 1), Ok(7));
        assert!(handles.drop(TABLE, ty(0), 1).is_err());
        assert!(handles.take(TABLE, ty(0), 1).is_err());
        assert_eq!(handles.live, 3);
        assert_eq!(handles.exit(), Ok(()));
        assert_eq!(handles.live, 1);
        assert_eq!(handles.drop(TABLE, ty(0), 1), Ok(Some(7)));
        assert_eq!(handles.live, 0);
    }

    #[test]
    fn a_call_does_not_end_while_its_callee_holds_a_borrowed_handle() {
        let mut handles = Handles::new(1);
        handles.enter();
        let borrowed = handles.borrow(TABLE, ty(0), 7).unwrap();
        assert!(handles.take(TABLE, ty(0), borrowed).is_err());

        let mut handles = Handles::new(1);
        handles.enter();
        let borrowed = handles.borrow(TABLE, ty(0), 7).unwrap();
        handles.enter();
        assert_eq!(handles.lend(TABLE, ty(0), borrowed), Ok(7));
        assert_eq!(handles.exit(), Ok(()));
        assert_eq!(handles.drop(TABLE, ty(0), borrowed), Ok(None));
        assert_eq!(handles.exit(), Ok(()));

        handles.enter();
        handles.borrow(TABLE, ty(0), 7).unwrap();
        assert!(handles.exit().is_err());
    }

    #[test]
    fn handles_have_a_bound() {
        let mut handles = Handles::new(1);
        for _ in 0..HANDLES_MAX {
            handles.own(TABLE, ty(0), 0).unwrap();
        }
        assert!(handles.own(TABLE, ty(0), 0).is_err());
        assert!(handles.lend(TABLE, ty(0), 1).is_err());
        handles.drop(TABLE, ty(0), 1).unwrap();
        assert_eq!(handles.own(TABLE, ty(0), 0), Ok(1));
    }
}
