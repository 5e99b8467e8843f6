//! What was found when ways were tried last.

use std::collections::BTreeMap;

use maud::Markup;
use simsim_model::port_plan::PlanRow;
use simsim_server::api::KeptProbe;

use crate::parts::{Tone, badge};
use crate::text::t;

/// What was found, by way.
pub struct Found<'a> {
    rows: BTreeMap<(&'a str, &'a str, &'a str), Vec<&'a KeptProbe>>,
    pub tried: Option<i64>,
}

impl<'a> Found<'a> {
    pub fn of(kept: &'a [KeptProbe]) -> Self {
        let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for one in kept {
            let way = (one.row.row.as_str(), one.row.from.as_str(), one.row.to.as_str());
            rows.entry(way).or_default().push(one);
        }
        Self { rows, tried: kept.iter().map(|one| one.tried_unix_ms).max() }
    }

    pub fn at<'b>(&'b self, row: &'b PlanRow) -> &'b [&'a KeptProbe] {
        let way = (row.row.as_str(), row.from.name.as_str(), row.to.name.as_str());
        self.rows.get(&way).map_or(&[], Vec::as_slice)
    }

    /// Of several interfaces one that is open is enough.
    pub fn state(&self, row: &PlanRow) -> State {
        let probes = self.at(row);
        let tried = probes.iter().filter(|one| one.row.state != "not_tried");
        match () {
            () if probes.iter().any(|one| one.row.state == "open") => State::Open,
            () if tried.count() > 0 => State::Shut,
            () => State::Untried,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Open,
    Untried,
    Shut,
}

impl State {
    pub fn badge(self, words: Option<&str>) -> Markup {
        match self {
            State::Open => badge(Tone::Good, words.unwrap_or(t("open"))),
            State::Shut => badge(Tone::Bad, words.unwrap_or(t("shut"))),
            State::Untried => badge(Tone::Quiet, words.unwrap_or(t("not tried"))),
        }
    }

    pub const fn class(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Shut => "shut",
            State::Untried => "untried",
        }
    }
}
