//! What an endpoint gets from many sessions while it is down, and how soon they use it again.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cofferdam::agent::RunOptions;
use cofferdam::assembly::Host;
use cofferdam::config::Config;
use cofferdam::events::{BreakerState, Usage};
use cofferdam::ledger::BudgetSettings;
use cofferdam::model::{
    ApiError, ApiErrorKind, BoxFuture, Model, ModelChain, ModelContext, ModelError, ModelRequest, ModelResponse,
    ModelSettings, ModelStack, PreparedRequest, Prices, Progress, Provider, ProviderKind, StopReason, ToolDefinitions,
    Unlogged,
};
use cofferdam::resilience::{Breaker, BreakerSettings, RetryBudget, RetrySettings};
use cofferdam::simulator::{Answer, Script, Simulator, SimulatorOptions};
use cofferdam::store::Store;
use cofferdam::telemetry::{AlertSettings, Emitter, EventBus};
use cofferdam::transcript::{Block, Message};
use cofferdam_tests::check_documented;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const SESSIONS: u32 = 100;
/// Between the first questions of two sessions.
const STAGGER: Duration = Duration::from_millis(97);
/// Between an answer or an error and the same session's next question.
const PAUSE: Duration = Duration::from_secs(10);
const LATENCY: Duration = Duration::from_millis(200);
const BEGINS: Duration = Duration::from_secs(60);
const ENDS: Duration = Duration::from_secs(660);
const WATCHED: Duration = Duration::from_secs(780);
const DEADLINE: Duration = Duration::from_secs(300);

/// What the retry budget allows in any ten seconds, besides one for every ten calls that were sent.
const RETRIES_PER_WINDOW: u64 = 10;
const WINDOW: u64 = 10;
const CALLS_PER_RETRY: u64 = 10;

tokio::task_local! {
    /// The attempts of the current call.
    static ATTEMPTS: Cell<u32>;
}

/// One request that reached the endpoint.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Since the start.
    at: Duration,
    is_retry: bool,
    is_probe: bool,
}

/// An endpoint that is down for a while.
#[derive(Debug)]
struct Endpoint {
    started: Instant,
    breaker: Arc<Breaker>,
    sent: Mutex<Vec<Sent>>,
}

impl Provider for Endpoint {
    fn model(&self) -> &str {
        "m"
    }

    fn endpoint(&self) -> String {
        "http://endpoint".to_owned()
    }

    fn prepare<'a>(&self, request: &'a ModelRequest<'a>) -> Result<PreparedRequest<'a>, ModelError> {
        Ok(PreparedRequest::new(request, Bytes::from_static(b"{}")))
    }

    fn attempt<'a>(
        &'a self,
        _: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(async move {
            let at = self.started.elapsed();
            self.sent.lock().unwrap().push(Sent {
                at,
                is_retry: ATTEMPTS.with(|attempts| attempts.replace(attempts.get() + 1)) > 0,
                is_probe: self.breaker.state() == BreakerState::HalfOpen,
            });
            tokio::time::sleep(LATENCY).await;
            if (BEGINS..ENDS).contains(&at) {
                return Err(unavailable());
            }
            progress.final_usage(Usage::default());
            Ok(ModelResponse {
                model: "m".to_owned(),
                content: vec![Block::text("Here.")],
                stop_reason: StopReason::EndTurn,
                refusal: None,
                usage: Usage::default(),
                request_id: None,
            })
        })
    }
}

fn unavailable() -> ModelError {
    ModelError::from(ApiError {
        kind: ApiErrorKind::ServerError,
        status: Some(503),
        url: None,
        location: None,
        is_page: false,
        error_type: "api_error".to_owned(),
        message: "down".to_owned(),
        error_code: None,
        request_id: None,
        retry_after: None,
        should_retry: None,
    })
}

/// What keeps the sessions from making an outage worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Nothing,
    RetryBudget,
    RetryBudgetAndBreaker,
}

