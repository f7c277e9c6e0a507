//! Executors: hello, polls, heartbeats, and how they go.

use asterism_protocol::{
    Policy, PublicKey, limits,
    message::{Change, Held as HeldLease, Hello, LeaseId, ToCoordinator, ToExecutor},
    view::RunId,
};

use super::{Due, Scheduler};
use crate::{
    ConnectionId, Output, RequestId, SubmitError,
    affinity::Holdings,
    checked::{Checked, Said},
    digests::Digest,
    executors::Poll,
    leases::Why,
    works::{WorkId, work_key},
};

impl Scheduler {
    pub(super) fn received(&mut self, connection: ConnectionId, message: Checked) {
        let Some(entry) = self.executors.connections.get(&connection) else {
            return;
        };
        let result = match (entry.key, message.0) {
            (_, Said::Breach(reason)) => Err(reason),
            (None, Said::Message(ToCoordinator::Hello(hello))) => {
                self.hello(connection, &hello);
                Ok(())
            }
            (None, Said::Message(_) | Said::Delivered(_)) => Err("say hello first".to_owned()),
            (Some(key), Said::Message(message)) => self.told(connection, &key, message),
            (Some(key), Said::Delivered(delivered)) => self.deliver(connection, &key, delivered),
        };
        if let Err(reason) = result {
            self.turn_away(connection, &reason);
        }
    }

    /// A message of a welcomed executor. An error is a breach of the protocol and ends the connection.
    pub(super) fn told(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        message: ToCoordinator,
    ) -> Result<(), String> {
        match message {
            ToCoordinator::Hello(_) => return Err("hello is said once".to_owned()),
            ToCoordinator::Poll { slots, wait_ms } => self.poll(connection, key, slots, wait_ms),
            ToCoordinator::Heartbeat { leases } => self.heartbeat(connection, key, leases),
            ToCoordinator::Started { leases } => {
                for lease in leases {
                    if let Some(lease) = self.leases.get_mut(lease).filter(|own| own.key == *key) {
                        lease.started.get_or_insert(self.now);
                        self.changed_executors.insert(*key);
                    }
                }
            }
            ToCoordinator::Commit { items } => self.commit(connection, key, items),
            ToCoordinator::Deliver { .. } => return Err("a delivery was not checked".to_owned()),
            ToCoordinator::Fault { lease, fault } => {
                if let Some(work) = self.end_own_lease(key, lease) {
                    self.attempt_failed(work, *key, fault);
                }
            }
            ToCoordinator::Refuse { lease, reason } => {
                let refused = self.leases.get(lease).map(|lease| lease.limits);
                if let Some(id) = self.end_own_lease(key, lease) {
                    let work = self.works.get_mut(id);
                    // What it was asked for may not be what is asked for now.
                    if refused == Some(work.limits) {
                        let trouble = work.trouble.get_or_insert_default();
                        trouble.refuse(*key, connection, reason);
                    }
                    self.offer(id);
                }
            }
            ToCoordinator::HandBack { leases } => {
                for lease in leases {
                    if let Some(work) = self.end_own_lease(key, lease) {
                        self.offer(work);
                    }
                }
            }
            ToCoordinator::Leave => {
                self.hand_back_all(key);
                self.executors.connections.remove(&connection);
                self.end_poll(key);
                self.executors.forget(key);
                self.publish_gone(key);
                self.outputs.push_back(Output::Disconnect { connection });
            }
        }
        Ok(())
    }

