//! The connection: made, greeted, polled through, given up and made again.

use super::*;

impl Session {
    pub(super) fn connected(&mut self, now: Timestamp) {
        if let Connection::Connecting { .. } = self.connection {
            self.connection = Connection::Open {
                until: now.after_ms(HANDSHAKE_MS),
            };
        }
    }

    pub(super) fn disconnected(&mut self, reason: String, now: Timestamp) {
        if !matches!(self.connection, Connection::Offline { .. }) {
            self.trouble(format!("the coordinator is away: {reason}"));
            let again = now.after_ms(self.backoff.next_ms());
            self.connection = Connection::Offline { again, reason };
        }
    }

    /// Ends the connection from this side.
    pub(super) fn hang_up(&mut self, reason: &str, now: Timestamp) {
        self.outputs.push_back(Output::Disconnect);
        self.disconnected(reason.to_owned(), now);
        self.trouble(reason.to_owned());
    }

    pub(super) fn received(&mut self, message: ToExecutor, now: Timestamp) {
        match (message, &self.connection) {
            (ToExecutor::Challenge { nonce, build }, Connection::Open { until }) => {
                let (until, sign) = (*until, self.next_sign());
                self.status.coordinator_build = build;
                self.outputs.push_back(Output::Sign {
                    id: sign,
                    bytes: hello_bytes(&nonce),
                });
                self.connection = Connection::Proving { until, sign };
            }
            (
                ToExecutor::Welcome {
                    heartbeat_ms,
                    resumed,
                },
                Connection::Greeted { .. },
            ) => {
                self.welcomed(heartbeat_ms, &resumed.into_iter().collect(), now);
            }
            (ToExecutor::Assign { leases }, Connection::Welcomed { .. }) => {
                self.assigned(leases, now)
            }
            (ToExecutor::Revoke { leases, reason: _ }, Connection::Welcomed { .. }) => {
                leases.into_iter().for_each(|lease| self.forget(lease));
            }
            (ToExecutor::Reveal { leases }, Connection::Welcomed { .. }) => {
                self.reveal(&leases, now)
            }
            (ToExecutor::Excluded { reason }, Connection::Welcomed { .. }) => {
                self.trouble(reason.clone());
                self.excluded = Some(reason);
            }
            (ToExecutor::Accepted { leases }, Connection::Welcomed { .. }) => {
                self.accepted(&leases, now)
            }
            (ToExecutor::Rejected { lease, reason }, Connection::Welcomed { .. }) => {
                if let Some(lease) = lease {
                    self.forget(lease);
                }
                self.trouble(format!("the coordinator refused: {reason}"));
            }
            (ToExecutor::Rejected { lease: _, reason }, _) => {
                self.hang_up(&format!("the coordinator refused: {reason}"), now);
            }
            (ToExecutor::Bye { reason }, _) => {
                self.hang_up(&format!("the coordinator said bye: {reason}"), now)
            }
            (
                ToExecutor::Challenge { .. }
                | ToExecutor::Welcome { .. }
                | ToExecutor::Assign { .. }
                | ToExecutor::Revoke { .. }
                | ToExecutor::Reveal { .. }
                | ToExecutor::Excluded { .. }
                | ToExecutor::Accepted { .. },
                // A message that was under way when this side hung up.
                Connection::Offline { .. } | Connection::Connecting { .. },
            ) => {}
            (ToExecutor::Challenge { .. } | ToExecutor::Welcome { .. }, _) => {
                self.hang_up("the coordinator began the handshake twice", now);
            }
            (
                ToExecutor::Assign { .. }
                | ToExecutor::Revoke { .. }
                | ToExecutor::Reveal { .. }
                | ToExecutor::Excluded { .. }
                | ToExecutor::Accepted { .. },
                _,
            ) => {
                self.hang_up("the coordinator spoke before the handshake was over", now);
            }
        }
    }

    pub(super) fn signed(&mut self, id: SignId, signature: Signature, now: Timestamp) {
        match self.connection {
            Connection::Proving { until, sign } if sign == id => {
                self.proof = Some(signature);
                let hello = self.hello(signature);
                self.send(ToCoordinator::Hello(Box::new(hello)));
                self.connection = Connection::Greeted { until };
            }
            _ => self.batch_signed(id, signature, now),
        }
    }

    pub(super) fn hello(&self, proof: Signature) -> Hello {
        let held = self.leases.iter().map(|(id, lease)| Held {
            lease: *id,
            instruction: lease.instruction,
        });
        Hello {
            key: self.config.key,
            proof,
            build: self.config.build.clone(),
            name: self.config.name.clone(),
            capabilities: self.config.capabilities.clone(),
            enrolment: self.config.enrolment.clone(),
            holding: held.collect(),
        }
    }

