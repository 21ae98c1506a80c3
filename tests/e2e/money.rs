//! Budgets with the real binary: what is reserved, settled and refused, and what survives a kill.

use cofferdam::simulator::{Answer, FaultKind, FaultPoint, MessageAnswer, ToolCall, UsageAnswer, UsageFigures};
use cofferdam_tests::{Lab, Ran, faulty, finish, tool_call};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;

use crate::{books, lab};

fn costing(input: u64, output: u64) -> Answer {
    let figures = UsageFigures {
        input_tokens: Some(input),
        output_tokens: Some(output),
        ..UsageFigures::default()
    };
    Answer::message(MessageAnswer {
        text: "Paid.".to_owned(),
        usage: UsageAnswer::Given(figures),
        ..MessageAnswer::default()
    })
}

async fn budget(lab: &Lab) -> Value {
    lab.call(["budget", "show", "--output", "json"])
        .await
        .expect_code(0)
        .json()
}

fn scope<'a>(budget: &'a Value, name: &str) -> &'a Value {
    let scopes = budget
        .as_array()
        .or_else(|| budget["budget"].as_array())
        .unwrap_or_else(|| panic!("{budget:#}"));
    scopes
        .iter()
        .find(|scope| scope["scope"] == name)
        .unwrap_or_else(|| panic!("{budget:#}"))
}

/// Repeats `measure` until it starts and ends on the same UTC day, because the daily budget resets at midnight.
async fn on_one_day<T>(measure: impl AsyncFn() -> T) -> T {
    let today = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / (24 * 60 * 60);
    loop {
        let day = today();
        let measured = measure().await;
        if today() == day {
            return measured;
        }
    }
}

/// A run with any ending.
async fn run(lab: &Lab) -> Ran {
    lab.call(["run", "--output", "json", "Go."]).await
}

#[tokio::test]
async fn a_run_costs_what_the_api_reported() {
    let (report, budget) = on_one_day(async || {
        let lab = lab([costing(700, 52)]);
        (lab.report(0).await, budget(&lab).await)
    })
    .await;
    // 700 tokens at $2 and 52 at $10 per million.
    assert_eq!(report["metrics"]["estimated_cost_usd"], "0.001920");
    let session = scope(&report["budget"], "session");
    assert_eq!(
        (&session["spent_usd"], &session["reserved_usd"]),
        (&json!("0.001920"), &json!("0.000000"))
    );
    assert_eq!(scope(&budget, "host_day")["spent_usd"], "0.001920");
}

#[tokio::test]
async fn the_daily_budget_outlives_the_process() {
    let (first, second, requests) = on_one_day(async || {
        let lab = lab([costing(100_000, 4000).forever()]);
        // $0.24 per run. After the first, the worst case of the next one no longer fits.
        lab.configure("[budget]\nhost_day_usd = 0.25\n");
        (run(&lab).await, run(&lab).await, lab.simulator.requests().len())
    })
    .await;
    first.expect_code(0);
    let report = second.expect_code(3).json();
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("host_day") && message.contains("0.25"), "{message}");
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn a_failed_request_costs_nothing_and_an_interrupted_one_its_reservation() {
    let refused = lab([Answer::error(401)]);
    let report = refused.report(1).await;
    assert_eq!(scope(&report["budget"], "session")["spent_usd"], "0.000000");

    let cut = lab([Answer::text("Half of")
        .with_fault(FaultKind::Close, FaultPoint::Events(4))
        .forever()]);
    cut.configure("[model]\nmax_tokens = 1000\n".strip_prefix("[model]\n").unwrap());
    let report = cut.report(1).await;
    let session = scope(&report["budget"], "session");
    // Three attempts, each with a worst case of 1000 output tokens at $10 per million.
    let spent: f64 = session["spent_usd"].as_str().unwrap().parse().unwrap();
    assert!(spent >= 0.03, "{session}");
    assert_eq!(session["reserved_usd"], "0.000000");
}

