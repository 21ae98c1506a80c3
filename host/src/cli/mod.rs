//! The command line. Data goes to stdout, everything else to stderr; a command is a file, and what they share is here.

mod budget;
mod chat;
mod completions;
mod config;
mod demo;
mod error;
mod format;
mod interrupt;
mod live;
mod output;
mod printer;
mod progress;
mod prompt;
mod run;
mod simulate;
mod summary;
mod table;
mod tool;
mod tool_call;
mod tool_inspect;
mod tool_list;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use error::CliError;

use crate::config::{Config, Folders};
use crate::telemetry::{LogLevel, LoggingGuard, logging};
use crate::tools::ToolSet;
use output::Sink;

/// A native host for LLM agents whose tools are untrusted WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "cofferdam", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct Global {
    /// Configuration file [default: ./cofferdam.toml, then the user's configuration folder]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What goes to stdout: text, the report as JSON, or a JSON event a line with the report last
    #[arg(long, global = true, value_enum, value_name = "FORM", default_value_t = Output::Text)]
    output: Output,
    /// No progress, no summary, no log on stderr but errors and plugins that are left out
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log at level debug on stderr
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    StreamJson,
}

impl Output {
    /// Whether the model's text is seen while it arrives: such an attempt is not retried, or it would be read twice.
    const fn reaches_a_person(self) -> bool {
        matches!(self, Self::Text | Self::StreamJson)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer a prompt
    Run(run::RunArgs),
    /// Talk with the agent
    Chat,
    /// See the whole product at work, with no key and no network
    Demo,
    /// Serve a scripted Messages API, for testing any client
    Simulate(simulate::SimulateArgs),
    /// List, inspect and call tools
    #[command(subcommand)]
    Tool(tool::ToolCommand),
    /// Show, set and export budgets
    Budget(budget::BudgetArgs),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// What every command gets.
#[derive(Debug)]
struct Context {
    global: Global,
    stdout: Sink,
    stderr: Sink,
}

impl Context {
    /// The configuration in force.
    fn config(&self) -> Result<Config, CliError> {
        Ok(Config::load(self.global.config.as_deref())?)
    }

    /// Starts logging. Narration tells the same as the console log at its default level, in friendlier words, so a
    /// narrated run logs only errors to the console, unless the operator asked for more than the default.
    fn logging(&self, config: &Config, narrated: bool) -> Result<LoggingGuard, CliError> {
        Ok(logging::init(&config.logging, Some(self.log_level(config, narrated)))?)
    }

    /// The level of the log on stderr.
    fn log_level(&self, config: &Config, narrated: bool) -> LogLevel {
        let told = matches!(config.logging.console, LogLevel::Info | LogLevel::Warn);
        if self.global.verbose {
            LogLevel::Debug
        } else if self.global.quiet || (narrated && told) {
            LogLevel::Error
        } else {
            config.logging.console
        }
    }

    /// Says which plugins were left out, unless the log on stderr has said so.
    fn report_left_out(&self, tools: &ToolSet, log: LogLevel) {
        if log >= LogLevel::Warn {
            return;
        }
        for problem in tools.problems() {
            self.stderr
                .line(&error::render_warning(problem, problem.hint().as_deref()));
        }
    }

    /// Progress is for a person who watches: text on a terminal.
    fn narrates(&self) -> bool {
        self.global.output == Output::Text && self.stderr.is_terminal() && !self.global.quiet
    }

    /// A remark on stderr that `--quiet` silences.
    fn note(&self, text: &str) {
        if !self.global.quiet {
            self.stderr.line(text);
        }
    }

    fn report_error(&self, error: &CliError) {
        self.stderr.line(&error::render(error, error.hint().as_deref()));
    }
}

/// A configuration made in code, for commands that read no file: every default, and the user's compile cache.
fn config_in_code() -> Config {
    let mut config = Config::default();
    config.engine.cache_dir = Folders::of_user().map(|folders| folders.cache);
    config
}

/// Parses the arguments, runs the command, and turns whatever happens into an exit code: that of the run's ending, or
/// 2 where no run ever existed.
pub async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version are data, on stdout; a reader that went away is no fault.
            let _ = usage.print();
            return if usage.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let context = Context {
        global: cli.global,
        stdout: Sink::stdout(),
        stderr: Sink::stderr(),
    };
    let code = match dispatch(cli.command, &context).await {
        Ok(code) => code,
        Err(error) => {
            context.report_error(&error);
            2
        }
    };
    match context.stdout.take_failure() {
        None => ExitCode::from(code),
        Some(failure) => {
            context.report_error(&CliError::Output(failure));
            ExitCode::from(if code == 0 { 1 } else { code })
        }
    }
}

/// A configuration that a command does not read is a misunderstanding, not something to pass over.
fn check_flags(command: &Command, global: &Global) -> Result<(), CliError> {
    let what = match command {
        Command::Demo => "the demo brings its own configuration",
        Command::Simulate(_) => "the simulator reads its script and no configuration",
        Command::Completions(_) | Command::Config(config::ConfigCommand::Schema) => {
            "this command reads no configuration"
        }
        Command::Tool(tool::ToolCommand::Call(args)) if args.is_lone_component() => {
            "FILE#TOOL is called with the defaults, whatever a configuration says"
        }
        _ => return Ok(()),
    };
    match global.config {
        Some(_) => Err(CliError::usage(what, "leave --config out")),
        None => Ok(()),
    }
}

async fn dispatch(command: Command, cx: &Context) -> Result<u8, CliError> {
    check_flags(&command, &cx.global)?;
    match command {
        Command::Run(args) => run::run(cx, args).await,
        Command::Chat => chat::chat(cx).await,
        Command::Demo => demo::demo(cx).await,
        Command::Simulate(args) => simulate::simulate(cx, args).await,
        Command::Tool(tool::ToolCommand::List) => tool_list::list(cx).await,
        Command::Tool(tool::ToolCommand::Inspect(args)) => tool_inspect::inspect(cx, args).await,
        Command::Tool(tool::ToolCommand::Call(args)) => tool_call::call(cx, args).await,
        Command::Budget(args) => budget::budget(cx, args).await,
        Command::Config(command) => config::config(cx, command),
        Command::Completions(args) => completions::completions(cx, args),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_parser_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for args in [
            ["cofferdam", "--output", "stream-json", "run", "hello"],
            ["cofferdam", "run", "--output", "stream-json", "hello"],
            ["cofferdam", "run", "hello", "--output", "stream-json"],
        ] {
            assert_eq!(
                Cli::try_parse_from(args).unwrap().global.output,
                Output::StreamJson,
                "{args:?}"
            );
        }
    }

    #[test]
    fn quiet_and_verbose_exclude_each_other() {
        assert!(Cli::try_parse_from(["cofferdam", "demo", "--quiet", "--verbose"]).is_err());
    }

    #[test]
    fn a_configuration_that_nothing_reads_is_refused() {
        let check = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["cofferdam", "--config", "x.toml"], arguments].concat()).unwrap();
            check_flags(&cli.command, &cli.global)
        };
        for arguments in [
            &["demo"][..],
            &["simulate", "x"],
            &["completions", "bash"],
            &["config", "schema"],
            &["tool", "call", "x.wasm#y", "{}"],
        ] {
            assert!(check(arguments).is_err(), "{arguments:?}");
        }
        for arguments in [&["config", "check"][..], &["tool", "call", "y", "{}"], &["run", "x"]] {
            assert!(check(arguments).is_ok(), "{arguments:?}");
        }
    }

    #[test]
    fn only_json_may_retry_what_was_already_said() {
        assert!(Output::Text.reaches_a_person() && Output::StreamJson.reaches_a_person());
        assert!(!Output::Json.reaches_a_person());
    }
}
