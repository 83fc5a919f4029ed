//! Egret, an outbound HTTP proxy that injects secrets.
//!
//! A request that says `<<github-pat>>` where a credential belongs goes in. The request with the
//! real value reaches the upstream, and the value goes nowhere else. This page is the architecture:
//! how the parts fit together, and why.
//!
//! # The flow
//!
//! ```text
//! client ─► listener ─┬ absolute-form ───────────────────────────────────┐
//!                     └ CONNECT ► sniff ► TLS (leaf) ► HTTP/1.1 or HTTP/2 ─┴► Exchange
//!
//!   authenticate ► scan ► resolve ► authorise ► obtain ► substitute ► record ► Upstream::send
//!                         metadata              may wait              durable        │
//!         client ◄──── scrub (head, body, trailers, messages) ◄─────────────────────────────┘
//!                                  └► `scrubbed` and `result` lines in the ledger
//! ```
//!
//! # Three promises
//!
//! **One way out.** A secret leaves the process only through
//! [`Upstream::send`](proxy::outbound::upstream::Upstream::send). That function takes an
//! [`Exchange`](proxy::exchange::pipeline::Exchange) in state `Recorded`: authenticated, resolved,
//! authorised, substituted and on disk. Every state is reached by consuming the one before, so the
//! wrong order does not compile ([`proxy::exchange::pipeline`] shows that it does not).
//!
//! **One of each.** Every transport shares one placeholder scanner
//! ([`substitution::placeholder`]), one splice ([`substitution::splice`]), one decision about a
//! placeholder ([`proxy::exchange::authorisation`]), one list of hop-by-hop fields
//! ([`policy::location::header_role`], applied by [`proxy::exchange::hop_by_hop`]), one error
//! responder ([`proxy::response::problem`]) and one scrubber ([`scrub`]). Where each transport has
//! a copy of its own, the copies differ exactly where the security bugs are.
//!
//! **Fail closed, soon, and say why.** What cannot be understood, opened or recorded is refused
//! with a code of [`error::Code`] and a detail that says how to fix it. Nothing is forwarded bare,
//! truncated or skipped in silence.
//!
//! # The modules, in flow order
//!
//! | module | what it does | what it may not know |
//! | --- | --- | --- |
//! | [`proxy`] | connections, tunnels, the pipeline, upstreams and answers | how values are stored |
//! | [`services`] | the catalogue of well-known services. Pure | clocks, files, sockets |
//! | [`import`] | credentials from files of other programs, as proposals. Pure | clocks, files, sockets |
//! | [`tls`] | the local authority, leaves, both handshakes | requests |
//! | [`identity`] | from `Proxy-Authorization` to principal and action | values |
//! | [`substitution`] | slugs, scanning, encodings, splicing. Pure | clocks, files, sockets |
//! | [`scrub`] | every form of a value, found and replaced in a stream. Pure | clocks, files, sockets |
//! | [`coding`] | gzip, deflate, br and zstd, opened and closed. Pure | clocks, files, sockets |
//! | [`websocket`] | frames, read and written. Pure | clocks, files, sockets, values |
//! | [`policy`] | where a credential may be used. Pure | clocks, files, sockets |
//! | [`vault`] | credentials, users, groups, shares, bundles: the store moves sealed blobs and authenticated texts, only the vault opens values | requests |
//! | [`ledger`] | the usage record: lines, chain, signed tree, writer, checker, readers, usage index | values, the vault |
//! | [`changes`] | administrative events, from the store into the ledger | values |
//! | [`backup`] | a copy of the data directory, made and put back | values |
//! | [`config`] | from what was typed to what the program needs | |
//! | [`environment`] | what a program needs to use the proxy: variables, files, a request | values |
//! | [`views`] | what commands, API and page show, as JSON | values |
//! | [`admin`] | the admin listener: probes; who signs in, and who asks | values |
//! | [`page`] | what people see of all this in a browser | how values are opened |
//! | [`observe`] | logs without values; a process that cannot be dumped | |
//! | [`memory`] | locked pages for values; all freed memory is wiped | what a value is |
//! | [`cli`] | the commands | |
//! | [`app`] | the composition root: the only place that puts parts together | |
//! | [`fetch`] | requests of Egret's own: to the identity provider, and from a command to a server | the vault |
//! | [`measure`] | histograms, and counts by name, bounded | |
//! | [`secret`], [`error`] | the one type that owns a value; the closed set of codes | |
//! | [`files`], [`clock`], [`descriptors`] | the data directory's file names; the clock; file descriptors for another process | |
//!
//! Inside [`proxy`] there are six wings, each of which imports only from those before it:
//! [`runtime`](proxy::runtime), [`exchange`](proxy::exchange), [`outbound`](proxy::outbound),
//! [`response`](proxy::response), [`websocket`](proxy::websocket) and [`inbound`](proxy::inbound).
//! A test reads every `use` line, holds these rules, and refuses a circle among modules anywhere.
//!
//! # Why it is so
//!
//! * **The head guard** ([`proxy::inbound::head_guard`]) reads request heads on the raw bytes,
//!   before the HTTP library does. The library refuses a raw `<` in a request line, and real clients
//!   send exactly that. What two parsers could read differently is refused there, with a problem
//!   document.
//! * **The client's protocol version is the upstream's** ([`proxy::outbound::upstream`]). A client
//!   of HTTP/1.1 keeps the order and case of its field lines, one of HTTP/2 its streams. An upstream
//!   that refuses the version gets the other one. HTTP/2 ([`proxy::inbound::http2`]) needs no head
//!   guard, but one that looks at targets ([`proxy::inbound::h2_guard`]). It has no way to carry a raw
//!   `<` in a target, so a client that offers both versions gets HTTP/1.1.
//! * **The same bytes are compared and sent.** A URL library that normalises a path would make the
//!   policy judge another path than the upstream serves. The destination is decided once. `Host`,
//!   CONNECT and the TLS server name have to agree with it. The address that was checked is the one
//!   dialled.
//! * **What is not a value is authenticated** ([`vault::policy_key`]). Limits, states, shares, users,
//!   groups and clients are texts with an HMAC each, and the store has one encrypted digest over
//!   all of them. So whoever can write to the database, but has no master key, cannot make anything
//!   usable. Rights are checked in the transaction of the change ([`vault::registrar`]).
//! * **Who may use what is computed when something changes** ([`vault::cache`]): a request looks its
//!   slug up among the principal's own, and only then among what is offered to the user, the groups of
//!   the user, and everyone.
//! * **Plaintext is opened for one request**, after it was authorised. Values are sealed in memory
//!   as on disk. The exceptions are the scrubber's needles, which cannot search for what they do not
//!   know ([`proxy::exchange::needle_cache`]), and the filter over log lines ([`observe::redact`]).
//! * **The allocator wipes freed memory** ([`memory`]), because a value passes through buffers of
//!   libraries that no type of ours can wipe. `docs/security.md` says what that does not reach.
//! * **A large body of known length is read to its end first** ([`proxy::exchange::spool`]), into an
//!   encrypted file without a name, because upstreams want a length and values change it. One that
//!   may not be changed is only watched on its way ([`proxy::exchange::watched_body`]).
//! * **A body too large to hold is decided on as it streams**
//!   ([`proxy::exchange::streamed_body`]). Each placeholder is found, authorised, obtained and
//!   recorded before its value is handed to the stream.
//! * **A WebSocket message is decided on like a request** ([`proxy::websocket`]), when it arrives,
//!   by the same search and the same decision. Frames are written again on the way through, so a
//!   frame of any length passes in constant memory, and a message to the client is scrubbed as one
//!   text.
//! * **A change holds from the next request.** Whether another process has committed to the store
//!   is seen in mapped memory ([`vault::store::CommitWatch`]). That is cheap enough to ask for every
//!   request, so there is no interval in which a revoked credential still works. A request that has
//!   waited for the disk or for a connection is decided on once more, right before anything is written
//!   ([`proxy::exchange::last_look`]).
//! * **A connection stays on one thread** ([`proxy::runtime::workers`]), with the upstream
//!   connections of its requests. Each core has a runtime of its own and accepts from the one
//!   listening socket, unless another core has fewer connections. No request is handed from thread
//!   to thread. The price: a long computation delays everything else on its core, so long work is
//!   done in pieces.
//! * **Requests go before handshakes** ([`proxy::runtime::pacing`]), whose steps take ten times as
//!   long. A thousand handshakes that begin at once take turns, and between two turns the worker
//!   serves what is ready. Handshakes with upstreams go before those with new clients.
//! * **A tunnel remembers its caller** ([`proxy::inbound::entry`]) until the clients, the settings
//!   or the time could change the answer. It also saves the cores from contending on the reference
//!   count of a client's name.
//! * **Each connection or worker has its own handle on what all share**
//!   ([`proxy::inbound::client`], [`proxy::exchange::needle_cache`]). Sharing one `Arc` makes cores
//!   contend on its reference count at each request.
//! * **A head is searched as it came** ([`proxy::exchange::pipeline`]), in one pass. Its parts are
//!   searched one by one only if that pass finds something.
//! * **The future of a request is small** ([`proxy::inbound::requests`]), because each connection
//!   has room for one and moves it for each request. What few requests need is in a box.
//! * **An exchange drives its upstream connection itself** ([`proxy::outbound::http1`]) while it
//!   waits for the answer. A task for each connection would be woken, and would wake another, for
//!   every request. A shared HTTP/2 connection has a task of its own, and a frame wakes only the
//!   request that it belongs to ([`proxy::outbound::http2`]).
//! * **A thread writes the access log** ([`observe::access_log`]), because a slow reader would
//!   otherwise stop a worker with all its connections.
//! * **Large bodies are read in large pieces** ([`proxy::runtime::read_ahead`]), small ones as they
//!   come. No idle connection holds a buffer.
//! * **A thread writes the ledger**, because an fsync on an async worker stalls every connection on
//!   it. Requests that arrive together share one fsync. The thread signs and rotates after they were
//!   answered.
//! * **Ledger lines are pre-serialised by the request** ([`ledger::EncodedEntries`]), which can borrow what
//!   they name. The writer adds `seq`, `time` and `prev`.
//! * **The vault's master key seals the ledger's signing key**, and neither knows the other: [`app`]
//!   passes the one to the other ([`ledger::writer::signing::Seal`]).
//! * **The checker of the ledger shares only the format's definitions with its writer**
//!   ([`ledger::verify`]): it must not repeat a mistake of the writer.
//! * **The usage index is derived** ([`ledger::usage`]) and bound to its ledger by the hash of the
//!   last line it knows. It may be lost or wrong at any time, because it can be rebuilt.
//! * **Library errors are never shown.** They quote what they were handling, and that can be a
//!   secret. The texts of errors are written here.

pub mod admin;
pub mod app;
pub mod backup;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod coding;
pub mod config;
pub mod descriptors;
pub mod desired;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod files;
pub mod identity;
pub mod import;
pub mod ledger;
pub mod measure;
pub mod memory;
pub mod observe;
pub mod page;
pub mod policy;
pub mod proxy;
pub mod scrub;
pub mod secret;
pub mod services;
pub mod substitution;
pub mod tls;
pub mod vault;
pub mod views;
pub mod websocket;