#[tokio::test]
async fn an_answer_without_usage_costs_its_reservation() {
    let answer = MessageAnswer {
        text: "For free?".to_owned(),
        usage: UsageAnswer::Omitted,
        ..MessageAnswer::default()
    };
    for stream in [true, false] {
        let lab = lab([Answer::message(answer.clone())]);
        lab.configure(&format!("stream = {stream}\nmax_tokens = 1000\n"));
        let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
        let events = ran.json_lines();
        let event = |name: &str| events.iter().find(|event| event["event"] == name).unwrap();
        let (reserved, settled) = (event("budget_reserved"), event("budget_settled"));
        assert_eq!(
            (&settled["amount_usd"], &settled["estimated"]),
            (&reserved["amount_usd"], &json!(true)),
            "{ran}"
        );
        let session = scope(&event("report")["budget"], "session");
        assert_eq!(
            (&session["spent_usd"], &session["reserved_usd"]),
            (&reserved["amount_usd"], &json!("0.000000"))
        );
        // 1000 output tokens at $10 per million, and the prompt.
        let spent: f64 = session["spent_usd"].as_str().unwrap().parse().unwrap();
        assert!((0.01..0.02).contains(&spent), "{session}");
    }
}

#[tokio::test]
async fn a_killed_process_is_charged_in_full() {
    let day = on_one_day(async || {
        let lab = lab([Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(2))]);
        let mut child = lab.command(["run", "--output", "json", "Go."]).spawn().unwrap();
        lab.wait_for_model_request().await;
        child.kill().await.unwrap();
        budget(&lab).await
    })
    .await;
    let day = scope(&day, "host_day");
    let spent: f64 = day["spent_usd"].as_str().unwrap().parse().unwrap();
    assert!(
        spent >= 0.04 && day["reserved_usd"] == "0.000000",
        "4096 output tokens at $10 a million: {day}"
    );
}

/// Whichever command finds what a killed process has reserved says that it is charged, once, and what can be done about it.
#[tokio::test]
async fn who_pays_for_a_killed_process_reads_why() {
    let commands: [&[&str]; 6] = [
        &["session", "list"],
        &["session", "list", "--output", "json"],
        &["budget", "show"],
        &["breakers"],
        &["run", "Go."],
        &["usage", "-q"],
    ];
    for command in commands {
        let lab = lab([
            Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(2)),
            costing(1, 1).forever(),
        ]);
        let mut child = lab.command(["run", "--output", "json", "Go."]).spawn().unwrap();
        lab.wait_for_model_request().await;
        child.kill().await.unwrap();
        let paid = lab.call(command.iter().copied()).await.expect_code(0);
        let again = lab.call(["session", "list"]).await.expect_code(0);
        let rows = lab.call(["budget", "export"]).await.expect_code(0).json_lines();
        let charged = rows.iter().find(|row| row["state"] == "charged").unwrap();
        let text = |key: &str| charged[key].as_str().unwrap();
        let said = "which are charged in full: what the API billed for them isn't known";
        assert!(!again.stderr.contains(said), "{command:?}: {again}");
        if command.contains(&"-q") {
            assert_eq!(paid.stderr, "", "{command:?}");
            continue;
        }
        let line = paid.stderr.lines().find(|line| line.contains(said));
        let line = line.unwrap_or_else(|| panic!("{command:?}: {paid}"));
        for part in [
            " WARN ".to_owned(),
            format!("amount_usd={}", &text("spent_usd")[..5]),
            "reservations=1".to_owned(),
            format!("ids={}", text("id")),
            format!("cofferdam session show {}", text("session_id")),
            format!("cofferdam budget reverse {} --reason", text("id")),
        ] {
            assert!(line.contains(&part), "{part}: {line}");
        }
        assert_eq!(paid.stderr.matches(said).count(), 1, "{command:?}: {paid}");
    }
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

