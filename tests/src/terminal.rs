//! A terminal for programs that behave differently on one.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use rustix::termios::{LocalModes, tcgetattr};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::ANSWER_TIMEOUT;

const ROWS: u16 = 24;

/// A pseudoterminal, and what was shown on it.
#[derive(Debug)]
pub struct Terminal {
    columns: u16,
    /// The program's side.
    program: File,
    keyboard: File,
    screen: watch::Receiver<String>,
    /// How much of the screen was waited for.
    seen: usize,
}

impl Terminal {
    pub fn open() -> Self {
        Self::of_width(80)
    }

    /// A terminal with this many columns.
    pub fn of_width(columns: u16) -> Self {
        let size = nix::pty::Winsize {
            ws_row: ROWS,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = nix::pty::openpty(Some(&size), None).unwrap();
        let keyboard = File::from(pair.master);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = watch::channel(String::new());
        // Detached: the read ends with the last handle of the program's side.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                sender.send_modify(|text| text.push_str(&String::from_utf8_lossy(&bytes[..read])));
            }
        });
        Self {
            columns,
            program: pair.slave.into(),
            keyboard,
            screen,
            seen: 0,
        }
    }

    /// Starts a program with this terminal as its stdin, stdout and stderr. It gets the terminal's signals.
    pub fn start(&self, command: Command) -> Child {
        let handle = || Stdio::from(self.program.try_clone().unwrap());
        let command = command.as_std();
        // It makes the terminal that of its process, and then becomes the program.
        let mut leader = Command::new("setsid");
        leader
            .arg("--ctty")
            // As the programs of a terminal begin, also where the tests ignore it.
            .args(["env", "--default-signal=HUP"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .env("TERM", "xterm")
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .kill_on_drop(true);
        if let Some(folder) = command.get_current_dir() {
            leader.current_dir(folder);
        }
        leader
            .stdin(handle())
            .stdout(handle())
            .stderr(handle())
            .spawn()
            .unwrap()
    }

    pub fn type_keys(&self, keys: &str) {
        self.type_bytes(keys.as_bytes());
    }

    /// What isn't text.
    pub fn type_bytes(&self, bytes: &[u8]) {
        (&self.keyboard).write_all(bytes).unwrap();
    }

    /// Waits until these words are shown, after those that were waited for before.
    pub async fn wait_for(&mut self, words: &str) {
        let seen = self.seen;
        let shown = self.screen.wait_for(|text| text[seen..].contains(words));
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, shown).await;
        let text = self.text();
        let found = text[seen..].find(words);
        let found = found.unwrap_or_else(|| panic!("no `{words}` in {:?}", &text[seen..]));
        self.seen += found + words.len();
    }

    /// Waits until the program has read what was typed. What it hasn't read is gone with the terminal.
    pub async fn read_by_the_program(&self) {
        let read = async {
            while rustix::io::ioctl_fionread(&self.program).unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, read).await.unwrap();
    }

    /// What was shown after that which was waited for last.
    pub fn rest(&self) -> String {
        self.text().split_off(self.seen)
    }

    /// All that was shown until now.
    pub fn text(&self) -> String {
        self.screen.borrow().clone()
    }

    /// Waits until a person sees the cursor in a row with this text, and that text in the last row that isn't empty.
    pub async fn wait_for_cursor(&mut self, row: &str, last: &str) {
        let columns = self.columns;
        let rows_at_cursor = |text: &str| {
            let mut parser = vt100::Parser::new(ROWS, columns, 0);
            parser.process(text.as_bytes());
            let (at, _) = parser.screen().cursor_position();
            let rows = parser.screen().rows(0, columns).skip(at.into());
            rows.filter(|row| !row.is_empty()).collect::<Vec<_>>()
        };
        let is_there = |text: &String| {
            let rows = rows_at_cursor(text);
            rows.first().is_some_and(|first| first == row) && rows.last().is_some_and(|shown| shown == last)
        };
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, self.screen.wait_for(is_there)).await;
        let text = self.text();
        assert!(is_there(&text), "{row}, {last}: {:#?}", rows_at_cursor(&text));
    }

    /// Whether it echoes and has signals, as shells leave it.
    pub fn is_ordinary(&self) -> bool {
        let modes = tcgetattr(&self.program).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ISIG)
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::open()
    }
}

/// What stays on the screen, without the lines that show the progress of a block and are removed again.
pub fn without_status(shown: &str) -> String {
    let pieces = shown.split("\r\u{1b}[K");
    pieces.filter(|piece| !piece.starts_with("… ")).collect()
}
