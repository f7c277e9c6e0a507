//! Executors: their connections, what they said of themselves, what they wait for and what they hold.

use std::collections::BTreeMap;

use asterism_protocol::{
    PublicKey, Timestamp,
    limits::NAME_BYTES_MAX,
    message::{Capabilities, Hello, hello_bytes},
    one_line,
};

use crate::{ConnectionId, Owner, affinity::Holdings, leases::Own};

/// Most executors that are gone and whose tallies are kept for their return.
const TALLIES_MAX: usize = 4_096;

/// A connection, from its challenge on.
pub(crate) struct Connection {
    nonce: [u8; 32],
    origin: String,
    pub(crate) key: Option<PublicKey>,
}

/// A poll that waits for its answer.
pub(crate) struct Poll {
    /// Its place among all polls.
    pub(crate) turn: u64,
    pub(crate) slots: u32,
    pub(crate) until: Timestamp,
}

/// What an executor did since the coordinator started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) tasks: u64,
    pub(crate) fuel: u64,
}

/// An executor that is here, or that is waited for.
pub(crate) struct Executor {
    /// `None` while its return is waited for.
    pub(crate) connection: Option<ConnectionId>,
    /// Until when its return is waited for.
    pub(crate) grace: Option<Timestamp>,
    pub(crate) name: String,
    pub(crate) owner: Owner,
    /// Fuel used in a second of computing, smoothed; 0 until it is known.
    pub(crate) fuel_per_s: u64,
    pub(crate) capabilities: Capabilities,
    pub(crate) since: Timestamp,
    pub(crate) poll: Option<Poll>,
    pub(crate) leases: Own,
    pub(crate) tally: Tally,
    /// What it is likely to have at hand.
    pub(crate) holdings: Holdings,
    /// Does the operator want it to get nothing more?
    pub(crate) draining: bool,
}

impl Executor {
    /// How many leases it holds for each of its threads: none, as long as one of them has nothing to do.
    pub(crate) fn load(&self) -> usize {
        self.leases.len() / self.capabilities.threads.max(1) as usize
    }

    /// Is it seen to be faster than another: twice as fast, roughly? Who was never seen is neither fast nor slow.
    pub(crate) fn is_faster(&self, other: &Self) -> bool {
        let speed = |executor: &Self| executor.fuel_per_s.checked_ilog2();
        speed(other).is_some_and(|others| speed(self).is_some_and(|own| own > others))
    }
}

/// Everybody who is connected or waited for.
#[derive(Default)]
pub(crate) struct Executors {
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) by_key: BTreeMap<PublicKey, Executor>,
    /// Waiting polls, in the order in which they are served next.
    pub(crate) turns: BTreeMap<u64, PublicKey>,
    next_turn: u64,
    tallies: BTreeMap<PublicKey, Tally>,
}

impl Executors {
    pub(crate) fn connect(&mut self, connection: ConnectionId, nonce: [u8; 32], origin: &str) {
        let entry = Connection {
            nonce,
            origin: shorten(origin, NAME_BYTES_MAX),
            key: None,
        };
        self.connections.insert(connection, entry);
    }

    /// Is this hello true, and fit to work with?
    pub(crate) fn check(
        &self,
        connection: ConnectionId,
        hello: &Hello,
        metering: &str,
        owners: &BTreeMap<String, String>,
    ) -> Result<Owner, String> {
        let nonce = self
            .connections
            .get(&connection)
            .map_or([0; 32], |connection| connection.nonce);
        hello
            .key
            .verify(&hello_bytes(&nonce), &hello.proof)
            .map_err(|error| error.to_string())?;
        if hello.capabilities.metering != metering {
            let theirs = shorten(&hello.capabilities.metering, NAME_BYTES_MAX);
            return Err(format!(
                "fuel is counted by {metering} here, not by {theirs}: update the executor"
            ));
        }
        if !hello.enrolment.is_empty() {
            return match owners.get(&hello.enrolment) {
                Some(owner) => Ok(Owner::Enrolled(owner.clone())),
                None => Err(
                    "its enrolment is not known here: ask the operator for one, or come without"
                        .to_owned(),
                ),
            };
        }
        let origin = self.connections.get(&connection).map(|entry| &entry.origin);
        Ok(match origin.filter(|origin| !origin.is_empty()) {
            Some(origin) => Owner::Origin(origin.clone()),
            None => Owner::Alone(hello.key),
        })
    }

    /// Welcomes an executor that passed [`Executors::check`]; leases of an earlier connection stay with it.
    pub(crate) fn welcome(
        &mut self,
        connection: ConnectionId,
        hello: &Hello,
        owner: Owner,
        now: Timestamp,
    ) -> &mut Executor {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.key = Some(hello.key);
        }
        let tally = self.tallies.remove(&hello.key).unwrap_or_default();
        let mut capabilities = hello.capabilities.clone();
        capabilities.host = shorten(&capabilities.host, NAME_BYTES_MAX);
        let executor = self.by_key.entry(hello.key).or_insert_with(|| Executor {
            connection: None,
            grace: None,
            name: String::new(),
            owner: owner.clone(),
            fuel_per_s: 0,
            capabilities: capabilities.clone(),
            since: now,
            poll: None,
            leases: Own::default(),
            tally,
            holdings: Holdings::default(),
            draining: false,
        });
        executor.connection = Some(connection);
        executor.grace = None;
        executor.owner = owner;
        executor.name = shorten(&one_line(&hello.name), NAME_BYTES_MAX);
        executor.capabilities = capabilities;
        executor.since = now;
        executor
    }

    /// Forgets an executor that holds nothing; its tally is kept for its return.
    pub(crate) fn forget(&mut self, key: &PublicKey) {
        if let Some(executor) = self.by_key.remove(key)
            && self.tallies.len() < TALLIES_MAX
        {
            self.tallies.insert(*key, executor.tally);
        }
    }

    /// The next turn of a poll: behind all others.
    pub(crate) fn next_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    pub(crate) fn connection_of(&self, key: &PublicKey) -> Option<ConnectionId> {
        self.by_key
            .get(key)
            .and_then(|executor| executor.connection)
    }

    /// Executors that are connected.
    pub(crate) fn here(&self) -> impl Iterator<Item = (&PublicKey, &Executor)> {
        self.by_key
            .iter()
            .filter(|(_, executor)| executor.connection.is_some())
    }
}

/// A text of at most `max` bytes, cut at a character.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
