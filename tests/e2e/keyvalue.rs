//! Key-value data of plugins: persistent across processes, isolated per plugin, within a quota, and only if granted.

use cofferdam_tests::Lab;
use serde_json::{Value, json};

use crate::lab;

/// Calls the tool `keep` of the plugin `one` in a new process.
async fn keep(lab: &Lab, input: Value) -> Value {
    let ran = lab.call_tool("keep", &input).await.expect_code(0);
    serde_json::from_str(ran.json()["content"][0]["text"].as_str().unwrap()).unwrap()
}

fn configured(keys: &str) -> Lab {
    let lab = lab([]);
    lab.configure(&format!("[plugins.one]\ncomponent = \"builtin:faulty\"\n{keys}\n"));
    lab
}

#[tokio::test]
async fn data_outlives_the_process() {
    let lab = configured("keyvalue = true");
    assert_eq!(keep(&lab, json!({})).await, json!(null));
    assert_eq!(keep(&lab, json!({ "do": "set", "bytes": 12 })).await, "done");
    assert_eq!(keep(&lab, json!({ "store": "default" })).await, 12);
    assert_eq!(keep(&lab, json!({ "do": "exists" })).await, true);
    assert_eq!(
        keep(&lab, json!({ "do": "set", "key": "other", "bytes": 0 })).await,
        "done"
    );
    assert_eq!(keep(&lab, json!({ "do": "keys" })).await, json!(["key", "other"]));
    assert_eq!(keep(&lab, json!({ "do": "delete" })).await, "done");
    assert_eq!(keep(&lab, json!({ "do": "exists" })).await, false);
    let inspected = lab.inspect("builtin:faulty").await;
    assert!(inspected.contains("one: up to 1.0 MiB per tenant"), "{inspected}");
}

#[tokio::test]
async fn plugins_do_not_see_each_others_data() {
    let lab = configured("keyvalue = true");
    assert_eq!(keep(&lab, json!({ "do": "set" })).await, "done");
    // The same component under another name is a different plugin.
    lab.configure("[plugins.two]\ncomponent = \"builtin:faulty\"\nkeyvalue = true\n");
    assert_eq!(keep(&lab, json!({})).await, json!(null));
    assert_eq!(keep(&lab, json!({ "do": "keys" })).await, json!([]));
    for store in ["one", "../one", "default\0one"] {
        assert_eq!(
            keep(&lab, json!({ "store": store })).await,
            json!({ "error": "no such store" })
        );
    }
}

#[tokio::test]
async fn access_without_a_grant_is_denied() {
    let lab = configured("");
    assert_eq!(keep(&lab, json!({})).await, json!({ "error": "access denied" }));
    assert!(!lab.path("data/cofferdam/keyvalue.sqlite3").exists());
    let inspected = lab.inspect("builtin:faulty").await;
    let row = inspected
        .lines()
        .find(|line| line.contains("wasi:keyvalue/store"))
        .unwrap();
    assert!(row.contains("one: nothing"), "{row}");
}

#[tokio::test]
async fn the_keyvalue_bytes_limit() {
    let lab = configured("keyvalue = true\nlimits = { keyvalue_bytes = \"1KiB\", host_calls = 100 }");
    let full = |answer: &Value| {
        answer["error"]
            .as_str()
            .is_some_and(|error| error.contains("keyvalue_bytes"))
    };
    let fits = 1024 - 64 - 3;
    let answer = keep(&lab, json!({ "do": "set", "bytes": fits + 1 })).await;
    assert!(full(&answer), "{answer}");
    assert_eq!(keep(&lab, json!({ "do": "set", "bytes": fits })).await, "done");
    let answer = keep(&lab, json!({ "do": "fill", "count": 1 })).await;
    assert!(full(&answer), "{answer}");
    // Nothing of the refused write was stored.
    assert_eq!(keep(&lab, json!({ "do": "keys" })).await, json!(["key"]));
    // Entries without values count as well.
    assert_eq!(keep(&lab, json!({ "do": "delete" })).await, "done");
    let answer = keep(&lab, json!({ "do": "fill", "count": 50 })).await;
    assert!(full(&answer), "{answer}");
    let kept = keep(&lab, json!({ "do": "keys" })).await.as_array().unwrap().len();
    assert!((10..16).contains(&kept), "{kept}");
}

/// Overwriting takes no extra space but still counts as writing. So do small writes.
#[tokio::test]
async fn a_call_can_write_four_times_its_quota() {
    let lab = configured("keyvalue = true\nlimits = { keyvalue_bytes = \"1MiB\" }");
    let again =
        async |bytes: u32, count: u32| keep(&lab, json!({ "do": "again", "bytes": bytes, "count": count })).await;
    let refused = |answer: Value| {
        let error = answer["error"].as_str().unwrap_or_default().to_owned();
        error.contains("more than 4194304 bytes written in one call")
    };
    assert_eq!(again(524_285, 8).await, "done");
    assert!(refused(again(524_285, 9).await));
    assert_eq!(again(0, 1024).await, "done");
    assert!(refused(again(0, 1025).await));
    // However small the quota, a few small writes are free.
    let lab = configured("keyvalue = true\nlimits = { keyvalue_bytes = \"1KiB\" }");
    let again = async |count: u32| keep(&lab, json!({ "do": "again", "bytes": 1, "count": count })).await;
    assert_eq!(again(256).await, "done");
    let answer = again(257).await;
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("more than 1048576 bytes written in one call"),
        "{answer}"
    );
}

/// If the store can't be opened, only the plugins that use it are left out.
#[tokio::test]
async fn without_a_store_only_plugins_that_use_it_are_left_out() {
    let garbage = "x".repeat(5_000);
    for (is_folder, says) in [(true, "is not a regular file"), (false, "is damaged")] {
        let lab = lab([]);
        let path = lab.path("data/cofferdam/keyvalue.sqlite3");
        if is_folder {
            std::fs::create_dir_all(&path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &garbage).unwrap();
        }
        let configure = |required: bool| {
            lab.configure(&format!(
                "[plugins.one]\ncomponent = \"builtin:faulty\"\nkeyvalue = true\nrequired = {required}\n\
                 [plugins.two]\ncomponent = \"builtin:calculator\"\n"
            ));
        };
        configure(false);
        let ran = lab.call(["tool", "list"]).await.expect_code(0);
        assert!(
            ran.stdout.contains("calculate") && !ran.stdout.contains("loop_forever"),
            "{ran}"
        );
        assert!(
            ran.stderr.contains("plugin `one`") && ran.stderr.contains(says) && ran.stderr.contains("hint"),
            "{ran}"
        );
        let ran = lab
            .call_tool("calculate", &json!({ "expression": "6 * 7" }))
            .await
            .expect_code(0);
        assert!(ran.stdout.contains("42"), "{ran}");
        configure(true);
        let ran = lab.call(["tool", "list"]).await.expect_code(2);
        assert!(ran.stderr.contains(says) && ran.stderr.contains("hint:"), "{ran}");
        assert!(is_folder || std::fs::read_to_string(&path).unwrap() == garbage);
    }
}
