//! Errors of the database library. Their texts go to the log, never to a client.

use crate::vault::store::error::{StoreError, StoreUnavailable};

impl From<sqlx::Error> for StoreUnavailable {
    fn from(error: sqlx::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::Unavailable(error.into())
    }
}
