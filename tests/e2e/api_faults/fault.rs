//! One row of the table, and how it is checked.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cofferdam::agent::RunOptions;
use cofferdam::assembly::Host;
use cofferdam::config::Config;
use cofferdam::events::{Ending, Event, EventKind};
use cofferdam::ledger::{BudgetSettings, LedgerRow};
use cofferdam::model::{ModelSettings, ProviderKind};
use cofferdam::secret::Secret;
use cofferdam::store::Store;
use cofferdam_tests::KEY;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::chat;
use super::row::Row;
use super::server::{Server, Step};
use super::wire::{ANSWER, REPORTED};

/// The first delay of the retry layer. The next one is twice as long.
pub(super) const BACKOFF: u64 = 4;

/// Far longer than any row needs.
const HANG: Duration = Duration::from_secs(60);

/// A delay that is announced and not waited for: the run is cancelled instead.
const TOO_LONG_TO_WAIT: u64 = 300;

/// Rows that run at the same time.
const PARALLEL: usize = 4;

/// The most characters of a message that a user reads.
const MAX_MESSAGE: usize = 2_000;

/// A fault of the API, and what a run is expected to make of it.
pub(super) struct Fault {
    pub(super) name: String,
    /// What the server does, connection by connection. The last script repeats.
    pub(super) server: Vec<Vec<Step>>,
    pub(super) expect: Expect,
    pub(super) change: fn(&mut Config),
    /// Instead of the server's own address.
    pub(super) base_url: Option<String>,
    pub(super) provider: ProviderKind,
}

/// What is expected of a run.
pub(super) struct Expect {
    pub(super) attempts: u32,
    /// The delays before the retries, in milliseconds.
    pub(super) delays: Vec<RangeInclusive<u64>>,
    /// `None`: either is right.
    pub(super) ending: Option<Ending>,
    /// The error's kind. Empty: any.
    pub(super) kind: &'static str,
    /// The money of each attempt. The last one repeats.
    pub(super) money: Vec<Money>,
    /// What message and hint say. A bar separates words of which one is enough.
    pub(super) says: Vec<&'static str>,
    /// The most bytes that the client reads before it hangs up.
    pub(super) reads_at_most: usize,
    /// What the user reads isn't the same everywhere, or every time.
    pub(super) words_vary: bool,
}

/// How an attempt's reservation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Money {
    /// It costs nothing.
    Released,
    /// It costs what the API reported.
    Exact,
    /// It costs the whole reservation, because nobody knows what the API will bill.
    Full,
    /// As [`Self::Exact`] or [`Self::Full`].
    Charged,
}

impl Fault {
    /// A fault that the first attempt meets, and every later one too.
    pub(super) fn always(name: impl Into<String>, script: Vec<Step>, expect: Expect) -> Self {
        Self {
            name: name.into(),
            server: vec![script],
            expect,
            change: |_| (),
            base_url: None,
            provider: ProviderKind::Anthropic,
        }
    }

    /// A fault that only the first attempt meets. The second one is answered.
    pub(super) fn once(name: impl Into<String>, script: Vec<Step>, expect: Expect) -> Self {
        let good = vec![Step::Read, Step::Send(super::wire::good()), Step::Fin];
        Self {
            server: vec![script, good],
            ..Self::always(name, Vec::new(), expect)
        }
    }

    /// The same with the Chat Completions API: the second answer of [`Self::once`] is one of its own.
    pub(super) fn chat(mut self) -> Self {
        self.provider = ProviderKind::OpenAi;
        if let [_, good] = &mut self.server[..] {
            *good = vec![Step::Read, Step::Send(chat::good()), Step::Fin];
        }
        self
    }

    pub(super) fn with(mut self, change: fn(&mut Config)) -> Self {
        self.change = change;
        self
    }

    pub(super) fn at(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = Some(base_url.into());
        self
    }
}

impl Expect {
    /// The first attempt is the last one.
    pub(super) fn fatal(kind: &'static str, money: Money) -> Self {
        Self {
            attempts: 1,
            delays: Vec::new(),
            ending: Some(Ending::ModelFailed),
            kind,
            money: vec![money],
            says: Vec::new(),
            reads_at_most: usize::MAX,
            words_vary: false,
        }
    }

    /// The second attempt is answered.
    pub(super) fn retried(money: Money) -> Self {
        Self {
            attempts: 2,
            delays: vec![BACKOFF..=BACKOFF],
            ending: Some(Ending::Completed),
            money: vec![money, Money::Exact],
            ..Self::fatal("", money)
        }
    }

