//! Where the runs of events go and what they count against, for the plan: as the queue would have them if they
//! were queued now.

use std::collections::{BTreeMap, HashMap};

use simsim_catalog::{Catalog, CatalogError, ClientId, Drive, JobKind, JobLimits, NewJob, Waiting};
use simsim_model::StoreId;
use simsim_schedule::Bound;

use super::orders::{OrderError, order};
use super::programme::Setup;
use crate::jobs::{QueueRules, Wish};

/// Where the runs of one subject go, as things are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Where {
    /// In words; commands go nowhere.
    pub place: Option<String>,
    /// Why it could not be queued.
    pub refused: Option<String>,
}

/// By event and subject.
#[derive(Debug, Default)]
pub(crate) struct Wheres(HashMap<String, HashMap<String, Where>>);

impl Wheres {
    pub(crate) fn of(&self, event: &str, subject: &str) -> Option<&Where> {
        self.0.get(event)?.get(subject)
    }
}

impl Setup {
    /// Writes into the programme what each run of an event with a schedule counts against, and says where
    /// it goes, or why it could not be queued as things are.
    pub(crate) fn look_ahead(&mut self, catalog: &Catalog) -> Result<Wheres, CatalogError> {
        let limits = Limits::read(catalog)?;
        self.programme.runs_at_once = limits.at_once();
        let mut wheres = Wheres::default();
        for (loaded, event) in self.loaded.iter().zip(&self.programme.events) {
            if !event.enabled || event.schedule.is_none() {
                continue;
            }
            let bounds_of = self.programme.bounds.entry(event.name.clone()).or_default();
            let wheres_of = wheres.0.entry(event.name.clone()).or_default();
            for subject in &event.subjects {
                let job = order(catalog, &loaded.document, &subject.name, Waiting::default());
                let (found, bounds) = match job {
                    Ok(job) => {
                        let (place, bounds) = limits.of(&job);
                        (Where { place, refused: None }, bounds)
                    }
                    // It takes nobody's place.
                    Err(OrderError::Refused(why)) => {
                        (Where { place: None, refused: Some(why) }, Vec::new())
                    }
                    Err(OrderError::Catalog(error)) => return Err(error),
                };
                bounds_of.insert(subject.name.clone(), bounds);
                wheres_of.insert(subject.name.clone(), found);
            }
        }
        Ok(wheres)
    }
}

/// What there is, and how much of it.
struct Limits {
    drives: Vec<Drive>,
    datastores: HashMap<StoreId, String>,
    clients: HashMap<ClientId, String>,
    limits: JobLimits,
    rules: QueueRules,
}

impl Limits {
    fn read(catalog: &Catalog) -> Result<Self, CatalogError> {
        let datastores = catalog.datastores()?.into_iter();
        let clients = catalog.clients()?.into_iter();
        Ok(Self {
            drives: catalog.drives()?,
            datastores: datastores.map(|one| (one.store, one.name)).collect(),
            clients: clients.map(|one| (one.id, one.name)).collect(),
            limits: catalog.job_limits()?,
            rules: QueueRules::read(catalog)?,
        })
    }

    /// How many runs go on at once there.
    fn at_once(&self) -> BTreeMap<Bound, u32> {
        let mut most: BTreeMap<Bound, u32> = BTreeMap::new();
        let mut add = |bound: Bound, jobs_max: u32| {
            let sum = most.entry(bound).or_default();
            *sum = sum.saturating_add(jobs_max);
        };
        for drive in &self.drives {
            if let Some(bound) = numbered(drive) {
                add(bound, drive.jobs_max);
            }
            if let Some(group) = &drive.group {
                add(Bound::Group(group.clone()), drive.jobs_max);
            }
            if let Some(name) = self.datastores.get(&drive.store) {
                add(Bound::Datastore(name.clone()), drive.jobs_max);
            }
        }
        for (name, limit) in &self.limits.groups {
            if let Some(most) = most.get_mut(&Bound::Group(name.clone())) {
                *most = (*most).min(*limit);
            }
        }
        for (id, limit) in &self.limits.clients {
            if let Some(name) = self.clients.get(id) {
                most.insert(Bound::Client(name.clone()), *limit);
            }
        }
        if let Some(limit) = self.rules.jobs_max {
            most.insert(Bound::Queue, limit);
        }
        most
    }

    /// Where a job goes, and what it is certain to count against, whichever of its drives it gets.
    fn of(&self, job: &NewJob) -> (Option<String>, Vec<Bound>) {
        let (mut place, mut bounds) = (None, Vec::new());
        if job.kind != JobKind::Command {
            let wish: Option<Wish> = serde_json::from_str(&job.request).ok();
            let group = wish.as_ref().and_then(Wish::drive_group);
            let may: Vec<&Drive> = self
                .drives
                .iter()
                .filter(|drive| match group {
                    Some(group) => drive.group.as_deref() == Some(group),
                    None => {
                        drive.store == job.store && job.drive.is_none_or(|it| it == drive.number)
                    }
                })
                .collect();
            let name = |store: StoreId| self.datastores.get(&store).map_or("", String::as_str);
            place = Some(match (group, may.as_slice()) {
                (Some(group), _) => format!("drive group '{group}'"),
                (None, [only]) => format!("drive {} of '{}'", only.number, name(job.store)),
                (None, _) => format!("datastore '{}'", name(job.store)),
            });
            if let [only] = may.as_slice() {
                bounds.extend(numbered(only));
            }
            if let Some(store) = of_all(may.iter().map(|drive| drive.store)) {
                bounds.push(Bound::Datastore(name(store).to_owned()));
            }
            if let Some(Some(group)) = of_all(may.iter().map(|drive| drive.group.as_deref())) {
                bounds.push(Bound::Group(group.to_owned()));
            }
        }
        let client = self.clients.get(&job.client);
        if let Some(client) = client.filter(|_| self.limits.clients.contains_key(&job.client)) {
            bounds.push(Bound::Client(client.clone()));
        }
        bounds.extend(self.rules.jobs_max.map(|_| Bound::Queue));
        (place, bounds)
    }
}

fn numbered(drive: &Drive) -> Option<Bound> {
    u16::try_from(drive.number).ok().map(Bound::Drive)
}

/// What all of them are, if they are all the same.
fn of_all<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}