    pub(super) fn hello(&mut self, connection: ConnectionId, hello: &Hello) {
        let checked = self.executors.check(
            connection,
            hello,
            &self.config.metering,
            &self.config.owners,
        );
        let owner = match checked {
            Ok(owner) => owner,
            Err(reason) => return self.turn_away(connection, &reason),
        };
        let key = hello.key;
        if let Some(older) = self.executors.connection_of(&key) {
            self.end_poll(&key);
            self.executors.connections.remove(&older);
            let reason = "the same executor connected again".to_owned();
            self.send(older, ToExecutor::Bye { reason });
            self.outputs
                .push_back(Output::Disconnect { connection: older });
        }
        let now = self.now;
        let executor = self.executors.by_key.get_mut(&key);
        if let Some(until) = executor.and_then(|executor| executor.grace.take()) {
            self.dues.remove(&(until, Due::Reconnect(key)));
        }
        self.executors.welcome(connection, hello, owner, now);
        let before = self.leases_of(&key);
        let resumed: Vec<LeaseId> = hello
            .holding
            .iter()
            .filter(|held| self.resume(&key, **held))
            .map(|held| held.lease)
            .collect();
        if resumed.is_empty() && !before.is_empty() {
            // It began anew, with nothing.
            if let Some(executor) = self.executors.by_key.get_mut(&key) {
                executor.holdings = Holdings::default();
            }
        }
        for lease in before.into_iter().filter(|lease| !resumed.contains(lease)) {
            self.lose(lease, "the executor came back without it");
        }
        let heartbeat_ms = self.config.heartbeat_ms;
        self.reserve_numbers();
        self.acknowledge(
            connection,
            ToExecutor::Welcome {
                heartbeat_ms,
                resumed,
            },
        );
        if let Some(exclusion) = self.trust.excluded(&key) {
            let reason = exclusion.reason.clone();
            self.send(connection, ToExecutor::Excluded { reason });
        }
        self.changed_executors.insert(key);
    }

    /// Goes on with a lease from before a connection was lost, or from before this scheduler began.
    pub(super) fn resume(&mut self, key: &PublicKey, held: HeldLease) -> bool {
        let digest = held.instruction.digest();
        if let Some(lease) = self.leases.get(held.lease) {
            let same = lease.key == *key && self.works.get(lease.work).digest == digest;
            if same {
                self.extend_lease(held.lease);
            }
            return same;
        }
        if self.trust.excluded(key).is_some() {
            return false;
        }
        let Some(work) = self.resumable(&digest, key) else {
            return false;
        };
        let entry = self.works.get(work);
        let mine = held.lease.0 <= self.leases_reserved && held.lease.0 < self.next_lease;
        let room = self
            .executors
            .by_key
            .get(key)
            .is_some_and(|executor| executor.leases.len() < limits::LEASES_HELD_MAX);
        if !entry.wants_more() || !mine || !room {
            return false;
        }
        self.lease_to(held.lease, work, key, Why::Resumed);
        true
    }

    /// What an executor may go on with that holds a lease from before this scheduler began.
    fn resumable(&self, digest: &Digest, key: &PublicKey) -> Option<WorkId> {
        let mut policies = vec![Policy::Any, Policy::Trusted, self.config.verify];
        policies.extend(
            self.running
                .iter()
                .map(|run| self.runs[run].header.policy()),
        );
        policies.sort_unstable();
        policies.dedup();
        let owner = self.owner_of(key);
        policies
            .iter()
            .filter_map(|policy| self.works.find(&work_key(digest, policy, &[])))
            .find(|id| {
                let work = self.works.get(*id);
                work.wants_more()
                    && (work.policy != Policy::Trusted || self.trusts(key))
                    && work
                        .proof
                        .as_ref()
                        .is_none_or(|proof| proof.may_ask(key, &owner))
            })
    }

    /// Leases nothing more to an executor, or does again.
    pub(super) fn drain(&mut self, request: RequestId, key: &PublicKey, draining: bool) {
        let result = match self.executors.by_key.get_mut(key) {
            Some(executor) => {
                executor.draining = draining;
                self.changed_executors.insert(*key);
                Ok(RunId(0))
            }
            None => Err(SubmitError::UnknownExecutor(*key)),
        };
        self.outputs.push_back(Output::Reply { request, result });
    }

