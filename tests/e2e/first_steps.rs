//! The first commands of somebody who has just installed it: a configuration, and what of the machine would get in the way.

use cofferdam::simulator::{Answer, FaultKind, FaultPoint};

use crate::lab;

#[tokio::test]
async fn a_check_warns_of_every_key_that_is_not_set() {
    let lab = lab([]);
    lab.configure("api_key_env = \"FIRST\"\n[[fallback_models]]\nmodel = \"claude-haiku-5-5\"\napi_key_env = \"SECOND\"\n[plugins]");
    let keys = async |arguments: &[&str]| {
        let checked = lab
            .call([&["config", "check", "--output", "json"], arguments].concat())
            .await;
        let warnings = checked.expect_code(0).json()["warnings"].clone();
        let warnings = warnings.as_array().unwrap().iter();
        warnings
            .map(|warning| warning["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let missing = |variable: &str, model: &str| {
        format!(
            "there is no API key for `{model}`: the environment variable {variable} is empty or not set, so `run` would ask it nothing"
        )
    };
    let both = [
        missing("FIRST", "claude-sonnet-5-5"),
        missing("SECOND", "claude-haiku-5-5"),
    ];
    assert_eq!(keys(&[]).await, both);
    assert_eq!(keys(&["--offline"]).await, [""; 0]);
}

#[tokio::test]
async fn the_first_configuration_is_valid_and_never_overwritten() {
    let lab = lab([]);
    let file = lab.path("mine/cofferdam.toml");
    let ran = lab.call(["init", "mine"]).await.expect_code(0);
    assert_eq!(ran.stdout, "mine/cofferdam.toml\n");
    assert!(ran.stderr.contains("config check"), "{ran}");
    let checked = lab
        .call(["config", "check", "--config", "mine/cofferdam.toml", "--output", "json"])
        .await
        .expect_code(0);
    assert_eq!(checked.json()["warnings"], serde_json::json!([]));
    // It says what would be so without it.
    let tools = lab
        .call(["tool", "list", "--config", "mine/cofferdam.toml"])
        .await
        .expect_code(0);
    assert!(
        tools.stdout.contains("calculate") && tools.stdout.contains("get_weather"),
        "{tools}"
    );

    std::fs::write(&file, "# mine").unwrap();
    let ran = lab.call(["init", "mine"]).await.expect_code(2);
    assert!(
        ran.stderr.contains("is there already") && ran.stderr.contains("--force"),
        "{ran}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine");
    lab.call(["init", "mine", "--force"]).await.expect_code(0);
    assert_ne!(std::fs::read_to_string(&file).unwrap(), "# mine");
    lab.write("in-the-way", "");
    let ran = lab.call(["init", "in-the-way"]).await.expect_code(2);
    assert!(
        ran.stderr.contains("can't write in-the-way/cofferdam.toml") && !ran.stderr.contains("there already"),
        "{ran}"
    );
}

#[tokio::test]
async fn the_doctor_says_where_everything_lies_and_that_the_sandbox_works() {
    let lab = lab([]);
    let ran = lab.call(["doctor", "--output", "json"]).await.expect_code(0);
    let report = ran.json();
    assert_eq!(report["healthy"], true, "{report}");
    let detail = |subject: &str| {
        let findings = report["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["subject"] == subject);
        found.unwrap_or_else(|| panic!("{subject}: {report}"))["detail"]
            .as_str()
            .unwrap()
    };
    assert!(detail("configuration").ends_with("cofferdam.toml"));
    assert!(detail("model").contains(&lab.simulator.url().to_string().replace("http://", "")[..9]));
    assert!(detail("data").contains("data/cofferdam"));
    assert!(detail("budgets").contains("ledger.sqlite3 (nothing was spent yet)"));
    assert!(detail("sandbox").contains("was loaded in"));
    // It has asked nobody, and left nothing.
    assert_eq!(lab.simulator.requests().len(), 0);
    assert!(!lab.path("data").exists());
}

#[tokio::test]
async fn the_doctor_counts_the_sessions() {
    let stalled = Answer::fault(FaultKind::Stall, FaultPoint::Request);
    let lab = lab([Answer::text("Yes."), stalled]);
    lab.call(["run", "Go."]).await.expect_code(0);
    let ran = lab.call(["doctor"]).await.expect_code(0);
    assert!(ran.stdout.contains("ok      sessions          1 session\n"), "{ran}");
    let mut requests = lab.simulator.watch();
    let mut child = lab.command(["run", "Go."]).spawn().unwrap();
    requests.recv().await.unwrap();
    child.kill().await.unwrap();
    let ran = lab.call(["doctor"]).await.expect_code(0);
    assert!(
        ran.stdout
            .contains("note    sessions          2 sessions, 1 unfinished\n"),
        "{ran}"
    );
}

#[tokio::test]
async fn the_doctor_names_what_has_to_be_mended() {
    let lab = lab([]);
    let without_key = |lab: &cofferdam_tests::Lab| {
        let mut command = lab.command(["doctor"]);
        command.env_remove("ANTHROPIC_API_KEY");
        command.spawn().unwrap()
    };
    let ran = cofferdam_tests::finish(without_key(&lab)).await.expect_code(1);
    assert!(ran.stdout.contains("problem model"), "{ran}");
    assert!(ran.stdout.contains("hint: set ANTHROPIC_API_KEY"), "{ran}");

    lab.write("data", "not a folder");
    let ran = lab.call(["doctor"]).await.expect_code(1);
    assert!(ran.stdout.contains("problem data"), "{ran}");
    assert!(ran.stdout.contains("data is a file"), "{ran}");
    // What lies there can't be written either.
    assert!(ran.stdout.contains("problem budgets"), "{ran}");
    assert!(ran.stdout.contains("problem kept data"), "{ran}");

    std::fs::remove_file(lab.path("data")).unwrap();
    std::fs::create_dir_all(lab.path("data/cofferdam")).unwrap();
    // As on a full disk: no file can have a byte.
    let log = lab.path("log");
    lab.configure(&format!("[logging]\ndirectory = \"{}\"\n", log.display()));
    let program = lab.command([""]).as_std().get_program().to_owned();
    let line = format!("ulimit -f 0; exec '{}' doctor", program.display());
    let ran = lab.command_of("/bin/sh", ["-c", &line]).spawn().unwrap();
    let ran = cofferdam_tests::finish(ran).await.expect_code(1);
    assert!(
        ran.stdout.contains("problem log") && ran.stdout.contains("can't be written to"),
        "{ran}"
    );
    lab.configure("");

    // What it can't look at may hold anything.
    let ledger = lab.path("data/cofferdam/ledger.sqlite3");
    std::os::unix::fs::symlink("ledger.sqlite3", &ledger).unwrap();
    let ran = lab.call(["doctor"]).await.expect_code(1);
    assert!(ran.stdout.contains("can't be looked at"), "{ran}");
    std::fs::remove_file(ledger).unwrap();
    lab.write("data/cofferdam/ledger.sqlite3", "garbage ".repeat(1000));
    let ran = lab.call(["doctor"]).await.expect_code(1);
    assert!(ran.stdout.contains("problem budgets"), "{ran}");

    lab.write("cofferdam.toml", "[agent]\nmax_iterations = 0\n");
    let ran = lab.call(["doctor"]).await.expect_code(1);
    assert!(
        ran.stdout.contains("problem configuration") && ran.stdout.contains("max_iterations"),
        "{ran}"
    );
    // What doesn't depend on it is looked at all the same.
    assert!(ran.stdout.contains("ok      sandbox"), "{ran}");
}
