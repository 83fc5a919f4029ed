//! Egret, an outbound HTTP proxy that injects secrets.
//!
//! A request that says `<<github-pat>>` where a credential belongs goes in; the request with the
//! real value comes out at the upstream, and nowhere else. This page is the architecture: how the
//! inside holds together, and why.
//!
//! # The flow
//!
//! ```text
//! client ─► listener ─┬ absolute-form ───────────────────────────────┐
//!                     └ CONNECT ► sniff ► TLS (leaf) ► http or http2 ─┴► Exchange
//!
//!   authenticate ► scan ► resolve ► authorise ► open + substitute ► record ► Upstream::send
//!                         metadata                                  durable        │
//!         client ◄──── scrub (head, body, trailers, messages) ◄──────────────────────────────┘
//!                                  └► `scrubbed` and `result` lines in the ledger
//! ```
//!
//! # Three promises
//!
//! **One way out.** A secret leaves the process only through
//! [`Upstream::send`](proxy::outbound::upstream::Upstream::send), and that takes an
//! [`Exchange`](proxy::exchange::pipeline::Exchange) in state `Recorded`: authenticated, resolved,
//! authorised, substituted and on disk. Every state is reached by consuming the one before, so the
//! wrong order does not compile ([`proxy::exchange::pipeline`] shows that it does not).
//!
//! **One of each.** There is one placeholder scanner ([`substitution::placeholder`]), one splice
//! ([`substitution::splice`]), one list of hop-by-hop headers ([`policy::location::header_role`],
//! applied by [`proxy::exchange::hop_by_hop`]) and one place that answers a refusal ([`proxy::response::problem`]), whatever
//! the transport; one scrubber ([`scrub`]) for all that comes back. Where each transport has its own copy, the copies differ exactly where the
//! security bugs are.
//!
//! **Fail closed, soon, and say why.** What cannot be understood, opened or recorded is refused
//! with a code of [`error::Code`] and a detail that says how to mend it. Nothing is forwarded bare,
//! cut short or passed over in silence.
//!
//! # The rooms, in flow order
//!
//! | module | what it does | what it may not know |
//! | --- | --- | --- |
//! | [`proxy`] | connections, tunnels, the pipeline, the way out and back | how values are stored |
//! | [`tls`] | the local authority, leaves, both handshakes | requests |
//! | [`identity`] | from `Proxy-Authorization` to principal and action | values |
//! | [`substitution`] | slugs, scanning, encodings, splicing. Pure | clocks, files, sockets |
//! | [`scrub`] | every form of a value, found and replaced in a stream. Pure | clocks, files, sockets |
//! | [`coding`] | gzip, deflate, br and zstd, opened and closed. Pure | clocks, files, sockets |
//! | [`websocket`] | frames, read and written. Pure | clocks, files, sockets, values |
//! | [`policy`] | where a credential may be used. Pure | clocks, files, sockets |
//! | [`vault`] | credentials: the store moves sealed blobs, only the vault opens them | requests |
//! | [`ledger`] | the usage record: lines, chain, signed tree, the one writer, its checker, readers, the usage index | values, the vault |
//! | [`config`] | what was typed becomes what the program needs | |
//! | [`views`] | what commands, API and page show, as JSON | values |
//! | [`admin`] | health, readiness and metrics | values |
//! | [`observe`] | logs that hold no value; a process that cannot be dumped | |
//! | [`memory`] | locked pages for values; zeros over all that is freed | what a value is |
//! | [`cli`] | the commands | |
//! | [`app`] | the only place that puts parts together | |
//! | [`secret`], [`error`] | the one type that owns a value; the closed set of codes | |
//!
//! A test reads every `use` line and holds these rules.
//!
//! # Why it is so
//!
//! * **The head guard** ([`proxy::inbound::head_guard`]). The HTTP library refuses raw `<` in a request line, and
//!   real clients send exactly that. So heads are read on the raw bytes first, and what two parsers
//!   could read differently is refused there, with a problem document. The library stays the only
//!   parser of message framing.
//! * **Each client's own protocol goes on to the upstream** ([`proxy::outbound::upstream`]): one of HTTP/1.1
//!   keeps the order and case of its header lines, one of HTTP/2 its streams. An upstream that will
//!   not have it gets the other. HTTP/2 ([`proxy::inbound::http2`]) needs no head guard; it also has no way
//!   to carry a raw `<` in a target, so a client that offers both gets HTTP/1.1.
//! * **The same bytes are compared and sent.** A URL library that tidies a path would make the
//!   policy judge another path than the upstream serves. The destination is decided once; `Host`,
//!   CONNECT and TLS name have to agree with it; the address that was checked is the one dialled.
//! * **Plaintext is opened for one request**, after it was authorised; values lie sealed in memory
//!   as on disk. The exception is the scrubber's needles, which cannot search for what they do not
//!   know ([`proxy::exchange::needle_cache`]), and the same for the filter over log lines ([`observe::redact`]).
//! * **Freed memory is wiped by the allocator** ([`memory`]), because a value passes through buffers
//!   of libraries that no type of ours can wipe. `docs/security.md` says what that does not reach.
//! * **A body too large to hold is decided on as it streams** ([`proxy::exchange::streamed_body`]): found,
//!   authorised, opened, recorded, and only then handed to the stream, placeholder by placeholder.
//! * **A WebSocket message is decided on like a request** ([`proxy::websocket`]): at its moment, by the
//!   same search, permits and ledger lines. Frames are cut anew on the way through, so one of any
//!   length passes in constant memory, and a message to the client is scrubbed as one text.
//! * **A change holds from the next request.** Whether another process has committed to the store
//!   is seen in memory ([`vault::store::CommitWatch`]), cheap enough to ask every time, so there is no interval in
//!   which a revoked credential still works.
//! * **A connection stays on one thread** ([`proxy::runtime::workers`]), with the upstream connections of its
//!   requests: each core has a runtime of its own and accepts for itself, from the one listening
//!   socket, unless another has fewer connections. Nothing on the path of a request is handed
//!   over. The price is that a long computation keeps waiting what else is on its core, so whatever
//!   takes long is done in pieces.
//! * **Requests go before handshakes** ([`proxy::runtime::pacing`]), whose steps take ten times as long:
//!   a thousand that begin at once take turns, and between two turns the worker serves what is
//!   ready. What requests under way wait for goes before clients that have just come.
//! * **A tunnel remembers who asks** ([`proxy::inbound::entry`]) until the clients, the settings or the time
//!   could make it somebody else. Besides the work this keeps a client's connections on two cores
//!   from counting together who holds its name.
//! * **What all share, each connection or worker holds once** ([`proxy::inbound::http1`], [`proxy::exchange::needle_cache`]),
//!   and a request holds on to that: two cores that count together who holds a thing wait for each
//!   other at each request.
//! * **A head is searched as it came** ([`proxy::exchange::pipeline`]), all at once; its parts one by one only
//!   if something is in there.
//! * **The future of a request is small** ([`proxy::inbound::http1`]), because each connection has room for one
//!   and it is moved for each request: what few requests need is in a box.
//! * **An exchange drives its upstream connection itself** ([`proxy::outbound::http1`]) while it waits for
//!   the answer: a task for each connection would be woken, and would wake, for every request.
//!   One that many share has a task of its own, and what comes on it for a request wakes that
//!   request's task and no other ([`proxy::outbound::http2`]).
//! * **Log lines gather for a thread** ([`observe::access_log`]), because a reader that is slow would
//!   otherwise stop a worker with all its connections.
//! * **Large bodies are read in large pieces** ([`proxy::runtime::read_ahead`]), small ones as they come: no
//!   connection that waits holds a buffer.
//! * **The ledger writer is a thread**, because an fsync on an async worker stalls every connection
//!   on it; requests that arrive together share one. It signs and rotates after they were answered.
//! * **Ledger lines are written as JSON where they arise** ([`ledger::Draft`]), because what they tell
//!   of can be borrowed there: a request hands the writer one piece of memory.
//! * **The ledger's signing key is sealed by the vault's master key**, and neither knows the other:
//!   [`app`] hands the one to the other ([`ledger::writer::signing::Seal`]).
//! * **The checker of the ledger shares nothing with its writer** ([`ledger::verify`]) but the
//!   definitions of the format: a mistake of the writer's must not be repeated by what is to find it.
//! * **The usage index is derived** ([`ledger::usage`]) and bound to its ledger by the hash of the
//!   last line it knows. It may be lost or wrong at any time, because it can be made again.
//! * **Library errors are never shown.** They quote what they were handling, and that can be a
//!   secret. Ours are written here.

pub mod admin;
pub mod app;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod coding;
pub mod config;
pub mod error;
pub mod files;
pub mod identity;
pub mod ledger;
pub mod memory;
pub mod observe;
pub mod policy;
pub mod proxy;
pub mod scrub;
pub mod secret;
pub mod substitution;
pub mod tls;
pub mod vault;
pub mod views;
pub mod websocket;