    /// All three attempts fail.
    pub(super) fn gives_up(kind: &'static str, money: Money) -> Self {
        Self {
            attempts: 3,
            delays: vec![BACKOFF..=BACKOFF, 2 * BACKOFF..=2 * BACKOFF],
            ..Self::fatal(kind, money)
        }
    }

    /// The first attempt is answered.
    pub(super) fn answered() -> Self {
        Self::fatal("", Money::Exact).ending(Ending::Completed)
    }

    pub(super) fn delays(mut self, delays: impl IntoIterator<Item = RangeInclusive<u64>>) -> Self {
        self.delays = delays.into_iter().collect();
        self
    }

    /// The retry comes after this delay, which is too long for a test: the run is cancelled there.
    pub(super) fn waits(mut self, delay: RangeInclusive<u64>) -> Self {
        self.attempts = 1;
        self.ending = Some(Ending::Cancelled);
        self.delays = vec![delay];
        self.money.truncate(1);
        self
    }

    pub(super) fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    pub(super) fn ending(mut self, ending: Ending) -> Self {
        self.ending = Some(ending);
        self
    }

    pub(super) fn any_ending(mut self) -> Self {
        self.ending = None;
        self
    }

    pub(super) fn money(mut self, money: &[Money]) -> Self {
        self.money = money.to_vec();
        self
    }

    pub(super) fn says(mut self, words: &[&'static str]) -> Self {
        self.says = words.to_vec();
        self
    }

    pub(super) fn words_vary(mut self) -> Self {
        self.words_vary = true;
        self
    }

    pub(super) fn reads_at_most(mut self, bytes: usize) -> Self {
        self.reads_at_most = bytes;
        self
    }
}

/// Checks every row, and returns what was measured. Panics with the names of all that fail, and of those in `known_red` that
/// don't.
pub(super) async fn check(faults: Vec<Fault>, known_red: &[&str]) -> Vec<Row> {
    assert!(!faults.is_empty());
    let places = Arc::new(Semaphore::new(PARALLEL));
    let mut rows = JoinSet::new();
    for (number, fault) in faults.into_iter().enumerate() {
        let places = places.clone();
        rows.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            let name = fault.name.clone();
            let run = tokio::spawn(async move { measured(&fault).await });
            let (problems, row) = match tokio::time::timeout(HANG, run).await {
                Ok(Ok((problems, row))) => (problems, Some(row)),
                Ok(Err(panicked)) => (vec![panicked.to_string()], None),
                Err(_) => (vec!["it hangs".to_owned()], None),
            };
            (number, name, problems, row)
        });
    }
    let mut all = rows.join_all().await;
    all.sort_by_key(|(number, ..)| *number);
    let (mut failures, mut measured) = (Vec::new(), Vec::new());
    for (_, name, problems, row) in all {
        measured.extend(row);
        match (problems.is_empty(), known_red.contains(&&*name)) {
            (true, true) => failures.push(format!("{name}: passes, so remove it from KNOWN_RED")),
            (false, false) => failures.push(format!("{name}:\n    {}", problems.join("\n    "))),
            _ => {}
        }
    }
    failures.sort();
    assert!(failures.is_empty(), "{} rows:\n{}", failures.len(), failures.join("\n"));
    measured
}

/// A configuration for the model at `base_url`, with short delays and without tools and budgets.
pub(super) fn config(base_url: &str) -> Config {
    let mut config = Config {
        model: ModelSettings {
            base_url: base_url.parse().unwrap(),
            api_key: Some(Secret::new(KEY)),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(20),
            attempt_timeout: Duration::from_secs(40),
            ..ModelSettings::default()
        },
        budget: BudgetSettings {
            session: None,
            daily: None,
            session_cap: None,
            prices: None,
            ..BudgetSettings::default()
        },
        ..Config::default()
    };
    config.retry.initial_delay = Duration::from_millis(BACKOFF);
    config.retry.jitter = false;
    config.breaker.failure_threshold = 1_000;
    config
}