#[tokio::test]
async fn ctrl_c_in_mid_stream_costs_the_input_and_what_arrived() {
    let answer = MessageAnswer {
        text: "It never ends.".to_owned(),
        usage: UsageAnswer::Given(UsageFigures {
            input_tokens: Some(700),
            output_tokens: Some(4_000),
            ..UsageFigures::default()
        }),
        ..MessageAnswer::default()
    };
    let lab = lab([Answer::message(answer).with_fault(FaultKind::Stall, FaultPoint::Events(4))]);
    let mut child = lab.command(["run", "--output", "stream-json", "Go."]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("\"text_delta\"") {
        assert_ne!(stdout.read_line(&mut lines).await.unwrap(), 0, "{lines}");
    }
    interrupt(&child);
    stdout.read_to_string(&mut lines).await.unwrap();
    finish(child).await.expect_code(130);
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = |name: &str| events.iter().find(|event| event["event"] == name).unwrap();
    let settled = event("budget_settled");
    assert_eq!(
        (&settled["estimated"], &settled["in_full"]),
        (&json!(true), &json!(false)),
        "{lines}"
    );
    // 700 tokens at $2, and about 256 at $10 per million, instead of 4,096.
    let spent: f64 = settled["amount_usd"].as_str().unwrap().parse().unwrap();
    assert!((0.0039..0.0045).contains(&spent), "{spent}");
    let report = event("report");
    assert_eq!(scope(&report["budget"], "session")["spent_usd"], settled["amount_usd"]);
    assert_eq!(report["metrics"]["estimated_cost_usd"], settled["amount_usd"]);
    assert_eq!(report["metrics"]["charged_in_full"], 0);
    assert_eq!(report["metrics"]["charged_by_estimate"], 1);
    let tokens = ["input_tokens", "output_tokens"].map(|key| report["metrics"][key].as_u64().unwrap());
    assert!(tokens[0] == 700 && (256..300).contains(&tokens[1]), "{tokens:?}");
    assert_eq!(
        (
            &report["metrics"]["model_errors"],
            &report["metrics"]["model_cancelled"]
        ),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn ctrl_c_before_an_answer_is_charged_in_full_and_the_summary_says_so() {
    let hangs = Answer::fault(FaultKind::Stall, FaultPoint::Request);
    let lab = lab([hangs, Answer::text("Done.")]);
    let child = lab.command(["run", "Go."]).spawn().unwrap();
    lab.wait_for_model_request().await;
    interrupt(&child);
    let ran = finish(child).await.expect_code(130);
    assert!(ran.stderr.contains("1 attempt charged in full: usage unknown"), "{ran}");
    // The id is for taking it back.
    let rows = lab.call(["budget", "export"]).await.expect_code(0).stdout;
    let row: Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    let id = row["id"].as_str().unwrap();
    let command = format!("cofferdam budget reverse {id} --reason");
    assert!(ran.stderr.contains(&command), "{ran}");
    // Once it is taken back, going on doesn't offer that again.
    let reverse = ["budget", "reverse", id, "--reason", "not on the bill"];
    lab.call(reverse).await.expect_code(0);
    let resume = ["session", "resume", row["session_id"].as_str().unwrap()];
    let ran = lab.call(resume).await.expect_code(0);
    assert!(
        ran.stderr.contains("cut off before its answer") && ran.stderr.contains("taken back (not on the bill)"),
        "{ran}"
    );
    assert!(!ran.stderr.contains("budget reverse"), "{ran}");
}

/// Deleting the data folder of a running process must not make it forget what it has spent.
#[tokio::test]
async fn a_ledger_deleted_during_a_run_stops_the_run() {
    let lab = lab([
        tool_call("echo", json!({})).delay(std::time::Duration::from_secs(1)),
        Answer::text("never"),
    ]);
    lab.configure(&faulty(""));
    let child = lab.command(["run", "--output", "json", "Go."]).spawn().unwrap();
    lab.wait_for_model_request().await;
    std::fs::remove_dir_all(lab.path("data")).unwrap();
    let report = finish(child).await.expect_code(1).json();
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("was deleted, moved or replaced"), "{report:#}");
    assert!(
        report["error"]["hint"].as_str().unwrap().contains("restart"),
        "{report:#}"
    );
    assert_eq!(lab.simulator.requests().len(), 1);
}

#[tokio::test]
async fn concurrent_processes_share_one_limit() {
    let (codes, budget) = on_one_day(async || {
        let lab = lab([costing(100, 4096).forever()]);
        // Each run reserves and spends a little over $0.04. Two fit, however many start at once.
        lab.configure("[budget]\nhost_day_usd = 0.10\n");
        let children: Vec<_> = (0..6)
            .map(|_| lab.command(["run", "--output", "json", "Go."]).spawn().unwrap())
            .collect();
        let mut codes = Vec::new();
        for child in children {
            codes.push(finish(child).await.code());
        }
        codes.sort_unstable();
        (codes, budget(&lab).await)
    })
    .await;
    assert_eq!(codes, [0, 0, 3, 3, 3, 3]);
    let spent: f64 = scope(&budget, "host_day")["spent_usd"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(spent <= 0.10, "{spent}");
}

#[tokio::test]
async fn an_unknown_price_is_refused_while_a_budget_is_in_force() {
    let lab = lab([costing(1, 1)]);
    lab.configure("model = \"nobody-knows-1\"\n");
    let report = lab.report(1).await;
    assert_eq!(
        (&report["error"]["kind"], lab.simulator.requests().len()),
        (&json!("unknown_price"), 0)
    );
    let hint = report["error"]["hint"].as_str().unwrap();
    assert!(
        hint.contains("nobody-knows-1") && hint.contains("free = true"),
        "{hint}"
    );
    lab.configure("model = \"nobody-knows-1\"\n[budget]\nsession_usd = \"unlimited\"\nhost_day_usd = \"unlimited\"\n");
    lab.report(0).await;
}

/// An answer that is billed for these tokens of input alone.
fn turn(tokens: u64, tools: Vec<ToolCall>) -> Answer {
    let figures = UsageFigures {
        input_tokens: Some(tokens),
        output_tokens: Some(0),
        ..UsageFigures::default()
    };
    Answer::message(MessageAnswer {
        text: "Paid.".to_owned(),
        tools,
        usage: UsageAnswer::Given(figures),
        ..MessageAnswer::default()
    })
}

#[tokio::test]
async fn alerts_fire_once_at_each_threshold() {
    // Turns at $2 per million: 54 % of the limit, then 90 %, slightly above it, all of it.
    let echo = |number: u32| vec![ToolCall::new("echo", json!({ "n": number }))];
    let lab = lab([
        turn(300_000, echo(1)),
        turn(200_000, echo(2)),
        turn(5_000, echo(3)),
        turn(45_000, Vec::new()),
    ]);
    lab.configure(&format!(
        "max_tokens = 10\n[budget]\nsession_usd = 1.10\nhost_day_usd = \"unlimited\"\n{}",
        faulty("")
    ));
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    let events = ran.json_lines().into_iter();
    let alerts: Vec<(Value, Value)> = events
        .filter(|event| event["event"] == "budget_alert")
        .map(|event| (event["turn"].clone(), event["percent"].clone()))
        .collect();
    let expected = [(1, 50), (2, 75), (2, 90), (4, 100)].map(|(turn, percent)| (json!(turn), json!(percent)));
    assert_eq!(alerts, expected, "{}", ran.stdout);
}

#[tokio::test]
async fn a_limit_set_by_command_overrides_the_configuration() {
    let lab = lab([costing(1, 1).forever()]);
    lab.call(["budget", "set", "host_day", "0.001"]).await.expect_code(0);
    let report = lab.report(3).await;
    assert!(
        report["error"]["message"].as_str().unwrap().contains("host_day"),
        "{report:#}"
    );
}

/// Each tenant has a budget of its own, and a run is charged to the tenant that it names.
#[tokio::test]
async fn a_tenant_is_held_to_its_own_budget() {
    let (refused, other, budget, day, requests) = on_one_day(async || {
        let lab = lab([costing(100_000, 4000).forever()]);
        // $0.24 per run.
        lab.configure(
            "[agent]\ntenant = \"acme\"\n[tenants.acme.budget]\nmonthly_usd = 0.25\n[tenants.beta.budget]\ndaily_usd = 0.5\n",
        );
        run(&lab).await.expect_code(0);
        let refused = run(&lab).await.expect_code(3).json();
        let other = lab.call(["run", "--output", "json", "--tenant", "beta", "Go."]).await;
        let budget = budget(&lab).await;
        lab.call(["budget", "set", "tenant_month", "9", "--tenant", "acme"])
            .await
            .expect_code(0);
        run(&lab).await.expect_code(0);
        let day = lab.call(["budget", "show", "--tenant", "acme"]).await.expect_code(0);
        (refused, other.expect_code(0).json(), budget, day.stdout, lab.simulator.requests().len())
    })
    .await;
    let error = &refused["error"];
    assert!(
        error["message"].as_str().unwrap().contains("tenant_month")
            && error["hint"]
                .as_str()
                .unwrap()
                .contains("`[tenants.acme.budget] monthly_usd`"),
        "{error}"
    );
    assert_eq!((&other["tenant"], requests), (&json!("beta"), 3));
    let lines: Vec<(&str, &str, &str)> = budget
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["tenant"].is_string())
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or("-");
            (text("tenant"), text("scope"), text("spent_usd"))
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("acme", "tenant_day", "0.240000"),
            ("acme", "tenant_month", "0.240000"),
            ("beta", "tenant_day", "0.240000"),
            ("beta", "tenant_month", "0.240000"),
        ]
    );
    assert_eq!(scope(&budget, "host_day")["spent_usd"], "0.480000");
    assert!(
        !day.contains("beta") && day.contains("budget set (configured: $0.250000)"),
        "{day}"
    );
}

