//! What all tries of a call used in total.

use crate::sandbox::CallUse;

/// Reasons kept for HTTP requests that were refused or had no answer, each once, over all tries of a call.
const MAX_REFUSED_REASONS: usize = 16;

/// What all tries of a call used in total.
#[derive(Default)]
pub(super) struct CallTotals {
    pub(super) tries: u32,
    pub(super) fuel: u64,
    pub(super) peak_memory: u64,
    pub(super) host_calls: u64,
    pub(super) http_requests: u32,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) log: String,
    pub(super) log_bytes_dropped: u64,
    pub(super) refused: Vec<String>,
}

impl CallTotals {
    /// Adds one try. Of all output, only the first `log_bytes` are kept.
    pub(super) fn add(&mut self, usage: CallUse, log_bytes: u64) {
        self.tries += 1;
        self.fuel = self.fuel.saturating_add(usage.fuel);
        self.peak_memory = self.peak_memory.max(usage.peak_memory);
        self.host_calls = self.host_calls.saturating_add(usage.host_calls);
        self.http_requests = self.http_requests.saturating_add(usage.http.requests);
        self.bytes_sent = self.bytes_sent.saturating_add(usage.http.sent);
        self.bytes_received = self.bytes_received.saturating_add(usage.http.received);
        let room = usize::try_from(log_bytes)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.log.len());
        let kept = usage.log.floor_char_boundary(room);
        self.log.push_str(&usage.log[..kept]);
        self.log_bytes_dropped += usage.log_bytes_dropped + (usage.log.len() - kept) as u64;
        for reason in usage.http.refused {
            if self.refused.len() < MAX_REFUSED_REASONS && !self.refused.contains(&reason) {
                self.refused.push(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::HttpUse;

    #[test]
    fn tries_add_up_and_stay_bounded() {
        let mut totals = CallTotals::default();
        for log in ["first ", "second ", "third"] {
            let usage = CallUse {
                fuel: 10,
                host_calls: 1,
                peak_memory: 7,
                log: log.to_owned(),
                http: HttpUse {
                    requests: 9,
                    sent: 5,
                    received: 6,
                    refused: (0..9).map(|number| format!("{log}{}", number.max(1))).collect(),
                },
                ..CallUse::default()
            };
            totals.add(usage, 15);
        }
        assert_eq!(
            (
                totals.tries,
                totals.fuel,
                totals.host_calls,
                totals.peak_memory,
                totals.http_requests
            ),
            (3, 30, 3, 7, 27)
        );
        assert_eq!((totals.bytes_sent, totals.bytes_received), (15, 18));
        assert_eq!((totals.log.as_str(), totals.log_bytes_dropped), ("first second th", 3));
        assert_eq!(
            (totals.refused.len(), totals.refused[9].as_str()),
            (MAX_REFUSED_REASONS, "second 2")
        );
    }
}
