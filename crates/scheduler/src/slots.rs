//! Things by dense numbers, which are used again.

/// How many things a room has place for.
const ROOM: usize = 256;

/// Things by number. They stay where they were put: a list that has to grow is moved as a whole, and takes three times its room
/// meanwhile.
pub(crate) struct Slots<T> {
    rooms: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            rooms: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// A number for this, which nothing else has.
    pub(crate) fn insert(&mut self, thing: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.rooms[number as usize / ROOM][number as usize % ROOM] = Some(thing);
            return number;
        }
        if self.rooms.last().is_none_or(|room| room.len() == ROOM) {
            self.rooms.push(Vec::with_capacity(ROOM));
        }
        let before = (self.rooms.len() - 1) * ROOM;
        let room = &mut self.rooms[before / ROOM];
        room.push(Some(thing));
        (before + room.len()) as u32 - 1
    }

    /// Gives a number back.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let thing = self.place(number)?.take()?;
        self.free.push(number);
        Some(thing)
    }

    /// What has this number.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let room = self.rooms.get(number as usize / ROOM)?;
        room.get(number as usize % ROOM)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.place(number)?.as_mut()
    }

    /// All of them, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = (0..).zip(self.rooms.iter().flatten());
        places.filter_map(|(number, thing)| Some((number, thing.as_ref()?)))
    }

    fn place(&mut self, number: u32) -> Option<&mut Option<T>> {
        let room = self.rooms.get_mut(number as usize / ROOM)?;
        room.get_mut(number as usize % ROOM)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_map_would_be(steps in prop::collection::vec((0_u32..3, 0_u32..900), 0..2_000)) {
            let (mut slots, mut map) = (Slots::default(), BTreeMap::new());
            for (thing, (what, which)) in (0_u32..).zip(steps) {
                if what > 0 {
                    let number = slots.insert(thing);
                    prop_assert!(map.insert(number, thing).is_none(), "two have {}", number);
                    prop_assert!(number <= thing, "numbers are dense");
                } else {
                    prop_assert_eq!(slots.remove(which), map.remove(&which));
                }
                prop_assert_eq!(slots.get(which), map.get(&which));
                prop_assert_eq!(slots.get_mut(which), map.get_mut(&which));
            }
            prop_assert!(slots.iter().map(|(number, thing)| (number, *thing)).eq(map));
        }
    }
}
