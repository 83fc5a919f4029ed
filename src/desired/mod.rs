//! As code: users, groups, limits, shares, bundles, clients and rules as a file says them, compared with
//! what the store holds.
//!
//! [`plan`] is pure: a file and a state go in, steps come out. What the file does not name is left as it is, and
//! said. Values are in no file: a credential has to be there already, and so has a client, whose token
//! is shown once.

mod lines;
mod plan;
mod planned;
mod state;
mod step;

pub use self::plan::{Plan, plan};
pub use self::planned::{ApplyError, PlanError, Planned, present};
pub use self::state::{
    Desired, DesiredBundle, DesiredClient, DesiredCredential, DesiredGroup, DesiredRule,
    DesiredShare, DesiredUser, InvalidFile, Present,
};
pub use self::step::Step;
