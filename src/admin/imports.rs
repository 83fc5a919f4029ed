//! Imports of people: what a file has waits for its owner's decision, and is then saved in one change,
//! while the page says how far it is.
//!
//! | Threat | Answer |
//! | --- | --- |
//! | The values of a file that nobody decides about stay in memory | They are wiped after [`LIFE`]; a user has one import, and a few users have one. |
//! | Somebody else looks at an import or saves it | It is found by its user and a random name. |
//! | A value comes back | [`Entry`] has no field for one. |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::problem::{AdminProblem, Trouble};
use crate::changes::Recorder;
use crate::import::Proposal;
use crate::policy::grant::{Grant, HostPattern};
use crate::policy::location::LocationRule;
use crate::secret::SecretBytes;
use crate::services::Service;
use crate::substitution::slug::Slug;
use crate::vault::registrar::RegistrarError;
use crate::vault::rotation::Retention;
use crate::vault::{Actor, Kind, NewCredential, Principal, Registrar, StoreError};

/// How long an import waits, and how long its end can be looked at.
pub const LIFE: Duration = Duration::from_secs(15 * 60);
/// How many users may have one at once.
const MOST: usize = 64;

/// The imports of all users. Clones share them.
#[derive(Clone, Default)]
pub struct Imports(Arc<Mutex<BTreeMap<Principal, Import>>>);

/// One import.
struct Import {
    name: String,
    stage: Stage,
    entries: Vec<Entry>,
    /// The values, as long as nothing is decided.
    values: Vec<SecretBytes>,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is saved yet.
    Waiting,
    /// So many of the chosen entries are done.
    Saving {
        /// Those that are done.
        done: usize,
        /// All that were chosen.
        of: usize,
    },
    /// All is done.
    Ended,
}

/// What would be saved of an entry of the file. Never its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its line.
    pub line: usize,
    /// Under which slug.
    pub slug: Slug,
    /// What it is.
    pub kind: Kind,
    /// The service that it is for, if that is known.
    pub service: Option<&'static Service>,
    /// Where it may be used; without a host it cannot be saved.
    pub hosts: Vec<HostPattern>,
    /// Where it may be placed.
    pub locations: Vec<LocationRule>,
    /// Whether there was a credential of this slug when the file was read: its value is replaced.
    pub exists: bool,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Waits,
    /// It was left out.
    LeftOut,
    /// It is saved.
    Saved,
    /// Its value took the place of the one before.
    Replaced,
    /// It is not saved, and why.
    Refused(String),
}

/// An import as its user sees it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// How far it is.
    pub stage: Stage,
    /// Its entries in the order of the file.
    pub entries: Vec<Entry>,
}

/// With what an import is saved.
pub struct Saver {
    /// Makes the changes.
    pub registrar: Registrar,
    /// Puts them in force and on record.
    pub recorder: Recorder,
    /// Who asks.
    pub actor: Actor,
}

impl Imports {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Principal, Import>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a file has until it is decided on, in the place of an import of the user's that waits:
    /// its name.
    ///
    /// # Errors
    /// When one of the user's is being saved, or too many users have one.
    pub fn keep(
        &self,
        user: &Principal,
        proposals: Vec<Proposal>,
        exists: impl Fn(&Slug) -> bool,
    ) -> Result<String, AdminProblem> {
        let mut random = [0; 16];
        let filled = aws_lc_rs::rand::fill(&mut random);
        filled.map_err(|_| AdminProblem::new(Trouble::Internal))?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut import = Import {
            name: name.clone(),
            stage: Stage::Waiting,
            entries: Vec::new(),
            values: Vec::new(),
        };
        for proposal in proposals {
            import.entries.push(Entry {
                line: proposal.row.line,
                kind: proposal.row.kind,
                service: proposal.service,
                hosts: proposal.hosts,
                locations: proposal.locations,
                exists: exists(&proposal.slug),
                slug: proposal.slug,
                fate: Fate::Waits,
            });
            import.values.push(proposal.row.value);
        }
        let mut all = self.lock();
        let own = all.get(user);
        if own.is_some_and(|own| matches!(own.stage, Stage::Saving { .. })) {
            let detail = "An import of yours is being saved. Wait for its end.";
            return Err(AdminProblem::because(Trouble::Conflict, detail));
        }
        if own.is_none() && all.len() >= MOST {
            let detail = "Too many people have an import that waits. Try again in some minutes.";
            return Err(AdminProblem::because(Trouble::Overloaded, detail));
        }
        all.insert(user.clone(), import);
        drop(all);
        self.forget_after(LIFE, user, &name);
        Ok(name)
    }

