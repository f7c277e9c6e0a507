//! Which partitions are here: taking what is free, up to a share, and handing over what is more than one.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::Arc,
    thread,
};

use asterism_protocol::{
    PublicKey,
    view::{ExecutorView, Standing},
};
use asterism_scheduler::{Config, Scheduler};
use hyper_util::service::TowerToHyperService;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch as told},
    task::{JoinError, JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tracing::{debug, info, warn};

use super::{
    Front, Local, Seat,
    decisions::{Told, listen},
};
use crate::{
    app::Own,
    diary,
    driver::{Clock, Driver, Parts, StartError, Threads, Trouble, Unmet, Waiting},
    http,
    hub::Hub,
    limits::{ASK_EVERY, KEPT_FOR, LEFT_TO_OTHERS, RETRY_MAX, TERM, TURNED_AT_ONCE},
    store::{Decision, Journal, JournalError, Meeting, Seen, Tenure},
};

/// Of so many looks at the journal one is at the components, too.
const COMPONENTS_EVERY: u32 = 4;

/// Keeps the partitions that are to be here.
pub(super) struct Keeper {
    front: Arc<Front>,
    /// Those that are being taken.
    starting: JoinSet<(u16, Result<Begun, StartError>)>,
    /// Those that are here, until they are given back.
    running: JoinSet<u16>,
    /// All of both.
    busy: BTreeSet<u16>,
    /// Since when nobody holds which.
    free: BTreeMap<u16, Instant>,
    /// Those that are left to others, and until when: they could not be taken, or were given away just before.
    left: BTreeMap<u16, Instant>,
    /// What was handed over last, as long as nobody has it.
    handed: Option<u16>,
    /// Until when nothing is handed over.
    kept: Option<Instant>,
    /// How often it looked around.
    looks: u32,
    /// Reads what others have added of components.
    reading: Option<JoinHandle<()>>,
    /// Whom seats have caught.
    caught: mpsc::UnboundedReceiver<Decision>,
    /// What of that is not noted yet.
    to_note: VecDeque<Decision>,
}

/// A seat that can be served.
struct Begun {
    local: Arc<Local>,
    threads: Threads,
    close: told::Sender<bool>,
    decided: mpsc::UnboundedReceiver<Told>,
}

impl Keeper {
    pub(super) fn new(front: Arc<Front>, caught: mpsc::UnboundedReceiver<Decision>) -> Self {
        Self {
            front,
            starting: JoinSet::new(),
            running: JoinSet::new(),
            busy: BTreeSet::new(),
            free: BTreeMap::new(),
            left: BTreeMap::new(),
            handed: None,
            kept: None,
            looks: 0,
            reading: None,
            caught,
            to_note: VecDeque::new(),
        }
    }

    /// Takes what is free now; there may be nothing.
    pub(super) async fn begin(&mut self) -> Result<(), StartError> {
        let meeting = self.meet().await?;
        self.read_decisions(&meeting).await?;
        self.learn(&meeting);
        self.take(&meeting);
        while let Some(joined) = self.starting.join_next().await {
            match self.started(joined) {
                // Somebody else was faster.
                Ok(()) | Err(StartError::Held(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Goes on until the coordinator stops, and all is given back.
    pub(super) async fn keep(mut self) {
        let mut look = tokio::time::interval(ASK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let front = Arc::clone(&self.front);
        let mut closed = std::pin::pin!(front.closed());
        loop {
            tokio::select! {
                _ = look.tick() => {
                    if let Err(error) = self.look().await {
                        // Whoever holds a partition notices by itself.
                        debug!(%error, "the journal does not answer");
                    }
                }
                Some(joined) = self.starting.join_next() => match self.started(joined) {
                    Ok(()) | Err(StartError::Held(_)) => {}
                    Err(error) => warn!(%error, "a partition could not be taken"),
                },
                Some(joined) = self.running.join_next() => self.ended(joined),
                Some(decision) = self.caught.recv() => self.to_note.push_back(decision),
                () = &mut closed => break,
            }
        }
        while let Some(joined) = self.starting.join_next().await {
            // They see by themselves that it is over.
            drop(self.started(joined));
        }
        while let Some(joined) = self.running.join_next().await {
            self.ended(joined);
        }
        let holder = self.front.holder.clone();
        // Its term is over soon by itself.
        let _ = self.journal(move |journal| journal.part(&holder)).await;
    }

    async fn look(&mut self) -> Result<(), StartError> {
        while let Some(decision) = self.to_note.front().cloned() {
            self.journal(move |journal| journal.decide(&decision))
                .await?;
            self.to_note.pop_front();
        }
        let meeting = self.meet().await?;
        self.read_decisions(&meeting).await?;
        self.learn(&meeting);
        self.take(&meeting);
        self.hand_over(&meeting);
        self.looks = self.looks.wrapping_add(1);
        let reads = self.reading.as_ref();
        let reads = reads.is_some_and(|reading| !reading.is_finished());
        if self.looks.is_multiple_of(COMPONENTS_EVERY) && !reads {
            let general = Arc::clone(&self.front.general);
            // For whoever watches; who asks for one has them read before. Nobody waits for it who has to say that we are here.
            let reading = async move { drop(general.blocking(http::refresh).await) };
            self.reading = Some(tokio::spawn(reading));
        }
        Ok(())
    }

    async fn journal<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, StartError> {
        let journal = Arc::clone(&self.front.general.journal);
        Ok(apart("coordinators", move || ask(&*journal)).await??)
    }

    async fn meet(&self) -> Result<Meeting, StartError> {
        let holder = self.front.holder.clone();
        let locals = self.front.locals();
        let unmet: Vec<(Tenure, u64)> = locals
            .iter()
            .filter_map(|(_, local)| local.unmet.of_tenure())
            .collect();
        self.journal(move |journal| journal.meet(&holder, TERM, &unmet))
            .await
    }

    /// Where those are that are not here, and what waits there.
    fn learn(&self, meeting: &Meeting) {
        let front = &self.front;
        let ours = &front.holder.name;
        let mut present = front.present();
        present.clone_from(&meeting.present);
        drop(present);
        let mut hungry = 0;
        front.seats.send_modify(|seats| {
            for (seat, seen) in seats.iter_mut().zip(&meeting.partitions) {
                if let Seat::Here(_) = seat {
                    continue;
                }
                let Seen { holder, unmet } = seen;
                let mut waiting = match seat {
                    Seat::There { waiting, .. } => *waiting,
                    Seat::Here(_) | Seat::Nobody => Waiting::default(),
                };
                waiting.becomes(*unmet);
                *seat = match holder.as_ref().filter(|holder| holder.name != *ours) {
                    Some(holder) => {
                        hungry += unmet;
                        Seat::There {
                            address: holder.address.clone(),
                            waiting,
                        }
                    }
                    None => Seat::Nobody,
                };
            }
        });
        for _ in 0..hungry.min(TURNED_AT_ONCE) {
            front.more.notify_one();
        }
    }

    /// Takes what is ours: what has our name, and what is free, up to a share.
    fn take(&mut self, meeting: &Meeting) {
        let now = Instant::now();
        let ours = self.front.holder.name.clone();
        let mut room = share(meeting).saturating_sub(self.busy.len());
        for (partition, seen) in (0..).zip(&meeting.partitions) {
            let free = match &seen.holder {
                // Of one that had this folder before.
                Some(holder) if holder.name == ours => true,
                Some(_) => {
                    self.free.remove(&partition);
                    self.handed.take_if(|handed| *handed == partition);
                    false
                }
                None => {
                    let since = *self.free.entry(partition).or_insert(now);
                    room > 0 || now.duration_since(since) >= LEFT_TO_OTHERS
                }
            };
            let left = self.left.get(&partition).is_some_and(|until| now < *until);
            if free && !left && self.busy.insert(partition) {
                room = room.saturating_sub(1);
                if self.handed.take_if(|handed| *handed == partition).is_some() {
                    self.kept = Some(now + KEPT_FOR);
                }
                let front = Arc::clone(&self.front);
                self.starting
                    .spawn(async move { (partition, begin(&front, partition).await) });
            }
        }
    }

    /// One of several that are too many for us goes to somebody who has too few.
    fn hand_over(&mut self, meeting: &Meeting) {
        let is_free = |seen: &Seen| seen.holder.is_none();
        let kept = self.kept.is_some_and(|until| Instant::now() < until);
        let locals = self.front.locals();
        // One that comes or goes is not counted right by anybody.
        let settled = self.busy.len() == locals.len() && !meeting.partitions.iter().any(is_free);
        if kept || !settled {
            return;
        }
        let held = |name: &str| {
            let seen = meeting
                .partitions
                .iter()
                .filter_map(|seen| seen.holder.as_ref());
            seen.filter(|holder| holder.name == name).count()
        };
        let least = meeting
            .present
            .iter()
            .map(|holder| held(&holder.name))
            .min();
        let fewest = meeting.partitions.len() / meeting.present.len().max(1);
        let too_many = locals.len() > share(meeting)
            || locals.len() > fewest && least.is_some_and(|least| least < fewest);
        if let Some((partition, local)) = locals.last().filter(|_| too_many) {
            info!(partition, "handing a partition over");
            local.leave.notify_one();
            self.handed = Some(*partition);
        }
    }

    fn started(
        &mut self,
        joined: Result<(u16, Result<Begun, StartError>), JoinError>,
    ) -> Result<(), StartError> {
        let (partition, begun) = joined.map_err(io::Error::other)?;
        let begun = begun.inspect_err(|error| {
            self.busy.remove(&partition);
            if !matches!(error, StartError::Held(_)) {
                self.left.insert(partition, Instant::now() + RETRY_MAX);
            }
        })?;
        self.free.remove(&partition);
        let known = self.front.begins_here(partition, &begun.local);
        let front = Arc::clone(&self.front);
        self.running.spawn(async move {
            serve(&front, partition, begun, known).await;
            partition
        });
        Ok(())
    }

    fn ended(&mut self, joined: Result<u16, JoinError>) {
        match joined {
            Ok(partition) => {
                self.busy.remove(&partition);
                // Whom it was handed over to is not always faster.
                self.left.insert(partition, Instant::now() + LEFT_TO_OTHERS);
            }
            Err(error) => warn!(%error, "what serves a partition had panicked"),
        }
    }

    /// Learns whom others have excluded, and tells all that are here.
    async fn read_decisions(&mut self, meeting: &Meeting) -> Result<(), StartError> {
        let last = self.front.last_decision();
        if meeting.decisions > last {
            let read = self.journal(move |journal| journal.decisions(last)).await?;
            self.front.learn_decisions(read);
        }
        Ok(())
    }
}

/// How many partitions one of those that are here has at most.
fn share(meeting: &Meeting) -> usize {
    meeting
        .partitions
        .len()
        .div_ceil(meeting.present.len().max(1))
}

/// Does what blocks on a thread of its own. Those that there are for that may all be taken by what strangers ask for, and who says
/// nothing to other coordinators for some seconds is gone for them.
async fn apart<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    let work = move || drop(tell.send(work()));
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    told.await.map_err(io::Error::other)
}

/// Takes a partition, and brings its scheduler back.
async fn begin(front: &Arc<Front>, partition: u16) -> Result<Begun, StartError> {
    let general = &front.general;
    let hub = Arc::new(Hub::new(Arc::clone(&general.metrics)));
    let trouble = Arc::new(Trouble::default());
    let unmet = Arc::new(Unmet::new(Arc::clone(&front.more)));
    let clock = Clock::new();
    let parts = Parts {
        config: Config {
            partition,
            partitions: front.partitions,
            ..front.config.clone()
        },
        seed: front.seed ^ u64::from(partition),
        holder: front.holder.clone(),
        journal: Arc::clone(&general.journal),
        blobs: Arc::clone(&general.blobs),
        compact_after: front.compact_after,
        hub: Arc::clone(&hub),
        metrics: Arc::clone(&general.metrics),
        trouble: Arc::clone(&trouble),
        clock,
        unmet: Arc::clone(&unmet),
        caught: Some(front.caught.clone()),
    };
    // Replaying a long log takes a while.
    let (driver, threads) = apart("recovery", move || Driver::start(parts)).await??;
    let (close, closing) = told::channel(false);
    let own = Own {
        driver,
        hub,
        trouble,
        clock,
        closing,
    };
    let app = Arc::new(general.of_partition(own));
    let (decide, decided) = mpsc::unbounded_channel();
    let local = Local {
        router: TowerToHyperService::new(http::of_partition(Arc::clone(&app))),
        app,
        unmet,
        decided: decide,
        leave: Notify::new(),
    };
    Ok(Begun {
        local: Arc::new(local),
        threads,
        close,
        decided,
    })
}

/// Serves a partition until it is somebody else's, or is to be.
async fn serve(front: &Front, partition: u16, begun: Begun, known: BTreeSet<PublicKey>) {
    let Begun {
        local,
        threads,
        close,
        decided,
    } = begun;
    info!(partition, "holding a partition");
    let app = &local.app;
    if front.diary {
        tokio::spawn(diary::keep(Arc::clone(app)));
    }
    let listening = tokio::spawn(listen(app.driver.clone(), decided));
    tokio::select! {
        () = app.trouble.overtaken() => {}
        // It panicked: whoever takes the partition next goes on from its log.
        () = app.driver.gone() => {}
        () = local.leave.notified() => {}
        () = front.closed() => {}
        never = tell_of_excluded(front, &app.driver, &known) => match never {},
    }
    // Whoever asks from now on waits for the next holder.
    front
        .seats
        .send_modify(|seats| seats[usize::from(partition)] = Seat::Nobody);
    let _ = close.send_replace(true);
    listening.abort();
    app.driver.clone().stop(threads).await;
    info!(partition, "a partition is given back");
}

/// Sees to it that others know whom this partition's journal excludes: who was caught just before a crash was not noted. Then waits
/// for ever.
async fn tell_of_excluded(
    front: &Front,
    driver: &Driver,
    known: &BTreeSet<PublicKey>,
) -> std::convert::Infallible {
    let is_unknown =
        |view: &ExecutorView| view.standing == Standing::Excluded && !known.contains(&view.key);
    if let Ok((overview, _)) = driver.look(Scheduler::overview).await {
        for view in overview.executors.into_iter().filter(is_unknown) {
            let decision = Decision {
                executor: view.key,
                at: front.general.clock.now(),
                excluded: Some(view.reason),
            };
            // Nobody listens any more when the coordinator stops.
            let _ = front.caught.send(decision);
        }
    }
    std::future::pending().await
}