/// What happened from the beginning of the outage on.
struct Seen {
    first_attempts: u64,
    retries: u64,
    /// Of both, those while the breaker was half-open.
    probes: u64,
    open_windows: u64,
    /// From the end of the outage to the first answer, and to the breaker's closing.
    first_answer: Duration,
    closed: Duration,
}

/// Sessions that ask one endpoint through layers that they share.
async fn outage(guard: Guard) -> Seen {
    fastrand::seed(15);
    let started = Instant::now();
    let settings = match guard {
        Guard::RetryBudgetAndBreaker => BreakerSettings::default(),
        Guard::RetryBudget | Guard::Nothing => BreakerSettings {
            failure_threshold: u32::MAX,
            ..BreakerSettings::default()
        },
    };
    let breaker = Arc::new(Breaker::new("model:m", settings));
    let endpoint = Arc::new(Endpoint {
        started,
        breaker: breaker.clone(),
        sent: Mutex::default(),
    });
    let stack = ModelStack {
        provider: endpoint.clone(),
        retry: RetrySettings::default(),
        retry_budget: Arc::new(RetryBudget::new()),
        breaker: breaker.clone(),
        rate_limits: Some(Arc::default()),
        ledger: Store::in_memory().unwrap().ledger(),
        budget: unlimited(),
        prices: Arc::new(Prices::builtin()),
        is_fallback: false,
        attempt_timeout: DEADLINE,
    };
    let mut sessions = JoinSet::new();
    for number in 0..SESSIONS {
        let mut stack = stack.clone();
        sessions.spawn(async move {
            let emitter = Emitter::new(
                &EventBus::new(),
                &format!("s{number}"),
                "default",
                AlertSettings::default(),
            );
            tokio::time::sleep(STAGGER * number).await;
            while started.elapsed() < WATCHED {
                // A budget of its own never refuses one call's two retries.
                if guard == Guard::Nothing {
                    stack.retry_budget = Arc::new(RetryBudget::new());
                }
                ask(&stack, &emitter).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    tokio::time::sleep_until(started + ENDS).await;
    while breaker.state() != BreakerState::Closed {
        tokio::time::sleep(LATENCY / 4).await;
    }
    let closed = started.elapsed() - ENDS;
    sessions.join_all().await;
    let sent = endpoint.sent.lock().unwrap().clone();
    let during: Vec<Sent> = sent
        .iter()
        .filter(|sent| (BEGINS..ENDS).contains(&sent.at))
        .copied()
        .collect();
    let count = |is: fn(&Sent) -> bool| u64::try_from(during.iter().filter(|sent| is(sent)).count()).unwrap();
    Seen {
        first_attempts: count(|sent| !sent.is_retry),
        retries: count(|sent| sent.is_retry),
        probes: count(|sent| sent.is_probe),
        open_windows: breaker.stats().opened_count,
        first_answer: sent.iter().find(|sent| sent.at >= ENDS).unwrap().at + LATENCY - ENDS,
        closed,
    }
}

async fn ask(stack: &ModelStack, emitter: &Emitter) {
    let (messages, tools, cancel) = (
        [Message::user("hi")],
        ToolDefinitions::default(),
        CancellationToken::new(),
    );
    let request = ModelRequest {
        system: "",
        messages: &messages,
        tools: &tools,
        max_tokens: 1_000,
        temperature: None,
        schema: None,
        tools_since: &[],
    };
    let cx = ModelContext {
        emitter,
        deadline: Instant::now() + DEADLINE,
        cancel: &cancel,
        streams_to_user: false,
        log: &Unlogged,
    };
    // What becomes of the call is for the endpoint to count.
    let model = ModelChain::new(stack.clone(), Vec::new());
    let _ = ATTEMPTS.scope(Cell::new(0), model.respond(&request, &cx)).await;
}

fn unlimited() -> BudgetSettings {
    BudgetSettings {
        session: None,
        daily: None,
        session_cap: None,
        ..BudgetSettings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_ten_minutes() {
    let mut table =
        "| kept in check by | requests | of these retries | of these probes | the breaker opened | first answer \
                     after the outage | breaker closed |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (guard, name) in [
        (Guard::Nothing, "nothing: three attempts per call"),
        (Guard::RetryBudget, "the retry budget"),
        (Guard::RetryBudgetAndBreaker, "the retry budget and the breaker"),
    ] {
        let seen = outage(guard).await;
        let requests = seen.first_attempts + seen.retries;
        let windows = (ENDS - BEGINS).as_secs() / WINDOW + 1;
        let budget = windows * RETRIES_PER_WINDOW + seen.first_attempts / CALLS_PER_RETRY;
        match guard {
            Guard::Nothing => assert_eq!(seen.probes, 0),
            Guard::RetryBudget => assert!(seen.retries <= budget, "{} retries, not {budget}", seen.retries),
            Guard::RetryBudgetAndBreaker => {
                let BreakerSettings {
                    open_for,
                    failure_threshold,
                    ..
                } = BreakerSettings::default();
                assert!(seen.probes <= seen.open_windows, "{} probes", seen.probes);
                // Before it opens, requests are on their way that no failure could stop.
                let on_their_way = u64::from(failure_threshold) + RETRIES_PER_WINDOW;
                assert!(requests <= on_their_way + seen.open_windows, "{requests} requests");
                assert!(seen.open_windows <= (ENDS - BEGINS).as_secs() / open_for.as_secs() + 1);
                assert!(seen.first_answer <= open_for && seen.closed <= open_for + LATENCY * 2);
            }
        }
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        let (opened, closed) = match guard {
            Guard::RetryBudgetAndBreaker => (format!("{} times", seen.open_windows), seconds(seen.closed)),
            Guard::Nothing | Guard::RetryBudget => ("–".to_owned(), "–".to_owned()),
        };
        table += &format!(
            "| {name} | **{requests}** | {} | {} | {opened} | {} | {closed} |\n",
            seen.retries,
            seen.probes,
            seconds(seen.first_answer),
        );
    }
    check_documented("failures.md", "outage", &table);
}

/// The same over real connections, in little: 100 runs at once, and again after the breaker's time.
#[tokio::test]
async fn an_outage_over_real_connections() {
    const OPEN_FOR: Duration = Duration::from_millis(500);
    let script = Script::new().answer(Answer::error(503).forever());
    let simulator = Simulator::start(script, SimulatorOptions::default()).unwrap();
    let mut config = Config {
        model: ModelSettings {
            provider: ProviderKind::Simulated,
            base_url: simulator.url().parse().unwrap(),
            ..ModelSettings::default()
        },
        budget: unlimited(),
        ..Config::default()
    };
    config.retry.initial_delay = Duration::from_millis(5);
    config.breaker.open_for = OPEN_FOR;
    let threshold = u64::from(config.breaker.failure_threshold);
    let host = Host::builder(config)
        .store(Store::in_memory().unwrap())
        .build()
        .await
        .unwrap();
    let wave = async || {
        let mut runs = JoinSet::new();
        for _ in 0..SESSIONS {
            let mut session = host.session();
            runs.spawn(async move { session.run("Go.", RunOptions::default()).await.error.is_some() });
        }
        assert!(runs.join_all().await.into_iter().all(|failed| failed));
        simulator.requests().len() as u64
    };
    let started = Instant::now();
    let first = wave().await;
    let first_attempts = u64::from(SESSIONS);
    let retries = RETRIES_PER_WINDOW + first_attempts / CALLS_PER_RETRY;
    assert!(
        (threshold..=first_attempts + retries + 1).contains(&first),
        "{first} requests"
    );
    tokio::time::sleep(OPEN_FOR).await;
    let second = wave().await - first;
    let windows = started.elapsed().as_millis() / OPEN_FOR.as_millis();
    assert!((1..=windows).contains(&u128::from(second)), "{second} requests");
    host.shutdown().await;
}
