//! When a task is green: it was saved, copied where that is asked for, checked, and restored for a test, each
//! lately enough. One function of what is known decides; it looks at no clock and at no database.
//!
//! [`of_tasks`] answers for every task; who wants to know what is wrong asks [`not_green`].

use std::collections::HashMap;

use simsim_catalog::{Catalog, CatalogError, Replication, Saved, SavedTask, Task};

use crate::api::{Aspect, GreenWithin, Health, HealthFinding, TaskHealth, TaskOptions};
use crate::clock::lasting_ms;

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;

/// What is known of one task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Nothing was missing before.
    pub created_unix_ms: i64,
    /// The newest backup without a problem that is still there.
    pub good_backup_unix_ms: Option<i64>,
    /// The newest backup, where it is newer and has problems.
    pub flawed_backup_unix_ms: Option<i64>,
    /// Where its savesets are to be copied, by the name of the replication: the newest one there.
    pub replications: Vec<(String, Option<i64>)>,
    /// The last check that found a saveset of it whole.
    pub whole_unix_ms: Option<i64>,
    /// A saveset of it that is still there, which its last check found damaged, and when.
    pub damaged: Option<(String, i64)>,
    /// The last restore drill that passed.
    pub drill_passed_unix_ms: Option<i64>,
    /// The last one that did not.
    pub drill_failed_unix_ms: Option<i64>,
    /// Other people's tools send its data: no drill of the suite restores it.
    pub external: bool,
}

/// How a task stands at an instant. Total: also an instant before everything that is known has an answer.
pub(crate) fn judge(facts: &Facts, within: &GreenWithin, now_unix_ms: i64) -> Health {
    let hours = |given: Option<u32>, default: u64| given.map_or(default, u64::from) * HOUR_S;
    let days = |given: Option<u32>, default: u64| given.map_or(default, u64::from) * DAY_S;
    let look = Look { created: facts.created_unix_ms, now: now_unix_ms };
    let mut findings = Vec::new();

    let backup_s = hours(within.backup_hours, 48);
    if backup_s > 0 {
        let mut found =
            look.aged(Aspect::Backup, backup_s, facts.good_backup_unix_ms, "good backup");
        if let Some(at) = facts.flawed_backup_unix_ms.filter(|_| !found.good) {
            found.words.push_str(&format!("; one of {} finished with errors", instant(at)));
        }
        findings.push(found);
    }
    let replication_s = hours(within.replication_hours, 48);
    if replication_s > 0 && !facts.replications.is_empty() {
        // As good as the worst of them.
        let worst = facts.replications.iter().map(|(name, newest)| {
            let what = format!("backup copied by replication '{name}'");
            look.aged(Aspect::Replication, replication_s, *newest, &what)
        });
        let worst = worst.min_by_key(|one| (one.good, one.last_unix_ms));
        findings.extend(worst);
    }
    let verification_s = days(within.verification_days, 30);
    if verification_s > 0 {
        let mut found =
            look.aged(Aspect::Verification, verification_s, facts.whole_unix_ms, "verification");
        if let Some((saveset, at)) = &facts.damaged {
            let words = format!("saveset {saveset} was found damaged at {}", instant(*at));
            look.bad(&mut found, *at, words);
        }
        findings.push(found);
    }
    let test_s = days(within.restore_test_days, 90);
    if test_s > 0 && !facts.external {
        let passed = facts.drill_passed_unix_ms;
        let mut found = look.aged(Aspect::RestoreTest, test_s, passed, "restore test that passed");
        if let Some(at) = facts.drill_failed_unix_ms.filter(|at| passed.is_none_or(|it| it < *at)) {
            look.bad(&mut found, at, format!("the last restore test failed at {}", instant(at)));
        }
        findings.push(found);
    }
    Health {
        green: findings.iter().all(|one| one.good),
        not_green_since_unix_ms: findings.iter().filter_map(|one| one.missing_since_unix_ms).min(),
        overdue: findings.iter().any(|one| one.overdue),
        findings,
    }
}

struct Look {
    created: i64,
    now: i64,
}