/// Money that is asked for one tenant is not taken from another.
#[tokio::test]
async fn a_session_stays_with_its_tenant() {
    let lab = lab([costing(1, 1).forever()]);
    let ask = |tenant: &'static str| lab.call(["run", "--output", "json", "--tenant", tenant, "--session", "a", "Go."]);
    ask("acme").await.expect_code(0);
    let refused = ask("beta").await.expect_code(2);
    assert!(refused.stdout.contains("belongs to the tenant acme"), "{refused}");
    assert_eq!(ask("acme").await.expect_code(0).json()["tenant"], "acme");
    // Without a name, the session's own is meant.
    let ran = lab.call(["run", "--output", "json", "--session", "a", "Go."]).await;
    assert_eq!(ran.expect_code(0).json()["tenant"], "acme");
    lab.call(["run", "--tenant", "a b", "Go."]).await.expect_code(2);
    lab.call(["budget", "set", "host_day", "1", "--tenant", "acme"])
        .await
        .expect_code(2);
}

/// A mistake is corrected beside the charge, and what is spent is what the export adds up to.
#[tokio::test]
async fn a_charge_is_taken_back() {
    let (first, again, refused, budget, rows, csv, by_model) = on_one_day(async || {
        let lab = lab([costing(100_000, 4000).forever()]);
        run(&lab).await.expect_code(0);
        run(&lab).await.expect_code(0);
        let rows = lab.call(["budget", "export"]).await.expect_code(0).json_lines();
        let id = rows[0]["id"].as_str().unwrap().to_owned();
        let reverse = async |amount| {
            let reason = ["--reason", "=billed, twice", "--output", "json"];
            lab.call(["budget", "reverse", &id, amount].into_iter().chain(reason))
                .await
        };
        let first = reverse("0.1").await.expect_code(0).json();
        let again = reverse("0.1").await.expect_code(0).json();
        let refused = reverse("0.2").await.expect_code(2);
        let rows = lab.call(["budget", "export"]).await.expect_code(0).json_lines();
        let csv = lab.call(["budget", "export", "--csv"]).await.expect_code(0).stdout;
        let by_model = lab.call(["budget", "show", "--by", "model", "--output", "json"]).await;
        (
            first,
            again,
            refused,
            budget(&lab).await,
            rows,
            csv,
            by_model.expect_code(0).json(),
        )
    })
    .await;
    assert_eq!((&first["is_new"], &again["is_new"]), (&json!(true), &json!(false)));
    assert_eq!(first["id"], again["id"]);
    assert!(refused.stdout.contains("for this reason before"), "{refused}");
    assert_eq!(scope(&budget, "host_day")["spent_usd"], "0.380000");
    assert_eq!(scope(&budget, "tenant_month")["spent_usd"], "0.380000");
    assert_eq!(
        (&by_model[0]["attempts"], &by_model[0]["spent_usd"]),
        (&json!(2), &json!("0.380000"))
    );
    let states: Vec<&str> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["settled", "settled", "reversal"]);
    assert_eq!(rows[2]["reverses"], rows[0]["id"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].starts_with("id,tenant,session_id,model,day"), "{csv}");
    assert!(lines[1].contains(",0.240000000,,false,100000,4000,0,0,0,,"), "{csv}");
    assert!(
        lines[3].contains(",reversal,0.000000000,,0.100000000,") && lines[3].ends_with("\"'=billed, twice\""),
        "{csv}"
    );
}