    fn forget_after(&self, time: Duration, user: &Principal, name: &str) {
        let (imports, user, name) = (self.clone(), user.clone(), name.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            imports.discard(&user, &name);
        });
    }

    /// An import of the user's.
    pub fn look(&self, user: &Principal, name: &str) -> Option<Shown> {
        let all = self.lock();
        let import = all.get(user).filter(|import| import.name == name)?;
        Some(Shown {
            stage: import.stage,
            entries: import.entries.clone(),
        })
    }

    /// Forgets an import, unless it is being saved.
    pub fn discard(&self, user: &Principal, name: &str) {
        let mut all = self.lock();
        let is_idle = |import: &Import| !matches!(import.stage, Stage::Saving { .. });
        if all
            .get(user)
            .is_some_and(|one| one.name == name && is_idle(one))
        {
            all.remove(user);
        }
    }

    /// Begins to save the entries that are chosen, by their place in the file, with their hosts. `false`
    /// if nothing of that name waits any more: a second click, or it took too long.
    pub fn begin(
        &self,
        user: &Principal,
        name: &str,
        chosen: BTreeMap<usize, Vec<HostPattern>>,
        saver: Saver,
    ) -> bool {
        let mut all = self.lock();
        let import = all.get_mut(user).filter(|import| import.name == name);
        let Some(import) = import.filter(|import| import.stage == Stage::Waiting) else {
            return false;
        };
        import.stage = Stage::Saving {
            done: 0,
            of: chosen.len(),
        };
        let mut work = Vec::new();
        let values = std::mem::take(&mut import.values);
        for (at, (entry, value)) in import.entries.iter_mut().zip(values).enumerate() {
            match chosen.get(&at) {
                Some(hosts) => {
                    entry.hosts.clone_from(hosts);
                    work.push((at, entry.clone(), value));
                }
                None => entry.fate = Fate::LeftOut,
            }
        }
        drop(all);
        let (imports, user, name) = (self.clone(), user.clone(), name.to_owned());
        tokio::spawn(async move {
            let fates = imports.save(&user, work, &saver).await;
            if saver.recorder.follow().await.is_err() {
                tracing::error!("an import is saved, but is not on record yet");
            }
            imports.note(&user, |import| {
                for (at, fate) in fates {
                    import.entries[at].fate = fate;
                }
                import.stage = Stage::Ended;
            });
            imports.forget_after(LIFE, &user, &name);
        });
        true
    }

    /// Saves entries in one change: all that can be saved, or nothing. What became of each.
    async fn save(
        &self,
        user: &Principal,
        work: Vec<(usize, Entry, SecretBytes)>,
        saver: &Saver,
    ) -> Vec<(usize, Fate)> {
        let (actor, places) = (&saver.actor, work.iter().map(|(at, ..)| *at));
        let places: Vec<usize> = places.collect();
        let saved = async {
            let together = saver.registrar.together(actor, None).await?;
            let mut fates = Vec::with_capacity(work.len());
            for (at, entry, value) in work {
                fates.push((at, save(&together, actor, user, entry, value).await));
                self.note(user, |import| {
                    if let Stage::Saving { done, .. } = &mut import.stage {
                        *done += 1;
                    }
                });
            }
            together.finish(actor).await?;
            Ok(fates)
        };
        saved.await.unwrap_or_else(|error: StoreError| {
            let why = AdminProblem::from(error).words();
            let refused = |at| (at, Fate::Refused(why.clone()));
            places.into_iter().map(refused).collect()
        })
    }

    /// While it is saved, an import stays where it is.
    fn note(&self, user: &Principal, change: impl FnOnce(&mut Import)) {
        if let Some(import) = self.lock().get_mut(user) {
            change(import);
        }
    }
}

/// Saves an entry, or replaces the value of the credential that is there.
async fn save(
    registrar: &Registrar,
    actor: &Actor,
    owner: &Principal,
    entry: Entry,
    value: SecretBytes,
) -> Fate {
    let (saved, fate) = if entry.exists {
        let keep = Retention::default();
        let rotated = registrar.rotate(actor, owner, &entry.slug, value, keep);
        (rotated.await, Fate::Replaced)
    } else {
        let mut grant = Grant::for_hosts(entry.hosts);
        if !entry.locations.is_empty() {
            grant.locations = entry.locations;
        }
        let new = NewCredential {
            owner: owner.clone(),
            slug: entry.slug,
            kind: entry.kind,
            description: String::new(),
            grant,
            rotate_every: None,
        };
        (registrar.add(actor, new, value).await, Fate::Saved)
    };
    match saved {
        Ok(_) => fate,
        Err(RegistrarError::Store(error)) => Fate::Refused(AdminProblem::from(error).words()),
        Err(error) => Fate::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::import::{Format, propose};

    fn user(name: &str) -> Principal {
        Principal::parse(name).unwrap()
    }

    fn kept(imports: &Imports, name: &str) -> Result<String, Trouble> {
        let rows = Format::Dotenv.read("KEY=hunter2-hunter2\n").unwrap();
        let proposals = propose(rows, HashSet::new());
        let kept = imports.keep(&user(name), proposals, |_| false);
        kept.map_err(|problem| problem.trouble)
    }

    #[tokio::test]
    async fn an_import_is_its_users_and_ends_by_itself() {
        let imports = Imports::default();
        let first = kept(&imports, "alice").unwrap();
        assert!(imports.look(&user("bob"), &first).is_none());
        assert!(imports.look(&user("alice"), "0").is_none());
        let shown = imports.look(&user("alice"), &first).unwrap();
        assert_eq!((shown.stage, shown.entries.len()), (Stage::Waiting, 1));
        assert!(!format!("{shown:?}").contains("hunter2"));
        // Another file of the same user takes its place.
        let second = kept(&imports, "alice").unwrap();
        assert!(imports.look(&user("alice"), &first).is_none());
        imports.discard(&user("alice"), &first);
        assert!(imports.look(&user("alice"), &second).is_some());
        imports.forget_after(Duration::from_millis(1), &user("alice"), &second);
        for _ in 0..1000 {
            if imports.look(&user("alice"), &second).is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it is there still");
    }

    #[tokio::test]
    async fn a_few_users_have_one() {
        let imports = Imports::default();
        for number in 0..MOST {
            kept(&imports, &format!("user-{number}")).unwrap();
        }
        assert_eq!(kept(&imports, "alice"), Err(Trouble::Overloaded));
        assert!(
            kept(&imports, "user-0").is_ok(),
            "in the place of the first"
        );
    }
}
