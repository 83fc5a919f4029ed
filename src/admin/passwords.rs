//! Passwords: hashed with argon2id, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use super::problem::{AdminProblem, Trouble};

/// Most hashes at a time. Each takes 19 MiB and some 30 ms of one core, which the proxy must not miss.
const AT_A_TIME: usize = 2;
/// Most that wait for their turn.
const WAITING: usize = 64;
/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shortest password, in characters.
pub const MIN_LENGTH: usize = 12;
/// Longest password, in bytes: hashing must not be work without end.
pub const MAX_LENGTH: usize = 1024;

/// Length of a salt in bytes.
const SALT: usize = 16;

/// The hash of no password, which is compared for users who do not exist: the answer takes the same
/// time.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$ZWdyZXQtbm8tb25lLXlldA$\
     KAIMQAEbpJAbgx3zDsXfMRLpmLMhkjvfzLNAy9lHGCs";

/// Hashes and compares passwords, a few at a time.
pub(super) struct Passwords {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            waiting: Arc::new(Semaphore::new(WAITING)),
        }
    }
}

impl Passwords {
    /// The hash of a new password, in PHC form.
    pub(super) async fn hash(&self, password: String) -> Result<String, AdminProblem> {
        let hash = move || {
            let mut salt = [0; SALT];
            aws_lc_rs::rand::fill(&mut salt).ok()?;
            let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
            Some(hash.ok()?.to_string())
        };
        let hashed = self.in_turn(hash).await?;
        hashed.ok_or_else(|| AdminProblem::new(Trouble::Internal))
    }

    /// Whether the password has this hash. Takes as long without one.
    pub(super) async fn matches(
        &self,
        password: String,
        hash: Option<&str>,
    ) -> Result<bool, AdminProblem> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or(NOBODY).to_owned();
        let compare = move || {
            let Ok(hash) = PasswordHash::new(&hash) else {
                return false;
            };
            let compared = Argon2::default().verify_password(password.as_bytes(), &hash);
            compared.is_ok()
        };
        Ok(self.in_turn(compare).await? && is_known)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AdminProblem> {
        let overloaded = || {
            AdminProblem::because(
                Trouble::Overloaded,
                "Too many people sign in at this moment. Try again soon.",
            )
            .retry_after(5)
        };
        let _waiting = self.waiting.try_acquire().map_err(|_| overloaded())?;
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(PATIENCE, place).await;
        let place = place.ok().and_then(Result::ok).ok_or_else(overloaded)?;
        let work = move || {
            let done = work();
            // Held until the work is done, also if nobody waits for it any more.
            drop(place);
            done
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| AdminProblem::new(Trouble::Internal))
    }
}

/// Whether a password can be somebody's. Its characters are free (NIST SP 800-63B section 3.1.1).
pub(super) fn check(password: &str, user: &str) -> Result<(), AdminProblem> {
    let problem = if password.chars().count() < MIN_LENGTH {
        "a password has at least 12 characters"
    } else if password.len() > MAX_LENGTH {
        "a password has at most 1024 bytes"
    } else if password.eq_ignore_ascii_case(user) {
        "a password is not the name of its user"
    } else {
        return Ok(());
    };
    Err(AdminProblem::field("password", problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let matches = |text: &'static str, hash: Option<&str>| {
            let (passwords, hash) = (&passwords, hash.map(str::to_owned));
            async move {
                let compared = passwords.matches(text.to_owned(), hash.as_deref());
                compared.await.unwrap()
            }
        };
        assert!(matches("correct horse", Some(&hash)).await);
        assert!(!matches("correct horsf", Some(&hash)).await);
        assert!(!matches("correct horse", None).await);
        assert!(!matches("correct horse", Some("no hash")).await);
        let again = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(hash, again, "the salt is random");
    }

    #[test]
    fn the_hash_of_nobody_takes_the_same_work() {
        let hash = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(hash.algorithm.as_str(), "argon2id");
        let own = argon2::Params::default();
        let params = argon2::Params::try_from(&hash).unwrap();
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (own.m_cost(), own.t_cost(), own.p_cost())
        );
    }

    #[test]
    fn passwords_are_long_enough_and_not_the_name() {
        assert!(check("twelve chars", "alice").is_ok());
        assert!(check("elf and orc", "alice").is_err());
        assert!(check(&"x".repeat(1025), "alice").is_err());
        assert!(check("Alice-In-Wonderland", "alice-in-wonderland").is_err());
    }
}