    pub(super) fn welcomed(
        &mut self,
        heartbeat_ms: u64,
        resumed: &BTreeSet<LeaseId>,
        now: Timestamp,
    ) {
        let heartbeat_ms = heartbeat_ms.clamp(*HEARTBEAT_MS.start(), *HEARTBEAT_MS.end());
        let next_heartbeat = now.after_ms(heartbeat_ms);
        self.connection = Connection::Welcomed {
            heartbeat_ms,
            next_heartbeat,
            poll: None,
            poll_from: now,
        };
        let lost: Vec<_> = self
            .leases
            .keys()
            .filter(|id| !resumed.contains(id))
            .copied()
            .collect();
        lost.into_iter().for_each(|id| self.forget(id));
        // Whether what was sent before arrived is not known, nor whether a coordinator that started anew asked for it:
        // say it again, from the commitment on.
        for (id, lease) in &mut self.leases {
            let Phase::Concluded(concluded) = &mut lease.phase else {
                continue;
            };
            match concluded.stage {
                Stage::Uploading { .. } | Stage::Committing => {}
                _ if lease.commit => {
                    concluded.stage = Stage::Committing;
                    self.concluded.remove(id);
                    self.committing.insert(*id);
                }
                // What is being signed is sent once that is done.
                Stage::Signing => {}
                Stage::Committed | Stage::Ready | Stage::Sent { .. } => {
                    concluded.stage = Stage::Ready;
                    self.concluded.insert(*id);
                }
            }
        }
        self.fetches.resume();
        self.uploads.resume();
        self.status.trouble.clear();
        self.excluded = None;
    }

    pub(super) fn is_welcomed(&self) -> bool {
        matches!(self.connection, Connection::Welcomed { .. })
    }

    pub(super) fn keep_connection(&mut self, now: Timestamp) {
        match &mut self.connection {
            Connection::Offline { again, .. } if *again <= now => {
                self.connection = Connection::Connecting {
                    until: Some(now.after_ms(HANDSHAKE_MS)),
                };
                self.outputs.push_back(Output::Connect);
                self.changed = true;
            }
            Connection::Connecting {
                until: until @ None,
            } => *until = Some(now.after_ms(HANDSHAKE_MS)),
            Connection::Connecting { until: Some(until) }
            | Connection::Open { until }
            | Connection::Proving { until, .. }
            | Connection::Greeted { until }
                if *until <= now =>
            {
                self.hang_up("the coordinator did not welcome this executor in time", now);
                self.changed = true;
            }
            Connection::Welcomed {
                poll: Some(poll), ..
            } if silent_at(poll.sent) <= now => {
                self.hang_up("the coordinator did not answer", now);
                self.changed = true;
            }
            Connection::Offline { .. }
            | Connection::Connecting { .. }
            | Connection::Open { .. }
            | Connection::Proving { .. }
            | Connection::Greeted { .. }
            | Connection::Welcomed { .. }
            | Connection::Over => {}
        }
    }

    pub(super) fn poll(&mut self, now: Timestamp) {
        let slots = self.slots();
        let Connection::Welcomed {
            poll: poll @ None,
            poll_from,
            ..
        } = &mut self.connection
        else {
            return;
        };
        if slots > 0 && *poll_from <= now {
            *poll = Some(Poll { slots, sent: now });
            self.send(ToCoordinator::Poll {
                slots,
                wait_ms: POLL_WAIT_MS,
            });
        }
    }

    pub(super) fn heartbeat(&mut self, now: Timestamp) {
        let Connection::Welcomed {
            heartbeat_ms,
            next_heartbeat,
            ..
        } = &mut self.connection
        else {
            return;
        };
        if *next_heartbeat <= now {
            *next_heartbeat = now.after_ms(*heartbeat_ms);
            // The connection lives: the next loss is not one of a series.
            self.backoff.reset();
            self.send(ToCoordinator::Heartbeat {
                leases: self.leases.keys().copied().collect(),
            });
        }
    }

    pub(super) fn finish_leaving(&mut self, now: Timestamp) {
        self.hand_back_unasked(now);
        let Some(leaving) = self.leaving else { return };
        let out_of_time = leaving.deadline.is_some_and(|deadline| deadline <= now);
        // Without a coordinator there is nobody to hand back to: its leases run out.
        let nobody = !self.is_welcomed()
            && self.works().next().is_none()
            && self.leases.len() == self.ending.len();
        if !self.leases.is_empty() && !out_of_time && !nobody {
            return;
        }
        if self.is_welcomed() {
            self.send(ToCoordinator::Leave);
        }
        if !matches!(self.connection, Connection::Offline { .. }) {
            self.outputs.push_back(Output::Disconnect);
        }
        self.connection = Connection::Over;
        self.outputs.push_back(Output::Changed);
        self.changed = false;
        self.outputs.push_back(Output::Finished);
    }

    /// An executor that leaves once it is done does not wait for ever to be asked for what it committed to.
    fn hand_back_unasked(&mut self, now: Timestamp) {
        let committed = |lease: &Lease| match &lease.phase {
            Phase::Concluded(concluded) => concluded.stage == Stage::Committed,
            Phase::Fetching { .. }
            | Phase::Ready { .. }
            | Phase::Running { .. }
            | Phase::Ending(_) => false,
        };
        let waits = !self.leases.is_empty() && self.leases.values().all(committed);
        let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.finish) else {
            return;
        };
        if !waits {
            leaving.deadline = None;
            return;
        }
        let deadline = *leaving
            .deadline
            .get_or_insert_with(|| now.after_ms(REVEAL_MS));
        if deadline <= now {
            let leases: Vec<LeaseId> = self.leases.keys().copied().collect();
            leases
                .into_iter()
                .for_each(|id| self.end(id, Farewell::HandBack));
            if self.is_welcomed() {
                self.say_farewells();
            }
        }
    }
}