impl Look {
    /// Something that has to come again within so many seconds. What is stamped later than now, as after a clock
    /// that was wrong, is as good as of now.
    fn aged(&self, aspect: Aspect, within_s: u64, last: Option<i64>, what: &str) -> HealthFinding {
        let within_ms = i64::try_from(within_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        let limit = lasting_ms(within_ms);
        let due = last.unwrap_or(self.created).saturating_add(within_ms);
        let good = last.is_some() && due >= self.now;
        let (since, words) = match last {
            Some(at) if good => {
                (None, format!("the last {what} is of {}, and counts for {limit}", instant(at)))
            }
            Some(at) => (
                Some(due),
                format!(
                    "no {what} since {}, and one counts for {limit}: missing since {}",
                    instant(at),
                    instant(due)
                ),
            ),
            None => {
                let since = instant(self.created);
                (Some(self.created), format!("no {what} since the task was made at {since}"))
            }
        };
        HealthFinding {
            aspect,
            good,
            last_unix_ms: last,
            within_s,
            missing_since_unix_ms: since,
            overdue: !good && due < self.now,
            words,
        }
    }

    /// It is not good whatever its age is, from an instant on or from earlier.
    fn bad(&self, found: &mut HealthFinding, at: i64, words: String) {
        found.good = false;
        found.overdue = true;
        let since = found.missing_since_unix_ms.map_or(at, |since| since.min(at));
        found.missing_since_unix_ms = Some(since);
        found.words = words;
    }
}

/// For people. No word changes before the finding does: what is shown of a task has a tag.
fn instant(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => "an instant beyond all calendars".to_owned(),
    }
}

/// How every task stands, by name.
pub(crate) fn of_tasks(
    catalog: &Catalog,
    now_unix_ms: i64,
) -> Result<Vec<TaskHealth>, CatalogError> {
    with(catalog, &catalog.saved(now_unix_ms)?, now_unix_ms)
}

/// The same, of what is known of their savesets already.
pub(crate) fn with(
    catalog: &Catalog,
    saved: &Saved,
    now_unix_ms: i64,
) -> Result<Vec<TaskHealth>, CatalogError> {
    let relations = catalog.replications()?;
    let mut drills: HashMap<Key, (Option<i64>, Option<i64>)> = HashMap::new();
    for (client, task, passed, ended) in catalog.last_drills()? {
        let last = drills.entry((client, task)).or_default();
        match passed {
            true => last.0 = Some(ended),
            false => last.1 = Some(ended),
        }
    }
    let nothing = SavedTask::default();
    let mut all = Vec::new();
    for task in catalog.tasks()? {
        let key = (task.settings.client.clone(), task.settings.name.clone());
        // What cannot be read has its defaults: it is no reason to be green.
        let options: TaskOptions = serde_json::from_str(&task.settings.options).unwrap_or_default();
        let mut facts = facts_of(&task, saved.tasks.get(&key).unwrap_or(&nothing), &relations);
        (facts.drill_passed_unix_ms, facts.drill_failed_unix_ms) =
            drills.get(&key).copied().unwrap_or_default();
        facts.external = crate::streams::is_external(task.settings.kind, &options);
        all.push(TaskHealth {
            health: judge(&facts, &options.green, now_unix_ms),
            task: task.settings.name,
            client: task.settings.client,
        });
    }
    Ok(all)
}

/// The tasks that are not green.
pub(crate) fn not_green(
    catalog: &Catalog,
    now_unix_ms: i64,
) -> Result<Vec<TaskHealth>, CatalogError> {
    let mut all = of_tasks(catalog, now_unix_ms)?;
    all.retain(|one| !one.health.green);
    Ok(all)
}

/// Client and task.
type Key = (String, String);

fn facts_of(task: &Task, saved: &SavedTask, relations: &[Replication]) -> Facts {
    let newest = saved.newest_unix_ms;
    let mut replications = Vec::new();
    for relation in relations.iter().filter(|one| takes(one, task, saved)) {
        let there = saved.newest_in.iter().find(|(store, _)| *store == relation.target);
        replications.push((relation.name.clone(), there.map(|(_, stamped)| *stamped)));
    }
    Facts {
        created_unix_ms: task.created_unix_ms,
        good_backup_unix_ms: saved.good_unix_ms,
        flawed_backup_unix_ms: newest.filter(|newest| Some(*newest) > saved.good_unix_ms),
        replications,
        whole_unix_ms: saved.whole_unix_ms,
        damaged: saved.damaged.map(|(saveset, at)| (saveset.short().to_string(), at)),
        ..Facts::default()
    }
}

