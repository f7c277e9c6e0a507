//! Connections: messages take their time, connections break.

use asterism_executor::session::Input as Heard;
use asterism_protocol::{
    Timestamp, encode,
    message::{ToCoordinator, ToExecutor, decode_frame},
};
use asterism_scheduler::{ConnectionId, Input};

use super::{Happening, World};

/// A connection that is open, at least on one side.
pub(super) struct Link {
    executor: usize,
    life: u64,
    /// Does the coordinator believe in it?
    above: bool,
    /// It broke: nothing arrives any more.
    broken: bool,
    /// The last arrival in each direction: nothing overtakes.
    up_last: Timestamp,
    down_last: Timestamp,
}

impl World {
    /// An executor's connection breaks.
    pub(crate) fn break_line(&mut self, executor: usize) {
        self.disasters += 1;
        let link = self.executors[executor].link;
        self.cut(link);
    }

    pub(super) fn cut_all(&mut self) {
        let links: Vec<u64> = self.links.keys().copied().collect();
        for link in links {
            self.cut(Some(link));
        }
    }

    /// A connection is gone; what was under way on it is lost. Each side hears of it some time.
    pub(super) fn cut(&mut self, link: Option<u64>) {
        let (below, above) = (self.delay(), self.delay());
        let Some((number, entry)) = link.and_then(|link| Some((link, self.links.get_mut(&link)?)))
        else {
            return;
        };
        if std::mem::replace(&mut entry.broken, true) {
            return;
        }
        let (executor, life) = (entry.executor, entry.life);
        self.later(
            below,
            Happening::LostBelow {
                executor,
                life,
                link,
            },
        );
        self.later(above, Happening::LostAbove(number));
    }

    pub(super) fn connect(&mut self, executor: usize, life: u64) {
        if self.executors[executor].life != life {
            return;
        }
        if !self.coordinator.is_up() {
            return self.later(
                1,
                Happening::LostBelow {
                    executor,
                    life,
                    link: None,
                },
            );
        }
        self.next += 1;
        let link = self.next;
        let now = self.now;
        self.links.insert(
            link,
            Link {
                executor,
                life,
                above: true,
                broken: false,
                up_last: now,
                down_last: now,
            },
        );
        self.executors[executor].link = Some(link);
        let mut nonce = [0; 32];
        for part in nonce.chunks_mut(8) {
            part.copy_from_slice(&self.random.number().to_le_bytes());
        }
        self.tell_executor(executor, Heard::Connected);
        self.tell_coordinator(Input::Connected {
            connection: ConnectionId(link),
            nonce,
            origin: format!("network {executor}"),
        });
    }

    /// An executor says something.
    pub(super) fn send_up(&mut self, executor: usize, message: &ToCoordinator) {
        let delay = self.delay();
        let Some(link) = self.executors[executor].link else {
            return;
        };
        if let Some(entry) = self.links.get_mut(&link).filter(|entry| !entry.broken) {
            entry.up_last = entry.up_last.max(self.now.after_ms(delay));
            let at = entry.up_last;
            self.at(at, Happening::Up(link, encode(message)));
        }
    }

    /// The coordinator says something.
    pub(super) fn send_down(&mut self, ConnectionId(link): ConnectionId, message: &ToExecutor) {
        let delay = self.delay();
        if let Some(entry) = self.links.get_mut(&link).filter(|entry| !entry.broken) {
            entry.down_last = entry.down_last.max(self.now.after_ms(delay));
            let at = entry.down_last;
            self.at(at, Happening::Down(link, encode(message)));
        }
    }

    /// The coordinator hangs up, after what it sent before.
    pub(super) fn close_above(&mut self, ConnectionId(link): ConnectionId) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        entry.above = false;
        let (executor, life, at) = (entry.executor, entry.life, entry.down_last.after_ms(1));
        self.at(
            at,
            Happening::LostBelow {
                executor,
                life,
                link: Some(link),
            },
        );
    }

    /// An executor hangs up.
    pub(super) fn close_below(&mut self, executor: usize) {
        if let Some(link) = self.executors[executor].link.take() {
            let ms = self.delay();
            self.later(ms, Happening::LostAbove(link));
        }
    }

    pub(super) fn arrive_above(&mut self, link: u64, frame: &[u8]) {
        let entry = self.links.get(&link);
        let heard = entry.is_some_and(|entry| entry.above && !entry.broken);
        if heard && self.coordinator.is_up() {
            let message: ToCoordinator = decode_frame(frame).expect("sessions speak the protocol");
            let effects = self
                .coordinator
                .received(ConnectionId(link), message, self.now);
            self.carry_out(effects);
        }
    }

    pub(super) fn arrive_below(&mut self, link: u64, frame: Vec<u8>) {
        let Some(entry) = self.links.get(&link).filter(|entry| !entry.broken) else {
            return;
        };
        let (executor, life) = (entry.executor, entry.life);
        let machine = &self.executors[executor];
        if machine.frozen_until > self.now {
            let thaw = machine.frozen_until;
            return self.at(thaw, Happening::Down(link, frame));
        }
        if machine.life == life && machine.link == Some(link) {
            let message: ToExecutor = decode_frame(&frame).expect("schedulers speak the protocol");
            self.tell_executor(executor, Heard::Received(message));
        }
    }

    pub(super) fn lost_above(&mut self, link: u64) {
        // Whoever is below has heard of it, or hears of it by another way.
        let entry = self.links.remove(&link);
        if entry.is_some_and(|entry| entry.above) && self.coordinator.is_up() {
            self.tell_coordinator(Input::Disconnected {
                connection: ConnectionId(link),
            });
        }
    }

    pub(super) fn lost_below(&mut self, executor: usize, life: u64, link: Option<u64>) {
        let machine = &mut self.executors[executor];
        if machine.life != life || machine.link != link {
            return;
        }
        if machine.frozen_until > self.now {
            let thaw = machine.frozen_until;
            return self.at(
                thaw,
                Happening::LostBelow {
                    executor,
                    life,
                    link,
                },
            );
        }
        machine.link = None;
        if let Some(link) = link
            && self.links.get(&link).is_some_and(|entry| !entry.above)
        {
            self.links.remove(&link);
        }
        let reason = "the network broke".into();
        self.tell_executor(executor, Heard::Disconnected { reason });
    }
}