/// Tools cost nothing themselves, so what is shown is what the answers cost that called them.
#[tokio::test]
async fn spending_is_shown_by_tool() {
    let answer = |tools| turn(100_000, tools);
    let echo = |number: u32| ToolCall::new("echo", json!({ "n": number }));
    let lab = lab([
        answer(vec![echo(1), echo(2)]),
        answer(vec![echo(3)]),
        answer(Vec::new()),
    ]);
    lab.configure(&faulty(""));
    run(&lab).await.expect_code(0);
    let shown = lab.call(["budget", "show", "--by", "tool", "--output", "json"]).await;
    assert_eq!(
        shown.expect_code(0).json(),
        json!([{ "tool": "echo", "calls": 3, "attempts": 2, "spent_usd": "0.400020", "reserved_usd": "0.000000" }])
    );
    let shown = lab.call(["budget", "show", "--by", "tool"]).await.expect_code(0);
    assert!(shown.stderr.contains("Tools cost nothing themselves"), "{shown}");
}

/// The prompt has 30,000 bytes and half as many tokens by the estimate, a quarter by the API's own count.
#[tokio::test]
async fn a_prompt_that_the_estimate_would_refuse_is_counted() {
    let lab = lab([costing(7_600, 10).forever()]);
    let prompt = "word ".repeat(6_000);
    let run = async |budget| {
        let arguments = ["run", "--output", "json", "--budget", budget, &prompt];
        lab.call(arguments).await
    };
    let paths = || {
        let requests = lab.simulator.requests().into_iter();
        requests.map(|request| request.path).collect::<Vec<_>>()
    };
    // Enough for the estimate.
    run("0.5").await.expect_code(0);
    assert_eq!(paths(), ["/v1/messages"]);
    run("0.08").await.expect_code(0);
    assert_eq!(paths()[1..], ["/v1/messages/count_tokens", "/v1/messages"]);
    // Too little for the count as well, and for any prompt.
    let refused = run("0.06").await.expect_code(3).json();
    assert_eq!(refused["outcome"], "budget_exceeded", "{refused:#}");
    run("0.01").await.expect_code(3);
    assert_eq!(paths()[3..], ["/v1/messages/count_tokens"]);
    let by_model = lab.call(["budget", "show", "--by", "model"]).await.expect_code(0);
    assert!(by_model.stdout.contains("at 2.1"), "{by_model}");
}