/// Does a replication take the savesets of this task? From where the task goes, or where its newest one lies.
fn takes(relation: &Replication, task: &Task, saved: &SavedTask) -> bool {
    let named = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|it| it == name);
    relation.source == saved.home.unwrap_or(task.settings.store)
        && named(&relation.client_name, &task.settings.client)
        && named(&relation.task_name, &task.settings.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = 3_600_000;
    const D: i64 = 24 * H;
    const NOW: i64 = 1_000 * D;

    fn well() -> Facts {
        Facts {
            created_unix_ms: NOW - 500 * D,
            good_backup_unix_ms: Some(NOW - 10 * H),
            replications: vec![("far".to_owned(), Some(NOW - 20 * H))],
            whole_unix_ms: Some(NOW - 5 * D),
            drill_passed_unix_ms: Some(NOW - 30 * D),
            ..Facts::default()
        }
    }

    fn judged(facts: &Facts) -> Health {
        judge(facts, &GreenWithin::default(), NOW)
    }

    fn only_bad(health: &Health) -> &HealthFinding {
        let mut bad = health.findings.iter().filter(|one| !one.good);
        let one = bad.next().unwrap();
        assert_eq!(bad.next(), None, "{health:#?}");
        assert!(!health.green);
        assert_eq!(health.not_green_since_unix_ms, one.missing_since_unix_ms);
        one
    }

    #[test]
    fn a_task_with_all_four_lately_enough_is_green() {
        let health = judged(&well());
        assert!(health.green && !health.overdue, "{health:#?}");
        assert_eq!(health.not_green_since_unix_ms, None);
        assert_eq!(health.findings.len(), 4);
        let words = &health.findings[0].words;
        assert_eq!(words, "the last good backup is of 1972-09-26 14:00 UTC, and counts for 2 days");
        assert_eq!(judge(&well(), &GreenWithin::default(), NOW + H).findings, health.findings);
        // At the limit it still is, a moment later it is not.
        let at = Facts { good_backup_unix_ms: Some(NOW - 48 * H), ..well() };
        assert!(judged(&at).green);
        assert!(!judge(&at, &GreenWithin::default(), NOW + 1).green);
    }

    #[test]
    fn each_of_the_four_is_missed_and_the_words_say_which_and_since_when() {
        let late = Facts { good_backup_unix_ms: Some(NOW - 50 * H), ..well() };
        let health = judged(&late);
        let found = only_bad(&health);
        assert_eq!(
            (found.aspect, found.missing_since_unix_ms),
            (Aspect::Backup, Some(NOW - 2 * H))
        );
        assert!(
            found.overdue && found.words.contains("missing since 1972-09-26 22:00 UTC"),
            "{}",
            found.words
        );

        let flawed = Facts { flawed_backup_unix_ms: Some(NOW - H), ..late };
        let words = judged(&flawed).findings[0].words.clone();
        assert!(words.contains("finished with errors"), "{words}");

        let two = vec![("near".to_owned(), Some(NOW)), ("far".to_owned(), None)];
        let health = judged(&Facts { replications: two, ..well() });
        let found = only_bad(&health);
        assert_eq!(found.aspect, Aspect::Replication);
        assert!(found.words.contains("'far'"), "{}", found.words);

        let health = judged(&Facts { whole_unix_ms: None, ..well() });
        let found = only_bad(&health);
        assert_eq!(found.aspect, Aspect::Verification);
        assert_eq!(found.missing_since_unix_ms, Some(NOW - 500 * D), "since the task is there");

        let health = judged(&Facts { drill_passed_unix_ms: Some(NOW - 91 * D), ..well() });
        let found = only_bad(&health);
        assert_eq!(found.aspect, Aspect::RestoreTest);
        assert_eq!(found.missing_since_unix_ms, Some(NOW - D));
    }

    #[test]
    fn damage_and_a_failed_test_count_whatever_was_good_before() {
        let damaged = Some(("abcd".to_owned(), NOW - 3 * H));
        let health = judged(&Facts { damaged, ..well() });
        let found = only_bad(&health);
        assert!(found.overdue && found.words.contains("saveset abcd"), "{}", found.words);
        assert_eq!(found.missing_since_unix_ms, Some(NOW - 3 * H));

        let failed = Facts { drill_failed_unix_ms: Some(NOW - D), ..well() };
        let health = judged(&failed);
        assert!(only_bad(&health).words.contains("failed at 1972-09-26 00:00 UTC"));
        let again = Facts { drill_passed_unix_ms: Some(NOW - H), ..failed };
        assert!(judged(&again).green, "one that passed since makes it good");
    }

    #[test]
    fn a_new_task_is_not_green_and_nobody_need_act_yet() {
        let new = Facts { created_unix_ms: NOW - H, ..Facts::default() };
        let health = judged(&new);
        assert!(!health.green && !health.overdue, "{health:#?}");
        assert_eq!(health.findings.len(), 3, "no replication is asked for");
        assert!(judge(&new, &GreenWithin::default(), NOW + 49 * H).overdue);
    }

    #[test]
    fn ages_are_the_tasks_own_and_what_is_not_asked_for_is_not_missed() {
        let within = GreenWithin {
            backup_hours: Some(8),
            replication_hours: Some(0),
            verification_days: Some(0),
            restore_test_days: Some(0),
        };
        let health = judge(&well(), &within, NOW);
        assert_eq!(only_bad(&health).within_s, 8 * HOUR_S);
        assert_eq!(health.findings.len(), 1);
        let external = judged(&Facts { external: true, drill_passed_unix_ms: None, ..well() });
        assert!(external.green, "{external:#?}");
        // A clock that goes back makes nothing worse.
        assert!(judge(&well(), &GreenWithin::default(), i64::MIN).green);
    }
}
