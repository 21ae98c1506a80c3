//! Granted folders: a plugin reaches their content and nothing else, whatever the path, within its quotas.

use std::os::unix::fs::symlink;
use std::time::Duration;

use cofferdam_tests::Lab;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::lab;

/// A plugin with a read-only folder `in` and a writable folder `out`. A file beside them must stay out of reach.
fn configured(limits: &str) -> Lab {
    let lab = lab([]);
    for folder in ["in/deep", "out"] {
        std::fs::create_dir_all(lab.path(folder)).unwrap();
    }
    lab.write("in/hello.txt", "hello");
    lab.write("in/deep/down.txt", "deep");
    lab.write("secret.txt", "not yours");
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nfiles = [{{ folder = \"in\", at = \"/in\" }}, {{ folder = \"out\", at = \"/out\", write = true }}]\nlimits = {{ {limits} }}\n"
    ));
    lab
}

async fn files(lab: &Lab, input: Value) -> Value {
    let ran = lab.call_tool("files", &input).await.expect_code(0);
    serde_json::from_str(ran.json()["content"][0]["text"].as_str().unwrap()).unwrap()
}

async fn refused(lab: &Lab, input: Value) -> String {
    let answer = files(lab, input.clone()).await;
    let error = answer["error"].as_str();
    error.unwrap_or_else(|| panic!("{input} was done: {answer}")).to_owned()
}

#[tokio::test]
async fn granted_folders_can_be_read_and_writable_ones_written() {
    let lab = configured("");
    assert_eq!(files(&lab, json!({ "path": "/in/hello.txt" })).await, "hello");
    assert_eq!(
        files(&lab, json!({ "do": "list", "path": "/in" })).await,
        json!(["deep", "hello.txt"])
    );
    let written = files(&lab, json!({ "do": "write", "path": "/out/a.txt", "text": "mine" })).await;
    assert_eq!(written, "done");
    assert_eq!(std::fs::read_to_string(lab.path("out/a.txt")).unwrap(), "mine");
    // A hard link would outlive the grant of the original.
    refused(
        &lab,
        json!({ "do": "hard_link", "path": "/out/a.txt", "to": "/out/h.txt" }),
    )
    .await;
    // Files persist between calls.
    assert_eq!(files(&lab, json!({ "path": "/out/a.txt" })).await, "mine");
    assert_eq!(
        files(
            &lab,
            json!({ "do": "rename", "path": "/out/a.txt", "to": "/out/b.txt" })
        )
        .await,
        "done"
    );
    assert_eq!(
        files(&lab, json!({ "do": "remove", "path": "/out/b.txt" })).await,
        "done"
    );
    let inspected = lab.inspect("builtin:faulty").await;
    assert!(
        inspected.contains("faulty: read /in, read and write /out"),
        "{inspected}"
    );
}

#[tokio::test]
async fn a_read_only_folder_cannot_be_changed() {
    let lab = configured("");
    for input in [
        json!({ "do": "write", "path": "/in/hello.txt", "text": "x" }),
        json!({ "do": "write", "path": "/in/new.txt", "text": "x" }),
        json!({ "do": "grow", "path": "/in/hello.txt", "bytes": 0 }),
        json!({ "do": "folder", "path": "/in/new" }),
        json!({ "do": "remove", "path": "/in/hello.txt" }),
        json!({ "do": "rename", "path": "/in/hello.txt", "to": "/in/x.txt" }),
        json!({ "do": "rename", "path": "/in/hello.txt", "to": "/out/x.txt" }),
        // A hard link in the writable folder would be a way to change it.
        json!({ "do": "hard_link", "path": "/in/hello.txt", "to": "/out/x.txt" }),
        json!({ "do": "hard_link", "path": "/in/hello.txt", "to": "/in/x.txt" }),
    ] {
        refused(&lab, input).await;
    }
    assert_eq!(files(&lab, json!({ "do": "list", "path": "/out" })).await, json!([]));
    assert_eq!(std::fs::read_to_string(lab.path("in/hello.txt")).unwrap(), "hello");
}

#[tokio::test]
async fn no_path_or_link_escapes() {
    let lab = configured("");
    symlink(lab.path("secret.txt"), lab.path("in/absolute")).unwrap();
    symlink("../secret.txt", lab.path("in/relative")).unwrap();
    symlink("..", lab.path("in/up")).unwrap();
    symlink("/proc/self", lab.path("in/proc")).unwrap();
    symlink("deep/../../secret.txt", lab.path("in/winding")).unwrap();
    symlink("deep/down.txt", lab.path("in/inside")).unwrap();
    assert_eq!(files(&lab, json!({ "path": "/in/inside" })).await, "deep");
    for path in [
        "/in/../secret.txt",
        "/in/deep/../../secret.txt",
        "/in/absolute",
        "/in/relative",
        "/in/up/secret.txt",
        "/in/proc/environ",
        "/in/winding",
        "/secret.txt",
        "secret.txt",
        "/etc/passwd",
        "/proc/self/environ",
        "/",
        "",
    ] {
        let error = refused(&lab, json!({ "path": path })).await;
        assert!(!error.contains("not yours"), "{path}: {error}");
    }
    // A symbolic link to the outside, created while the guest runs.
    for (of, to) in [
        ("../secret.txt", "link"),
        ("/etc/passwd", "link"),
        ("hello.txt", "link"),
    ] {
        refused(&lab, json!({ "do": "symlink", "path": of, "to": to })).await;
    }
    refused(
        &lab,
        json!({ "do": "rename", "path": "/in/../secret.txt", "to": "/out/x" }),
    )
    .await;
    refused(
        &lab,
        json!({ "do": "hard_link", "path": "/in/../secret.txt", "to": "/out/x" }),
    )
    .await;
    assert_eq!(std::fs::read_dir(lab.path("out")).unwrap().count(), 0);
}

/// Opening a FIFO would block on its other end, and the thread would be lost.
#[tokio::test]
async fn fifos_and_devices_are_not_opened() {
    let lab = configured("");
    let made = std::process::Command::new("mkfifo")
        .arg(lab.path("in/fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    symlink("fifo", lab.path("in/to_fifo")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(lab.path("in/socket")).unwrap();
    let started = Instant::now();
    for path in ["/in/fifo", "/in/to_fifo", "/in/socket"] {
        refused(&lab, json!({ "path": path })).await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "an open blocked: {:?}",
        started.elapsed()
    );
    // An operator can grant a folder of devices.
    lab.configure("[plugins.faulty]\ncomponent = \"builtin:faulty\"\nfiles = [{ folder = \"/dev\", at = \"/dev\" }]\n");
    refused(&lab, json!({ "path": "/dev/zero" })).await;
}

/// The host holds a whole listing in memory.
#[tokio::test]
async fn a_folder_with_too_many_entries_is_not_listed() {
    let lab = configured("");
    std::fs::create_dir(lab.path("in/many")).unwrap();
    let create = |number: u32| std::fs::write(lab.path("in/many").join(number.to_string()), "").unwrap();
    // Including `.` and `..`.
    (0..9_998).for_each(create);
    let list = json!({ "do": "list", "path": "/in/many", "count": 0 });
    assert_eq!(files(&lab, list.clone()).await, json!(9_998));
    create(9_998);
    refused(&lab, list).await;
    assert_eq!(files(&lab, json!({ "path": "/in/hello.txt" })).await, "hello");
}

#[tokio::test]
async fn open_files_are_limited() {
    let lab = configured("");
    let hold = |count: u32| json!({ "do": "hold", "path": "/in/hello.txt", "count": count });
    assert_eq!(files(&lab, hold(100)).await, 100);
    refused(&lab, hold(128)).await;
}

#[tokio::test]
async fn the_file_bytes_limit() {
    let lab = configured("file_bytes = \"100KiB\"");
    let size = |name: &str| std::fs::metadata(lab.path(name)).map_or(0, |metadata| metadata.len());
    let fill = |bytes: u64| json!({ "do": "fill", "path": "/out/full", "bytes": bytes });
    assert_eq!(files(&lab, fill(90_000)).await, "done");
    refused(&lab, fill(1_000_000)).await;
    assert!(
        (90_000..=94_208 + 102_400).contains(&size("out/full")),
        "{}",
        size("out/full")
    );
    // A file that grows without a write counts as well.
    assert_eq!(
        files(&lab, json!({ "do": "grow", "path": "/out/full", "bytes": 0 })).await,
        "done"
    );
    refused(&lab, json!({ "do": "grow", "path": "/out/full", "bytes": 102_401 })).await;
    assert_eq!(size("out/full"), 0);
    assert_eq!(
        files(&lab, json!({ "do": "grow", "path": "/out/full", "bytes": 102_400 })).await,
        "done"
    );
    refused(&lab, json!({ "do": "gap", "path": "/out/full", "bytes": 300_000 })).await;
    refused(
        &lab,
        json!({ "do": "gap", "path": "/out/other", "bytes": 8_796_093_022_208_u64 }),
    )
    .await;
    std::fs::remove_file(lab.path("out/other")).unwrap();
    // Empty files count as well.
    refused(&lab, json!({ "do": "create", "path": "/out/empty", "count": 100 })).await;
    let made = std::fs::read_dir(lab.path("out")).unwrap().count();
    assert!((20..=26).contains(&made), "{made}");
}

#[tokio::test]
async fn a_missing_folder_disables_its_plugin() {
    let lab = lab([]);
    let configure = |grant: &str| {
        lab.configure(&format!(
            "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n[plugins.faulty]\ncomponent = \"builtin:faulty\"\nfiles = [{grant}]\n"
        ));
    };
    lab.write("file", "");
    for folder in ["gone", "file"] {
        configure(&format!("{{ folder = \"{folder}\", at = \"/x\" }}"));
        let ran = lab.call(["tool", "list"]).await.expect_code(0);
        assert!(
            ran.stdout.contains("calculate") && !ran.stdout.contains("faulty"),
            "{ran}"
        );
        assert!(ran.stderr.contains(folder) && ran.stderr.contains("hint"), "{ran}");
    }
    for (grant, says) in [
        ("{ folder = \".\", at = \"x\" }", "`x` must begin with `/`"),
        ("{ folder = \".\", at = \"/a/../b\" }", "must have no empty part"),
        ("{ folder = \".\" }", "files[0].at: this key is missing"),
        ("{ at = \"/x\" }", "files[0].folder: this key is missing"),
        (
            "{ folder = \".\", at = \"/x\" }, { folder = \"..\", at = \"/x\" }",
            "`/x` is already taken by another folder",
        ),
    ] {
        configure(grant);
        let ran = lab.call(["config", "check"]).await.expect_code(2);
        assert!(
            ran.stderr.contains(says) && ran.stderr.contains("hint:"),
            "{says}: {ran}"
        );
    }
}
