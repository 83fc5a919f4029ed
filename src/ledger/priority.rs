//! Giving way to requests: threads that no caller waits for, and work that is done between two waits.

/// Gives requests, and the one writer, precedence: for a thread that no caller waits for. On Linux this is
/// about the calling thread, and those that it starts.
pub(super) fn come_last() {
    // At worst it is in the way.
    let _ = rustix::process::nice(19);
}

/// Lines after which [`in_turns`] offers the core to others: some tens of microseconds of hashing.
const TURN: usize = 32;

/// Offers the core to others every [`TURN`] lines, if it is to.
///
/// Work of a millisecond that no request waits for would keep requests waiting: a kernel that preempts
/// lazily lets whoever has a core keep it to the end of the tick, 4 ms, also when a worker of more
/// urgent things wakes meanwhile.
pub(super) fn in_turns<I: Iterator>(items: I, offers: bool) -> impl Iterator<Item = I::Item> {
    items.enumerate().map(move |(number, item)| {
        if offers && number % TURN == TURN - 1 {
            std::thread::yield_now();
        }
        item
    })
}
