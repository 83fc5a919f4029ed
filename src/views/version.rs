//! The program itself.

use serde::Serialize;

/// `egret version`.
#[derive(Debug, Serialize)]
pub struct Version {
    /// `egret`.
    pub name: &'static str,
    /// The release, such as `1.2.3`.
    pub version: &'static str,
}
