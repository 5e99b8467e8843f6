//! Rate limits: adding, listing, removing. A change is told to the devices before it is answered.

use simsim_catalog::RateFor;
use simsim_control::verbs::RATE_LIMITS_MAX;
use simsim_model::Rate;
use simsim_net::Network;

use crate::api::{AddRateRequest, RateReply, RateRequest, RateView, RatesView};
use crate::clock::now_unix_ms;
use crate::rates;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Lines of one limit.
const RATES_MAX: usize = 16;

impl Server {
    /// Adds a limit. It counts at once, for jobs that run as well.
    pub async fn add_rate(
        &self,
        who: &Principal,
        request: AddRateRequest,
    ) -> Result<RateReply, ServerError> {
        let lines: Result<Vec<Rate>, _> = request.rates.iter().map(|rate| rate.parse()).collect();
        let lines = lines.map_err(|error| ServerError::invalid(error.to_string()))?;
        let lines: Vec<String> = lines.iter().map(Rate::to_string).collect();
        let counts_for = match (&request.host, &request.network) {
            (Some(_), Some(_)) => {
                return Err(ServerError::invalid("a limit is for a host or for a network"));
            }
            (Some(host), None) => RateFor::Host(host.clone()),
            (None, Some(network)) => {
                let network: Network =
                    network.parse().map_err(|error| ServerError::invalid(format!("{error}")))?;
                RateFor::Network(network.to_string())
            }
            (None, None) => RateFor::All,
        };
        if lines.is_empty() || lines.len() > RATES_MAX {
            return Err(ServerError::invalid(format!(
                "a limit has from 1 to {RATES_MAX} rates, such as 'mon-fri 08:00-18:00 5MB/s'"
            )));
        }
        let object = match &request.host {
            Some(host) => Object::Client(host),
            None => Object::Suite,
        };
        let detail = match &request.network {
            Some(network) => format!("network {network}: {}", lines.join(", ")),
            None => lines.join(", "),
        };
        self.may_do(who, Right::Administer, "rate.add", object, detail).await?;
        let number = self
            .house
            .books
            .run(move |catalog| {
                catalog.add_rate(&counts_for, &lines, RATE_LIMITS_MAX, now_unix_ms())
            })
            .await?;
        let untold = rates::tell_all(&self.house).await?;
        Ok(RateReply { rate: self.rate_numbered(number).await?, untold })
    }

    /// All limits, with what they allow now.
    pub async fn rates(&self, who: &Principal) -> Result<RatesView, ServerError> {
        self.may_see(who, Right::View, "list rate limits", Object::Suite).await?;
        let (limits, now) = (rates::all(&self.house).await?, rates::now());
        Ok(RatesView {
            rates: limits.iter().map(|limit| limit.view(&now)).collect(),
            time_zone: now.time_zone().iana_name().unwrap_or_default().to_owned(),
        })
    }

    /// Removes a limit. Jobs that run are free of it at once.
    pub async fn remove_rate(
        &self,
        who: &Principal,
        request: RateRequest,
    ) -> Result<RateReply, ServerError> {
        let detail = format!("number {}", request.number);
        self.may_do(who, Right::Administer, "rate.remove", Object::Suite, detail).await?;
        let rate = self.rate_numbered(request.number).await?;
        self.house.books.run(move |catalog| catalog.delete_rate(request.number)).await?;
        let untold = rates::tell_all(&self.house).await?;
        Ok(RateReply { rate, untold })
    }

    async fn rate_numbered(&self, number: u64) -> Result<RateView, ServerError> {
        let limits = rates::all(&self.house).await?;
        let there = limits.iter().find(|limit| limit.number == number);
        there
            .map(|limit| limit.view(&rates::now()))
            .ok_or_else(|| ServerError::NotFound { noun: "rate limit", name: number.to_string() })
    }
}
