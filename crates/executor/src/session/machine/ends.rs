//! The ends of leases, with and without an outcome.

use super::*;

impl Session {
    pub(super) fn fault(&mut self, id: LeaseId, kind: FaultKind, message: &str) {
        self.end(
            id,
            Farewell::Fault(Fault {
                kind,
                message: message.to_owned(),
            }),
        );
    }

    /// Ends a lease without an outcome; the coordinator is told once it is there.
    pub(super) fn end(&mut self, id: LeaseId, mut farewell: Farewell) {
        self.strip(id);
        match &mut farewell {
            Farewell::Fault(fault) => {
                fault.message = cut(std::mem::take(&mut fault.message), TEXT_BYTES_MAX);
                if matches!(fault.kind, FaultKind::Lost | FaultKind::Disagreement) {
                    // Only the coordinator may say so.
                    fault.kind = FaultKind::Host;
                }
                self.trouble(fault.message.clone());
            }
            Farewell::Refuse(reason) => {
                self.trouble(format!("a task was left to others: {reason}"))
            }
            Farewell::HandBack => {}
        }
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.phase = Phase::Ending(farewell);
            self.ending.insert(id);
        }
    }

    /// Drops a lease that the coordinator knows to be over.
    pub(super) fn forget(&mut self, id: LeaseId) {
        self.strip(id);
        self.leases.remove(&id);
    }

    /// Undoes all that hangs on a lease but the lease itself: its thread, its blobs, its places in queues.
    pub(super) fn strip(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        self.fetching.remove(&id);
        self.ready.remove(&id);
        self.committing.remove(&id);
        self.concluded.remove(&id);
        self.ending.remove(&id);
        let blobs = std::mem::take(&mut lease.blobs);
        let (mut uploads, mut lost) = (Vec::new(), None);
        match &mut lease.phase {
            Phase::Running { thread } => {
                let thread = *thread;
                if let Some(state) = self.threads.get_mut(&thread)
                    && state.work.take_if(|work| work.lease == id).is_some()
                {
                    lost = state.next.take();
                    self.outputs.push_back(Output::Kill { thread });
                }
            }
            Phase::Concluded(concluded) => {
                self.unaccepted_bytes -= concluded.size;
                uploads = std::mem::take(&mut concluded.uploads);
            }
            Phase::Fetching { .. } | Phase::Ready { .. } | Phase::Ending(_) => {}
        }
        for cid in blobs {
            if self.fetches.release(cid, id) && !self.uploads.contains(cid) {
                self.outputs.push_back(Output::Release { cid });
            }
        }
        self.release_uploads(id, &uploads);
        if let Some(next) = lost.filter(|next| self.is_running(next.lease)) {
            self.end(next.lease, Farewell::HandBack);
        }
    }

    pub(super) fn release_uploads(&mut self, id: LeaseId, uploads: &[Cid]) {
        for cid in uploads {
            if self.uploads.release(*cid, id) && !self.fetches.contains(*cid) {
                self.outputs.push_back(Output::Release { cid: *cid });
            }
        }
    }

    pub(super) fn hand_back_unbegun(&mut self) {
        let mut unbegun: Vec<_> = self.fetching.union(&self.ready).copied().collect();
        unbegun.extend(self.given());
        unbegun
            .into_iter()
            .for_each(|id| self.end(id, Farewell::HandBack));
    }

    /// Hands back the newest leases that are more than the threads are good for.
    pub(super) fn trim(&mut self) {
        while self.active() > self.capacity() {
            let Some(newest) = self.fetching.last().max(self.ready.last()).copied() else {
                break;
            };
            self.end(newest, Farewell::HandBack);
        }
    }

    pub(super) fn say_farewells(&mut self) {
        let mut handed_back = Vec::new();
        for id in std::mem::take(&mut self.ending) {
            let Some(lease) = self.leases.remove(&id) else {
                continue;
            };
            match lease.phase {
                Phase::Ending(Farewell::Fault(fault)) => {
                    self.send(ToCoordinator::Fault { lease: id, fault })
                }
                Phase::Ending(Farewell::Refuse(reason)) => {
                    self.send(ToCoordinator::Refuse { lease: id, reason })
                }
                Phase::Ending(Farewell::HandBack)
                | Phase::Fetching { .. }
                | Phase::Ready { .. }
                | Phase::Running { .. }
                | Phase::Concluded(_) => handed_back.push(id),
            }
        }
        for leases in handed_back.chunks(LEASES_HELD_MAX) {
            self.send(ToCoordinator::HandBack {
                leases: leases.to_vec(),
            });
        }
    }
}