/// What is wrong with a row, and what it came to.
async fn measured(fault: &Fault) -> (Vec<String>, Row) {
    let server = Server::playing(fault.server.clone()).await;
    let base_url = match &fault.base_url {
        Some(url) => url.replace("ADDRESS", &server.address().to_string()),
        None => format!("http://{}", server.address()),
    };
    let mut config = config(&base_url);
    config.model.provider = fault.provider;
    (fault.change)(&mut config);
    let (delays, cancel) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let (announced, too_long) = (delays.clone(), cancel.clone());
    let store = Store::in_memory().unwrap();
    let host = Host::builder(config)
        .store(store.clone())
        .observer("delays", move |event: &Event| {
            if let EventKind::ModelRetry { delay_ms, .. } = event.kind {
                announced.lock().unwrap().push(delay_ms);
                if delay_ms >= TOO_LONG_TO_WAIT {
                    too_long.cancel();
                }
            }
        })
        .build()
        .await
        .unwrap();
    // Nobody reads the text as it streams, so that every row shows what a retry does.
    let options = RunOptions {
        cancel,
        streams_to_user: false,
        ..RunOptions::default()
    };
    let report = host.session().run("Go.", options).await;
    host.shutdown().await;

    let Expect {
        attempts,
        delays: expected_delays,
        ending,
        kind,
        money,
        says,
        reads_at_most,
        words_vary,
    } = &fault.expect;
    let mut problems = Vec::new();
    let mut check = |is_right: bool, problem: String| {
        if !is_right {
            problems.push(problem);
        }
    };
    let made = report.metrics.model_attempts;
    check(made == u64::from(*attempts), format!("{made} attempts, not {attempts}"));
    let delays = delays.lock().unwrap().clone();
    let fits = delays.len() == expected_delays.len()
        && delays
            .iter()
            .zip(expected_delays)
            .all(|(delay, range)| range.contains(delay));
    check(fits, format!("delays {delays:?}, not {expected_delays:?}"));
    let is_right = ending.is_none_or(|ending| ending == report.outcome);
    check(
        is_right,
        format!("{}, not {ending:?}: {:?}", report.outcome, report.error),
    );
    if report.outcome == Ending::Completed {
        check(report.answer == ANSWER, format!("the answer is `{}`", report.answer));
        check(report.error.is_none(), format!("{:?}", report.error));
    }
    let found_kind = report.error.as_ref().map_or("", |error| error.kind.as_str());
    check(
        kind.is_empty() || *kind == found_kind,
        format!("the kind is `{found_kind}`, not `{kind}`"),
    );
    let message = report.error.as_ref().map_or("", |error| error.message.as_str());
    let hint = report.error.as_ref().and_then(|error| error.hint.as_deref());
    let read = format!("{message} {}", hint.unwrap_or_default());
    for words in says {
        let is_said = words.split('|').any(|words| read.contains(words));
        check(is_said, format!("`{words}` isn't in: {read}"));
    }
    check(read.len() <= MAX_MESSAGE, format!("{} bytes of message", read.len()));
    let is_clean = !read.contains(KEY) && !read.contains(|character: char| character.is_control());
    check(
        is_clean,
        format!("the message has the key or control characters: {read:?}"),
    );
    let rows = store.ledger().export(None).await.unwrap();
    let expected_rows = usize::try_from(*attempts).unwrap();
    check(rows.len() == expected_rows, format!("{} reservations", rows.len()));
    for (number, row) in rows.iter().enumerate() {
        let expected = *money.get(number).or(money.last()).unwrap();
        check(
            expected.matches(row),
            format!("the money of attempt {} isn't {expected:?}: {row:?}", number + 1),
        );
    }
    let sent = server.sent();
    check(sent <= *reads_at_most, format!("{sent} bytes were read"));
    let address = server.address().to_string();
    let shown = |text: &str| text.replace(&address, "127.0.0.1:8080");
    let row = Row {
        name: fault.name.clone(),
        attempts: made,
        delays: delays.iter().copied().zip(expected_delays.iter().cloned()).collect(),
        // The test ends a run that waits for longer than it wants to.
        ending: (!delays.iter().any(|delay| *delay >= TOO_LONG_TO_WAIT)).then_some(report.outcome),
        kind: found_kind.to_owned(),
        money: rows.iter().map(Money::of).collect(),
        message: match words_vary {
            true => format!("… {} …", says.join(" … ")),
            false => shown(message),
        },
        hint: hint.filter(|_| !words_vary).map(shown),
    };
    (problems, row)
}

/// What the reported tokens cost, in nano-dollars, at the prices of Claude Sonnet 5.5.
pub(super) fn reported_cost() -> u64 {
    REPORTED.0 * 2_000 + REPORTED.1 * 10_000
}

impl Money {
    fn of(row: &LedgerRow) -> Self {
        let all = [Self::Released, Self::Exact, Self::Full];
        all.into_iter()
            .find(|money| money.matches(row))
            .unwrap_or(Self::Charged)
    }

    fn matches(self, row: &LedgerRow) -> bool {
        let spent = row.spent_usd.map_or(0, |amount| amount.as_nanos());
        match self {
            Self::Released => spent == 0 && (row.state == "released" || (row.state == "settled" && !row.estimated)),
            Self::Exact => row.state == "settled" && !row.estimated && spent == reported_cost(),
            Self::Full => row.estimated && spent >= row.reserved_usd.as_nanos(),
            Self::Charged => Self::Exact.matches(row) || Self::Full.matches(row),
        }
    }
}