    /// Tells that an executor is gone; one that was caught lying is shown on.
    pub(super) fn publish_gone(&mut self, key: &PublicKey) {
        let change = match self.excluded_view(key) {
            Some(view) => Change::Executor(view),
            None => Change::ExecutorGone(*key),
        };
        self.outputs.push_back(Output::Publish(Box::new(change)));
    }

    pub(super) fn poll(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        slots: u32,
        wait_ms: u64,
    ) {
        self.end_poll(key);
        let turn = self.executors.next_turn();
        let Some(executor) = self.executors.by_key.get_mut(key) else {
            return;
        };
        let room = limits::LEASES_HELD_MAX - executor.leases.len().min(limits::LEASES_HELD_MAX);
        let slots = slots.min(limits::POLL_SLOTS_MAX).min(room as u32);
        let wait_ms = wait_ms.min(limits::POLL_WAIT_MS_MAX);
        if slots == 0 && wait_ms == 0 {
            return self.send(connection, ToExecutor::Assign { leases: Vec::new() });
        }
        let until = self.now.after_ms(wait_ms);
        executor.poll = Some(Poll { turn, slots, until });
        if slots > 0 {
            self.executors.turns.insert(turn, *key);
        }
        self.dues.insert((until, Due::Poll(*key)));
        if wait_ms == 0 {
            self.assign();
            if self
                .executors
                .by_key
                .get(key)
                .is_some_and(|executor| executor.poll.is_some())
            {
                self.end_poll(key);
                self.send(connection, ToExecutor::Assign { leases: Vec::new() });
            }
        }
    }

    /// Forgets a poll; whoever calls this answers it.
    pub(super) fn end_poll(&mut self, key: &PublicKey) {
        let executor = self.executors.by_key.get_mut(key);
        if let Some(poll) = executor.and_then(|executor| executor.poll.take()) {
            self.executors.turns.remove(&poll.turn);
            self.dues.remove(&(poll.until, Due::Poll(*key)));
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        leases: Vec<LeaseId>,
    ) {
        let (alive, ended): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| {
            self.leases
                .get(*lease)
                .is_some_and(|lease| lease.key == *key)
        });
        for lease in alive {
            self.extend_lease(lease);
        }
        if !ended.is_empty() {
            // Not before the acceptance of those among them that were delivered.
            let reason = "these leases have ended".to_owned();
            let message = ToExecutor::Revoke {
                leases: ended,
                reason,
            };
            self.acknowledge(connection, message);
        }
    }

    pub(super) fn hand_back_all(&mut self, key: &PublicKey) {
        for lease in self.leases_of(key) {
            if let Some(work) = self.end_own_lease(key, lease) {
                self.offer(work);
            }
        }
    }

    pub(super) fn disconnected(&mut self, connection: ConnectionId) {
        let Some(key) = self
            .executors
            .connections
            .remove(&connection)
            .and_then(|entry| entry.key)
        else {
            return;
        };
        self.end_poll(&key);
        let until = self.now.after_ms(self.config.reconnect_grace_ms);
        let Some(executor) = self.executors.by_key.get_mut(&key) else {
            return;
        };
        executor.connection = None;
        executor.grace = Some(until);
        self.dues.insert((until, Due::Reconnect(key)));
        self.changed_executors.remove(&key);
        self.publish_gone(&key);
        self.forget_if_gone(&key);
    }

    /// Ends a connection that broke the protocol. Its leases are lost at once: whoever breaks it is not waited for.
    pub(super) fn turn_away(&mut self, connection: ConnectionId, reason: &str) {
        self.send(
            connection,
            ToExecutor::Rejected {
                lease: None,
                reason: reason.to_owned(),
            },
        );
        self.send(
            connection,
            ToExecutor::Bye {
                reason: reason.to_owned(),
            },
        );
        self.outputs.push_back(Output::Disconnect { connection });
        if let Some(key) = self
            .executors
            .connections
            .get(&connection)
            .and_then(|entry| entry.key)
        {
            self.disconnected(connection);
            self.lose_executor(&key, reason);
        }
        self.executors.connections.remove(&connection);
    }
}
