//! Orders, each placed by one session, by as many processes as it takes, and the promises that must be kept whatever goes wrong.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use cofferdam::simulator::{Answer, MessageAnswer, ToolCall, UsageAnswer, UsageFigures};
use cofferdam_tests::{Behaviour, Disk, HttpServer, Lab, Ran, finish};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::{RwLock, watch};

use crate::lab;

#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) processes: u32,
    pub(super) sessions: u32,
    /// How often a process is killed, or the power fails.
    pub(super) faults: u32,
    /// How long the model takes for an answer.
    pub(super) answer_millis: u64,
}

/// Ends one of the commands of an order at one of the points that it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Among those that change something, from 0.
    pub(super) command: usize,
    /// From 1.
    pub(super) point: usize,
}

/// What one request costs: 700 tokens at $2 and 52 at $10 per million.
const COST_NANOS: u64 = 1_920_000;

/// No process is given longer than this before its kill.
const MAX_LIFE_MILLIS: u64 = 150;

/// The power doesn't hold for longer.
const MAX_UPTIME_MILLIS: u64 = 1_000;

/// More commands than any order needs.
const MAX_COMMANDS: u32 = 1_000;

/// Numbers without order.
struct Random(AtomicU64);

impl Random {
    fn below(&self, bound: u64) -> u64 {
        let next = |state: u64| {
            Some(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        let state = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap();
        (state >> 33) % bound
    }

    fn coin(&self) -> bool {
        self.below(2) == 0
    }
}

fn order(number: u32) -> String {
    format!("ORDER-{number:03}")
}

fn priced(answer: MessageAnswer, delay: Duration) -> Answer {
    let figures = UsageFigures {
        input_tokens: Some(700),
        output_tokens: Some(52),
        ..UsageFigures::default()
    };
    Answer::message(MessageAnswer {
        usage: UsageAnswer::Given(figures),
        ..answer
    })
    .delay(delay)
    .forever()
}

/// One call for each order, which the service must get at most once.
fn script(service: &str, size: Size) -> Vec<Answer> {
    let delay = Duration::from_millis(size.answer_millis);
    let call = |number| {
        let input = json!({ "url": format!("{service}/{}", order(number)), "method": "POST" });
        let tools = vec![ToolCall::new("fetch", input)];
        let answer = MessageAnswer {
            tools,
            ..MessageAnswer::default()
        };
        priced(answer, delay).when_last_user_contains(format!("{}.", order(number)))
    };
    let done = MessageAnswer {
        text: "Ordered.".to_owned(),
        ..MessageAnswer::default()
    };
    (0..size.sessions).map(call).chain([priced(done, delay)]).collect()
}

pub(super) struct Trial {
    lab: Lab,
    service: HttpServer,
    size: Size,
    seed: u64,
    random: Random,
    /// Without it, processes are killed. With it, the power fails.
    pub(super) disk: Option<Disk>,
    faults: AtomicU32,
    /// The numbers of the orders.
    driven: Mutex<Vec<u32>>,
    /// A command holds it while it runs; a power failure holds it alone.
    power: RwLock<()>,
    outage: watch::Sender<()>,
    /// Promises that were not kept.
    broken: Mutex<Vec<String>>,
}

impl Trial {
    /// `durability` is that of `[storage]`. The power fails where there is a disk for that.
    pub(super) async fn new(size: Size, has_power_failures: bool, durability: &str) -> Self {
        let seed = RandomState::new().hash_one(0);
        let service = HttpServer::start(Behaviour::body("ordered")).await;
        let lab = lab(script(&service.url(), size));
        lab.configure(&format!(
            "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\", methods = [\"POST\"] }}]\n\
             [budget]\nhost_day_usd = 100\n[storage]\ndurability = \"{durability}\"\n",
            service.url()
        ));
        // Compiled before anything is killed.
        lab.call(["tool", "list"]).await.expect_code(0);
        let disk = has_power_failures.then(|| Disk::below(&lab)).flatten();
        Self {
            lab,
            service,
            size,
            seed,
            random: Random(AtomicU64::new(seed)),
            disk,
            faults: AtomicU32::new(0),
            power: RwLock::new(()),
            outage: watch::Sender::new(()),
            driven: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    fn promise(&self, is_kept: bool, what: impl FnOnce() -> String) {
        if !is_kept {
            self.broken.lock().unwrap().push(what());
        }
    }

    fn is_broken(&self) -> bool {
        !self.broken.lock().unwrap().is_empty()
    }

    /// Runs a command to its end. `None` if it was killed, or if the power failed.
    async fn command(&self, arguments: &[&str], can_be_killed: bool) -> Option<Ran> {
        self.command_with(arguments, [], can_be_killed).await
    }

    async fn command_with<'a>(
        &self,
        arguments: &[&str],
        variables: impl IntoIterator<Item = (&'a str, String)>,
        can_be_killed: bool,
    ) -> Option<Ran> {
        let mut outage = self.outage.subscribe();
        let _power = self.power.read().await;
        outage.mark_unchanged();
        let mut command = self.lab.command(arguments.iter().copied());
        command.envs(variables);
        if let Some(disk) = &self.disk {
            disk.serve(&mut command);
        }
        let child = command.spawn().unwrap();
        let process = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        let is_victim = can_be_killed && self.disk.is_none() && self.faults.load(Ordering::Relaxed) < self.size.faults;
        let mut ran = pin!(finish(child));
        let dies = async {
            match is_victim {
                true => tokio::time::sleep(Duration::from_millis(self.random.below(MAX_LIFE_MILLIS))).await,
                false => outage.changed().await.unwrap(),
            }
        };
        tokio::select! {
            ran = &mut ran => return self.unless_killed(ran),
            () = dies => kill(process, Signal::SIGKILL).unwrap(),
        }
        let ran = ran.await;
        // It can have ended before.
        let ran = self.unless_killed(ran);
        if is_victim && ran.is_none() {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        ran
    }

    fn unless_killed(&self, ran: Ran) -> Option<Ran> {
        let is_killed = ran.status.signal() == Some(Signal::SIGKILL as i32);
        self.promise(is_killed || ran.status.code().is_some(), || ran.to_string());
        (!is_killed).then_some(ran)
    }

    /// A command that changes something, and the points that it passes. `None` if it was killed, or if the power failed.
    async fn traced(&self, arguments: &[&str], fault: Option<usize>) -> (Option<Ran>, Vec<String>) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let trace = self
            .lab
            .path(format!("points-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let variables = [("COFFERDAM_FAULT_TRACE", trace.to_str().unwrap().to_owned())];
        let point = fault.map(|point| ("COFFERDAM_FAULT_POINT", point.to_string()));
        let ran = self
            .command_with(arguments, variables.into_iter().chain(point), fault.is_none())
            .await;
        if let (Some(_), Some(disk), None) = (fault, &self.disk, &ran) {
            self.lose_power(disk);
        }
        let passed = std::fs::read_to_string(trace).unwrap_or_default();
        (ran, passed.lines().map(str::to_owned).collect())
    }

    /// What a command prints that only looks. `None` if the power failed.
    async fn look(&self, arguments: &[&str]) -> Option<Value> {
        let ran = self.command(arguments, false).await?;
        match ran.code() {
            0 => Some(ran.json()),
            _ => {
                self.promise(false, || format!("{arguments:?}: {ran}"));
                None
            }
        }
    }

    /// What is kept of this order, if anything. `None` if the power failed.
    async fn kept(&self, order: &str) -> Option<Option<Value>> {
        let listed = self
            .look(&["session", "list", "--limit", "1000", "--output", "json"])
            .await?;
        let mut found: Vec<Value> = listed.as_array().unwrap().clone();
        found.retain(|session| session["title"].as_str().unwrap().contains(order));
        self.promise(found.len() <= 1, || format!("{order}: {found:#?}"));
        Some(found.pop())
    }

    /// The approval that a session waits for, if nobody has decided. `None` if the power failed.
    async fn waiting(&self, session: &str) -> Option<Option<String>> {
        let listed = self
            .look(&["approval", "list", "--session", session, "--output", "json"])
            .await?;
        self.promise(listed.as_array().unwrap().len() <= 1, || format!("{listed:#}"));
        // One that is approved and not begun is listed too.
        let pending = (listed[0]["state"] == "pending").then(|| listed[0]["id"].as_str());
        Some(pending.flatten().map(str::to_owned))
    }

    /// Drives one order to its end through as many processes as it takes. Returns the points that its commands passed which changed
    /// something. Every other order waits for a person.
    pub(super) async fn drive(&self, number: u32, fault: Option<Fault>) -> Vec<Vec<String>> {
        self.driven.lock().unwrap().push(number);
        let order = order(number);
        let prompt = format!("Place {order}.");
        let approve = if number.is_multiple_of(2) { "never" } else { "writes" };
        // What a command has reported. From then on it must hold.
        let (mut is_reported, mut approved) = (false, HashSet::new());
        let mut passed = Vec::new();
        for _ in 0..MAX_COMMANDS {
            if self.is_broken() {
                return passed;
            }
            let Some(session) = self.kept(&order).await else {
                continue;
            };
            let outcome = session
                .as_ref()
                .map_or(Value::Null, |session| session["outcome"].clone());
            self.promise(!is_reported || outcome == "completed", || {
                format!("{order} was reported as completed: {session:#?}")
            });
            let (run, resume): (_, [&str; 7]);
            let mut asked = None;
            let arguments = match &session {
                None => {
                    run = ["run", "--approve", approve, "--output", "json", &prompt];
                    &run[..]
                }
                Some(session) if outcome.is_null() || outcome == "awaiting_approval" => {
                    let id = session["id"].as_str().unwrap();
                    let Some(waiting) = self.waiting(id).await else {
                        continue;
                    };
                    asked = waiting;
                    match &asked {
                        Some(approval) => &["approval", "approve", approval][..],
                        None => {
                            resume = ["session", "resume", id, "--approve", approve, "--output", "json"];
                            &resume[..]
                        }
                    }
                }
                Some(session) => {
                    self.promise(outcome == "completed", || format!("{order}: {session:#}"));
                    return passed;
                }
            };
            if let Some(approval) = &asked {
                self.promise(!approved.contains(approval), || {
                    format!("{order}: {approval} was approved")
                });
            }
            let point = fault
                .filter(|fault| fault.command == passed.len())
                .map(|fault| fault.point);
            let (ran, points) = self.traced(arguments, point).await;
            passed.push(points);
            let Some(ran) = ran else { continue };
            match asked {
                // It can have been approved by a command that was killed.
                Some(approval) if ran.code() == 0 => drop(approved.insert(approval)),
                Some(_) => {}
                None => {
                    self.promise([0, 4].contains(&ran.code()), || format!("{order}: {ran}"));
                    is_reported |= ran.code() == 0;
                }
            }
        }
        self.promise(false, || format!("{order} doesn't end"));
        passed
    }

    /// Lets the power fail again and again.
    async fn fail_power(&self) {
        let Some(disk) = &self.disk else { return };
        for _ in 0..self.size.faults {
            tokio::time::sleep(Duration::from_millis(self.random.below(MAX_UPTIME_MILLIS))).await;
            if self.is_broken() {
                return;
            }
            // In this order, so that no command begins in between.
            let (_alone, ()) = tokio::join!(self.power.write(), async { self.outage.send_replace(()) });
            self.lose_power(disk);
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lose_power(&self, disk: &Disk) {
        let is_written_back = self.random.coin();
        disk.lose_power(|| is_written_back && self.random.coin());
    }

    /// Places all orders, whatever happens meanwhile, and says which promises were not kept.
    pub(super) async fn run(self) -> Vec<String> {
        let next = AtomicU32::new(0);
        let work = (0..self.size.processes).map(|_| async {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.size.sessions {
                    return;
                }
                self.drive(number, None).await;
            }
        });
        tokio::join!(futures_util::future::join_all(work), self.fail_power());
        if !self.is_broken() {
            let faults = self.faults.load(Ordering::Relaxed);
            assert!(faults >= self.size.faults, "{faults} faults");
        }
        self.judge().await
    }

    /// Which promises were not kept.
    pub(super) async fn judge(self) -> Vec<String> {
        if !self.is_broken() {
            if let Some(disk) = &self.disk {
                self.lose_power(disk);
            }
            self.check().await;
        }
        let broken = self.broken.into_inner().unwrap();
        broken
            .into_iter()
            .map(|what| format!("seed {}: {what}", self.seed))
            .collect()
    }

    async fn check(&self) {
        // No order was placed twice.
        let mut placed: HashMap<String, u32> = HashMap::new();
        for head in self.service.heads() {
            let path = head.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
            *placed.entry(path).or_default() += 1;
        }
        self.promise(placed.values().all(|count| *count == 1), || format!("{placed:?}"));

        let sessions = ["session", "list", "--limit", "1000", "--output", "json"];
        let sessions = self.look(&sessions).await.unwrap_or_default();
        let sessions = sessions.as_array().cloned().unwrap_or_default();
        let driven = self.driven.lock().unwrap().clone();
        self.promise(sessions.len() == driven.len(), || format!("{sessions:#?}"));
        for session in &sessions {
            let show = ["session", "show", session["id"].as_str().unwrap(), "--output", "json"];
            let Some(mut shown) = self.look(&show).await else {
                continue;
            };
            let facts = shown["facts"].take();
            let ended = facts.as_array().unwrap().iter().map(|fact| &fact["fact"]);
            let ended: Vec<&Value> = ended.filter(|fact| fact["kind"] == "call_ended").collect();
            self.promise(ended.len() == 1, || format!("every call has its result: {facts:#}"));
            // What the service got is known to have ended, or is said to be unknown.
            let title = session["title"].as_str().unwrap();
            let order = title.trim_start_matches("Place ").trim_end_matches('.');
            for ended in ended {
                let is_sound = match ended["outcome"].as_str().unwrap() {
                    "ok" => placed.contains_key(order),
                    outcome => outcome == "host_error",
                };
                self.promise(is_sound, || format!("{order}: {facts:#}"));
            }
        }

        // Each call that waited was approved once, and its approval was used.
        let approvals = ["approval", "list", "--all", "--limit", "1000", "--output", "json"];
        let approvals = self.look(&approvals).await.unwrap_or_default();
        let approvals = approvals.as_array().cloned().unwrap_or_default();
        let are_used = approvals.iter().all(|approval| approval["state"] == "done");
        let gated = driven.iter().filter(|number| !number.is_multiple_of(2));
        self.promise(are_used && approvals.len() == gated.count(), || {
            format!("{approvals:#?}")
        });

        // Everything that was billed is booked, and nothing stays reserved.
        let budget = self
            .look(&["budget", "show", "--output", "json"])
            .await
            .unwrap_or_default();
        let mut scopes = budget.as_array().into_iter().flatten();
        let day = scopes.find(|scope| scope["scope"] == "host_day");
        let day = day.cloned().unwrap_or_default();
        let spent = day["spent_usd"]
            .as_str()
            .unwrap_or_default()
            .parse::<f64>()
            .unwrap_or(0.0);
        let billed = self.lab.simulator.requests().len() as u64 * COST_NANOS;
        self.promise(spent * 1e9 >= billed as f64 - 1e3, || format!("{spent} of {billed}"));
        self.promise(day["reserved_usd"] == "0.000000", || format!("{day:#}"));
    }
}