/// The books as they are on the disk while no process has them open.
fn ledger_file(lab: &Lab) -> std::path::PathBuf {
    lab.path("data/cofferdam/ledger.sqlite3")
}

/// Yesterday's backup doesn't give back what was spent since.
#[tokio::test]
async fn a_restored_backup_spends_nothing_until_it_is_confirmed() {
    let lab = lab([costing(1, 1).forever()]);
    run(&lab).await.expect_code(0);
    let backup = lab.path("backup");
    std::fs::copy(ledger_file(&lab), &backup).unwrap();
    run(&lab).await.expect_code(0);
    std::fs::copy(&backup, ledger_file(&lab)).unwrap();
    for _ in 0..2 {
        let refused = run(&lab).await.expect_code(1).json();
        let error = &refused["error"];
        assert!(
            error["message"].as_str().unwrap().contains("lacks at least 1 commit")
                && error["hint"].as_str().unwrap().contains("cofferdam budget confirm"),
            "{error}"
        );
    }
    assert_eq!(lab.simulator.requests().len(), 2);
    let shown = lab.call(["budget"]).await.expect_code(0);
    assert!(shown.stderr.contains("a copy that was put back"), "{shown}");
    let doctor = lab.call(["doctor"]).await.expect_code(1);
    assert!(doctor.stdout.contains("a copy that was put back"), "{doctor}");
    let confirmed = lab.call(["budget", "confirm"]).await.expect_code(0);
    assert!(
        confirmed.stdout.contains("accepted: the ledger is a copy"),
        "{confirmed}"
    );
    run(&lab).await.expect_code(0);
    assert_eq!(lab.call(["budget"]).await.expect_code(0).stderr, "");
    let again = lab.call(["budget", "confirm"]).await.expect_code(0);
    assert!(again.stderr.contains("nothing to confirm"), "{again}");
}

/// A process that is killed leaves nothing that looks like a restored backup.
#[tokio::test]
async fn a_killed_process_raises_no_alarm() {
    let lab = lab([
        Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(2)),
        costing(1, 1).forever(),
    ]);
    let mut child = lab.command(["run", "--output", "json", "Go."]).spawn().unwrap();
    lab.wait_for_model_request().await;
    child.kill().await.unwrap();
    run(&lab).await.expect_code(0);
    assert_eq!(lab.call(["budget"]).await.expect_code(0).stderr, "");
}

