//! The fields of a line, in the order of their keys. A new field is one more row of the table.
//!
//! What follows from the table: [`Entry`](super::entry::Entry), what is written of it
//! ([`super::encoded`]), what is read back ([`super::record_ref`]), and what is exported
//! ([`crate::ledger::export`]). `tests/golden/ledger-record.jsonl` freezes the keys, and
//! `docs/reference.md` explains them to users.

/// Hands the table to the macro `$with`: the fields before the key `prev`, and those after it.
macro_rules! fields {
    ($with:ident) => {
        $with! {
            {
                event: Text<'a>, "What happened, one of [`event`](super::event) or an administrative event.";
                request: Option<Text<'a>>, "The id that the answer carries in `Egret-Request`.";
                slug: Option<Text<'a>>, "The credential's slug.";
                field: Option<Text<'a>>, "The field of the credential, when it has several.";
                version: Option<u32>, "The version of the credential whose value was used.";
                owner: Option<Text<'a>>, "The principal that owns the credential.";
                principal: Option<Text<'a>>, "The principal that used it.";
                client: Option<Text<'a>>, "The client, by name.";
                action: Option<Text<'a>>, "The action that the request is for.";
                action_source: Option<Text<'a>>, "`asserted` by the client, or `signed` in an action token.";
                run: Option<Text<'a>>, "The execution of the action.";
                method: Option<Text<'a>>, "The request's method.";
                destination: Option<Text<'a>>, "`https://api.example.com:443`.";
                path: Option<Text<'a>>, "The path with placeholders in place, without query string.";
                locations: Vec<Text<'a>>, "Where the placeholders of this slug were found. Always an array, so that consumers can iterate.";
                outcome: Option<Text<'a>>, "How it ended, one of [`outcome`](super::outcome).";
                code: Option<Text<'a>>, "The error code, when Egret refused or failed.";
                status: Option<u16>, "The HTTP status code of the answer.";
                duration_ms: Option<u64>, "From the request's arrival to the end of its answer, in milliseconds.";
            }
            {
                bytes: Option<u64>, "Bytes of the answer's body that were sent to the client.";
                first: Option<Vec<Text<'a>>>, "What is new about a use: `action`, `client`, `destination`, `location`. Null when nothing is.";
                // New fields go here: readers rely on the order of the others. A line that lacks
                // one is read as if it were `null`, so its type is an `Option`.
            }
        }
    };
}
pub(super) use fields;
