//! Outcomes on their way: committed to, signed in batches, delivered, accepted.

use super::*;

impl Session {
    /// Something that only this executor and the coordinator know, for one lease.
    pub(super) fn salt(&self, id: LeaseId) -> ByteArray<32> {
        let proof = self.proof.map_or([0; 64], |proof| *proof.0);
        let said = [proof.as_slice(), &id.0.to_le_bytes()].concat();
        ByteArray::new(content_cid(&said).digest())
    }

    /// Commits to outcomes that are not to be told yet.
    pub(super) fn commit(&mut self) {
        let mut items = Vec::new();
        for id in std::mem::take(&mut self.committing) {
            let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get_mut(&id)
            else {
                continue;
            };
            concluded.stage = Stage::Committed;
            let salt = concluded.delivery.salt.unwrap_or_default();
            let digest = ByteArray::new(commitment(&salt, &concluded.statement));
            items.push(Commitment { lease: id, digest });
        }
        for items in items.chunks(DELIVERY_ITEMS_MAX) {
            self.send(ToCoordinator::Commit {
                items: items.to_vec(),
            });
        }
    }

    /// The coordinator asks for what was committed to.
    pub(super) fn reveal(&mut self, leases: &[LeaseId], now: Timestamp) {
        for id in leases {
            let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get_mut(id)
            else {
                continue;
            };
            if concluded.stage == Stage::Committed {
                concluded.stage = Stage::Ready;
                if self.concluded.is_empty() {
                    self.concluded_since = now;
                }
                self.concluded.insert(*id);
            }
        }
    }

    /// Asks for the signature of a batch, if it is time.
    pub(super) fn sign_batch(&mut self, now: Timestamp) {
        let busy = self.works().next().is_some();
        let wait = busy
            && self.concluded.len() < BATCH_ITEMS
            && now < self.concluded_since.after_ms(BATCH_MS);
        if !self.is_welcomed() || self.signing.is_some() || self.concluded.is_empty() || wait {
            return;
        }
        let (mut batch, mut statements, mut bytes) = (Vec::new(), Vec::new(), FRAME_ROOM_BYTES);
        for id in &self.concluded {
            let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get_mut(id)
            else {
                continue;
            };
            bytes += concluded.size;
            if batch.len() == DELIVERY_ITEMS_MAX || bytes > FRAME_BYTES_MAX {
                break;
            }
            concluded.stage = Stage::Signing;
            statements.push(concluded.statement);
            batch.push(*id);
        }
        batch.iter().for_each(|id| {
            self.concluded.remove(id);
        });
        self.concluded_since = now;
        if !batch.is_empty() {
            let id = self.next_sign();
            self.outputs.push_back(Output::Sign {
                id,
                bytes: MerkleTree::new(&statements).signed_bytes(),
            });
            self.signing = Some((id, batch));
        }
    }

    pub(super) fn batch_signed(&mut self, id: SignId, signature: Signature, now: Timestamp) {
        let Some((_, batch)) = self.signing.take_if(|(signing, _)| *signing == id) else {
            return;
        };
        let still = |lease: &LeaseId| match &self.leases.get(lease)?.phase {
            Phase::Concluded(concluded) => {
                (concluded.stage == Stage::Signing).then(|| concluded.delivery.clone())
            }
            Phase::Fetching { .. }
            | Phase::Ready { .. }
            | Phase::Running { .. }
            | Phase::Ending(_) => None,
        };
        let items: Vec<Delivery> = batch.iter().filter_map(still).collect();
        // The signature is over all of the batch: if the coordinator is away or revoked one, the rest is signed anew.
        let whole = self.is_welcomed() && items.len() == batch.len();
        for item in &items {
            let Some(lease) = self.leases.get_mut(&item.lease) else {
                continue;
            };
            let Phase::Concluded(concluded) = &mut lease.phase else {
                continue;
            };
            if whole {
                concluded.stage = Stage::Sent { at: now };
            } else {
                concluded.stage = Stage::Ready;
                self.concluded.insert(item.lease);
            }
        }
        if whole {
            self.send(ToCoordinator::Deliver { items, signature });
        }
    }

    pub(super) fn accepted(&mut self, leases: &[LeaseId], now: Timestamp) {
        for id in leases {
            let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get(id)
            else {
                continue;
            };
            if let Stage::Sent { at } = concluded.stage {
                self.trip_us = (self.trip_us * 7 + now.since_ms(at).max(1) * 1_000) / 8;
            }
            let instruction = concluded.delivery.outcome.instruction;
            self.postponed.remove(&instruction);
            self.status.tasks += 1;
            self.status.fuel = self
                .status
                .fuel
                .saturating_add(concluded.delivery.outcome.fuel.unwrap_or(0));
            self.forget(*id);
        }
    }
}