/// What a clock that was ahead has booked for later counts today, until a person books it for today.
#[tokio::test]
async fn a_clock_that_was_ahead_opens_no_second_day() {
    let (refused, shown, confirmed, budget) = on_one_day(async || {
        let lab = lab([costing(100_000, 4000).forever()]);
        // $0.24 per run.
        lab.configure("[budget]\nhost_day_usd = 0.25\n");
        run(&lab).await.expect_code(0);
        // As if the clock had shown the end of time when it was booked.
        let books = books(&lab);
        books
            .execute_batch(
                "UPDATE reservations SET day = '9999-12-31';
                 UPDATE totals SET period = '9999-12-31' WHERE scope LIKE '%_day';
                 UPDATE totals SET period = '9999-12' WHERE scope LIKE '%_month'",
            )
            .unwrap();
        drop(books);
        let refused = run(&lab).await.expect_code(3).json();
        let shown = lab.call(["budget"]).await.expect_code(0);
        // If the clock is behind, later days aren't to be emptied.
        let unasked = lab.call(["budget", "confirm"]).await.expect_code(2);
        assert!(unasked.stderr.contains("up to 9999-12-31"), "{unasked}");
        let today = unasked.stderr.split_once("confirm --date ").unwrap().1;
        let today = &today[..10];
        let wrong = ["budget", "confirm", "--date", "9999-12-31"];
        lab.call(wrong).await.expect_code(2);
        let confirm = ["budget", "confirm", "--date", today, "--output", "json"];
        let confirmed = lab.call(confirm).await.expect_code(0);
        (refused, shown, confirmed.json(), budget(&lab).await)
    })
    .await;
    let hint = refused["error"]["hint"].as_str().unwrap();
    assert!(hint.starts_with("$0.240000 of it is booked for a later date"), "{hint}");
    assert!(shown.stderr.contains("up to 9999-12-31"), "{shown}");
    assert_eq!(
        confirmed,
        json!({ "restored": null, "ahead": { "day": "9999-12-31", "amount_usd": "0.240000" } })
    );
    assert_eq!(scope(&budget, "host_day")["spent_usd"], "0.240000");
}

/// What one command may cost is what it says, whatever was set for all.
#[tokio::test]
async fn a_limit_set_by_command_does_not_disarm_an_argument() {
    let lab = lab([costing(1, 1).forever()]);
    lab.call(["budget", "set", "session", "5"]).await.expect_code(0);
    let refused = lab.call(["run", "--output", "json", "--budget", "0.01", "Go."]).await;
    let report = refused.expect_code(3).json();
    assert_eq!(
        scope(&report["budget"], "session")["limit_usd"],
        "0.010000",
        "{report:#}"
    );
    lab.report(0).await;
    // The lower one counts.
    lab.call(["budget", "set", "session", "0.01"]).await.expect_code(0);
    lab.call(["run", "--budget", "1", "Go."]).await.expect_code(3);
}

/// A valid result that is longer than the budget can pay for degrades the answer but doesn't end the run.
#[tokio::test]
async fn a_result_beyond_the_budget_is_trimmed_and_the_run_goes_on() {
    let lab = lab([
        tool_call("big_output", json!({ "bytes": 900_000 })),
        Answer::text("Fine all the same."),
    ]);
    lab.configure(&format!(
        "[budget]\nsession_usd = 0.5\n[agent]\nmax_result_bytes = \"1MiB\"\n{}",
        faulty("")
    ));
    let report = lab.report(0).await;
    assert_eq!(report["answer"], "Fine all the same.", "{report:#}");
    let mut requests = lab.simulator.requests();
    requests.retain(|request| request.path == "/v1/messages");
    assert_eq!(requests.len(), 2);
    let request = requests[1].body.to_string();
    assert!(
        request.contains("[trimmed: ") && request.len() < 20_000,
        "{} bytes",
        request.len()
    );
}

/// Runs the binary as a user whom the modes of files hold back: the superuser ignores them, and the tests can run as the
/// superuser.
async fn call_as_user<'a>(lab: &Lab, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
    const NOBODY: u32 = 65_534;
    let mut command = lab.command(arguments);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    finish(command.spawn().unwrap()).await
}

