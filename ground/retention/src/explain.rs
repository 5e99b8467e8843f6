//! Why a saveset is there, or is not to be, in whole sentences.

use simsim_schedule::Zone;

use crate::decide::{EolOf, Verdict, Why};
use crate::policy::Rule;
use crate::saveset::Saveset;

/// What a person is told who asks why: what it is, everything that keeps it, and when it goes. Instants
/// are shown in `zone`.
pub fn explain(saveset: &Saveset, verdict: &Verdict, zone: &Zone) -> String {
    let kind = if saveset.id == saveset.backup { "Saveset" } else { "Copy" };
    let what = format!(
        "{kind} {} of task '{}' in pool '{}' is of the backup of {}.",
        // People know a copy by its backup.
        saveset.backup.short(),
        saveset.task,
        saveset.pool,
        zone.show(saveset.stamped),
    );
    let mut sentences = vec![what];
    match verdict {
        Verdict::Expire { since } => sentences.push(format!(
            "Nothing has kept it since {}; it is expired and may be deleted.",
            zone.show(*since)
        )),
        Verdict::Keep { why, until } => {
            sentences.extend(why.iter().map(|why| sentence(why, zone)));
            sentences.push(match until {
                Some(until) => {
                    format!("It expires at {}, if nothing else keeps it then.", zone.show(*until))
                }
                None => "When it expires cannot be told yet.".to_owned(),
            });
        }
    }
    sentences.join(" ")
}

fn sentence(why: &Why, zone: &Zone) -> String {
    match why {
        Why::LegalHold { note } => {
            format!("It is under legal hold until a person lifts it: {note}.")
        }
        Why::Lock { until } => {
            format!("It is locked until {}; nobody can shorten that.", zone.show(*until))
        }
        Why::Eol { until, of } => {
            let whose = match of {
                EolOf::Saveset => "Its own EOL",
                EolOf::Task => "The EOL of its task",
                EolOf::Pool => "The EOL of its pool",
            };
            format!("{whose} keeps it until {}.", zone.show(*until))
        }
        Why::Rule { rule: Rule::Last, number, bucket } => {
            format!("The rule 'last {number}' keeps it: it is number {bucket} from the newest.")
        }
        Why::Rule { rule, number, bucket } => {
            format!("The rule '{} {number}' keeps it: it is the newest of {bucket}.", rule.as_str())
        }
        Why::WhenWhole { rule, number, .. } => format!(
            "It is damaged and takes no place of a good one, but the rule '{} {number}' would keep it if it were \
             whole, and it may be healed.",
            rule.as_str()
        ),
        Why::Forever => "The policy of its pool keeps everything forever.".to_owned(),
        Why::NoPolicy => "Its pool has no policy, so nothing says that it may go.".to_owned(),
        Why::NothingNewer => {
            "It does not count for the rules of its pool, but no newer saveset of the task does."
                .to_owned()
        }
        Why::NewestOfTask => {
            "It is the newest restorable saveset of its task, which only a second \
                              person lets go."
                .to_owned()
        }
        Why::ClockInDoubt => {
            "Nothing else keeps it, but the server's clock is in doubt, and nothing \
                              expires before that is settled."
                .to_owned()
        }
    }
}
