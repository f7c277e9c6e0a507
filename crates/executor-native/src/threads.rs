//! Compute threads, each with a host of its own.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use asterism_executor::{Attempt, Host, Job, Stopper};
use asterism_protocol::message::{Fault, FaultKind, LeaseId};

/// Makes a host; called once for each thread, and again after a host panicked.
pub(crate) type Factory = Arc<dyn Fn() -> Box<dyn Host + Send> + Send + Sync>;

/// The stack of a compute thread, in bytes: guests have one MiB on it, compilers more.
const STACK_BYTES: usize = 8 << 20;

/// One task for a thread.
pub(crate) struct Order {
    pub(crate) lease: LeaseId,
    pub(crate) job: Box<Job>,
    pub(crate) component: Arc<Vec<u8>>,
    /// The thread had another task to end first, so its beginning is to be told.
    pub(crate) announce: bool,
}

/// What a thread says.
pub(crate) enum Said {
    /// It makes the component ready.
    Preparing,
    /// It enters the guest.
    Prepared,
    /// It is done.
    Ended {
        lease: LeaseId,
        result: Result<Box<Attempt>, Fault>,
    },
    /// Its host cannot run the component.
    Unfit { lease: LeaseId, reason: String },
}

/// A compute thread. It ends when this is dropped and its task is done.
pub(crate) struct ComputeThread {
    orders: mpsc::Sender<Order>,
    stopper: Arc<Mutex<Option<Stopper>>>,
    /// Orders that were given and did not end.
    open: u32,
}

impl ComputeThread {
    /// Starts a thread; `say` blocks until the shell has room to listen.
    pub(crate) fn start(
        name: String,
        factory: Factory,
        say: impl Fn(Said) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, queue) = mpsc::channel::<Order>();
        let stopper = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&stopper);
        thread::Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let new_host = || {
                    let host = factory();
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = host.stopper();
                    host
                };
                let mut host = new_host();
                for order in queue {
                    let attempt =
                        catch_unwind(AssertUnwindSafe(|| perform(&mut *host, &order, &say)));
                    say(attempt.unwrap_or_else(|panic| {
                        host = new_host();
                        let message = format!("the host panicked: {}", words(&*panic));
                        Said::Ended {
                            lease: order.lease,
                            result: Err(Fault {
                                kind: FaultKind::Host,
                                message,
                            }),
                        }
                    }));
                }
            })?;
        Ok(Self {
            orders,
            stopper,
            open: 0,
        })
    }

    /// Is it busy? It can be, with a task that is not wanted any more.
    pub(crate) fn is_busy(&self) -> bool {
        self.open > 0
    }

    /// Gives a task; `false` if the thread is gone.
    pub(crate) fn order(&mut self, order: Order) -> bool {
        self.open += 1;
        self.orders.send(order).is_ok()
    }

    /// It said that an order ended.
    pub(crate) fn ended(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Ends what runs, if the host can; otherwise its own time limit does.
    pub(crate) fn stop(&self) {
        if let Some(stop) = &*self.stopper.lock().unwrap_or_else(PoisonError::into_inner) {
            stop();
        }
    }
}

/// Performs an order; what it says last is returned.
fn perform(host: &mut dyn Host, order: &Order, say: &impl Fn(Said)) -> Said {
    let lease = order.lease;
    let prepare = !host.holds(order.job.component);
    if prepare {
        say(Said::Preparing);
        if let Err(unfit) = host.prepare(order.job.component, &order.component) {
            return Said::Unfit {
                lease,
                reason: unfit.to_string(),
            };
        }
    }
    if prepare || order.announce {
        say(Said::Prepared);
    }
    Said::Ended {
        lease,
        result: host.run(&order.job).map(Box::new),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}