/// Sets the mode of the folder of the ledger, and has everybody read the files.
fn set_mode(lab: &Lab, mode: u32) {
    use std::fs::{Permissions, read_dir, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    let data = lab.path("data/cofferdam");
    for folder in [&lab.path(""), &lab.path("data"), &data] {
        set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    for entry in read_dir(&data).unwrap() {
        set_permissions(entry.unwrap().path(), Permissions::from_mode(0o444)).unwrap();
    }
    set_permissions(data, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_budget_in_a_read_only_folder_is_shown() {
    let lab = lab([costing(1_000, 1_000)]);
    run(&lab).await.expect_code(0);
    let as_owner = budget(&lab).await;
    let exported = lab.call(["budget", "export"]).await.expect_code(0).stdout;
    set_mode(&lab, 0o555);
    let ran = call_as_user(&lab, ["budget", "show", "--output", "json"])
        .await
        .expect_code(0);
    assert_eq!((ran.json(), ran.stderr.as_str()), (as_owner, ""));
    let ran = call_as_user(&lab, ["budget", "export"]).await.expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (exported.as_str(), ""));
    let ran = call_as_user(&lab, ["budget", "set", "session", "1"])
        .await
        .expect_code(2);
    assert!(
        ran.stderr.contains("can't be written") && ran.stderr.contains("hint: make the file"),
        "{ran}"
    );

    set_mode(&lab, 0o755);
    std::fs::remove_dir_all(lab.path("data/cofferdam")).unwrap();
    std::fs::create_dir(lab.path("data/cofferdam")).unwrap();
    set_mode(&lab, 0o555);
    let ran = call_as_user(&lab, ["budget"]).await.expect_code(0);
    assert!(
        ran.stdout.contains("host_day") && ran.stdout.contains("$0.000000") && ran.stderr.is_empty(),
        "{ran}"
    );
    // A folder that can't be searched may hold a ledger.
    set_mode(&lab, 0o000);
    let ran = call_as_user(&lab, ["budget"]).await.expect_code(2);
    assert!(ran.stderr.contains("can't be written"), "{ran}");
    set_mode(&lab, 0o755);
}

/// The command of the hint does what the run was to do: the same model, the same words, and no dollar more.
#[tokio::test]
async fn a_command_that_goes_on_keeps_the_options_of_its_run() {
    let lab = lab([Answer::error(401), Answer::error(401), Answer::text("Done.").forever()]);
    let options = [
        "--model",
        "claude-haiku-5-5",
        "--system",
        "Be brief.",
        "--budget",
        "0.5",
    ];
    let run = [&["run", "--session", "trip"], &options[..], &["Go."]].concat();
    let failed = lab.call(run).await.expect_code(1);
    let resume = "session resume trip --model claude-haiku-5-5 --system 'Be brief.' --budget 0.5";
    assert!(
        failed.stderr.contains(&format!("`cofferdam {resume}` sends it again")),
        "{failed}"
    );
    let resume = [&["session", "resume", "trip"], &options[..]].concat();
    // It says the same again.
    let failed_again = lab.call(resume.iter().copied()).await.expect_code(1);
    assert!(
        failed_again.stderr.contains("--system 'Be brief.' --budget 0.5`"),
        "{failed_again}"
    );
    lab.call(resume).await.expect_code(0);
    let requests = lab.simulator.requests();
    let request = &requests.last().unwrap().body;
    assert_eq!(request["model"], "claude-haiku-5-5");
    assert!(request["system"].to_string().contains("Be brief."), "{request:#}");
}

/// With the configuration of another store, the same words would be about another session, another limit, another charge.
#[tokio::test]
async fn a_command_in_a_message_keeps_the_configuration() {
    let answers = [
        Answer::text("never")
            .with_fault(FaultKind::Close, FaultPoint::Bytes(0))
            .times(3),
        tool_call("calculate", json!({ "expression": "1 + 1" })),
    ];
    let lab = lab(answers);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    std::fs::rename(lab.path("cofferdam.toml"), lab.path("other.toml")).unwrap();
    let other = ["--config", "other.toml", "--budget", "0.5"];
    let failed = lab
        .call([&["run", "--session", "trip"], &other[..], &["Go."]].concat())
        .await;
    let resume = "`cofferdam session resume trip --config other.toml --budget 0.5` sends it again";
    assert!(failed.stderr.contains(resume), "{failed}");
    // Without the limit: the charge is of no run.
    let reverses = " --config other.toml` takes back";
    // By the log.
    assert!(failed.stderr.contains(reverses), "{failed}");
    let shown = lab.call(["session", "show", "trip", "--config", "other.toml"]).await;
    assert!(shown.stdout.contains(reverses), "{shown}");

    let one = [
        &["run", "--session", "trip", "--max-iterations", "1"],
        &other[..],
        &["Go."],
    ]
    .concat();
    let stopped = lab.call(one).await;
    // With the same number it would end there again.
    let goes_on =
        "`cofferdam run --session trip 'go on' --config other.toml --budget 0.5 --max-iterations <VALUE>` goes on";
    assert!(stopped.stderr.contains(goes_on), "{stopped}");
}
