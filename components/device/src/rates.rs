//! Rate limits as the server tells them. The device holds them all or, where it does not understand
//! one, keeps those that it had: so the server learns that they do not count here.

use std::time::Duration;

use simsim_control::verbs::{RATE_LIMITS_MAX, RATE_STEPS_MAX, SetRates};
use simsim_transfer::throttle::{RateLimit, RateStep};

use crate::DeviceError;

pub(crate) fn limits_of(told: &SetRates) -> Result<Vec<RateLimit>, DeviceError> {
    if told.limits.len() > RATE_LIMITS_MAX {
        return Err(DeviceError::Request("more rate limits than a device holds"));
    }
    let limits = told.limits.iter().map(|limit| {
        if limit.steps.len() > RATE_STEPS_MAX {
            return Err(DeviceError::Request("a rate limit has more steps than a device holds"));
        }
        let wrong = "a rate limit counts for something that this version does not know: update it";
        let subject = limit.subject.parse().map_err(|_| DeviceError::Request(wrong))?;
        let steps = limit.steps.iter().map(|step| RateStep {
            after: Duration::from_secs(step.after_s.min(u64::from(u32::MAX))),
            bytes_per_s: step.bytes_per_s.map(|rate| rate.max(1)),
        });
        Ok(RateLimit { number: limit.number, subject, steps: steps.collect() })
    });
    limits.collect()
}
