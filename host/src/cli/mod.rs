//! The command line. Data goes to stdout, everything else to stderr. Each command has its own file; shared code is here.

mod approval;
mod approver;
mod attach;
mod books;
mod breakers;
mod budget;
mod chat;
mod commands;
mod completions;
mod config;
mod config_check;
mod demo;
mod doctor;
mod error;
mod format;
mod grants;
mod init;
mod interrupt;
mod lines;
mod live;
mod markdown;
mod mcp;
mod mcp_config;
mod output;
mod printer;
mod progress;
mod prompt;
mod run;
mod session;
mod session_args;
mod simulate;
mod standalone;
mod subject;
mod summary;
mod table;
mod tool;
mod tool_build;
mod tool_call;
mod tool_check;
mod tool_dev;
mod tool_inspect;
mod tool_list;
mod tool_new;
mod usage;
mod usage_report;
mod watch;
mod wit;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

pub use error::CliError;

use crate::config::{Arguments, Config, Folders, LoadOptions};
use crate::sandbox::COMPILING;
use crate::store::ABANDONED;
use crate::telemetry::logging::{self, ConsoleLines, Hints};
use crate::telemetry::{LogLevel, LoggingGuard, RUNS};
use crate::tools::ToolSet;
use commands::Commands;
use lines::TypedAhead;
use output::Sink;

/// A native host for LLM agents whose tools are untrusted WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "cofferdam", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone, Debug)]
struct Global {
    /// Configuration file [default: ./cofferdam.toml, then the user's configuration folder]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Format of stdout: text, the report as JSON, or one JSON event per line with the report last
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = Output::Text)]
    output: Output,
    /// Print plain text on a terminal as well: no colours, no live progress, no rendered Markdown
    #[arg(long, global = true)]
    plain: bool,
    /// What to say of a run at its end [default: short; with --verbose, full; with --quiet, none]
    #[arg(long, global = true, value_enum, value_name = "DETAIL")]
    summary: Option<summary::Detail>,
    /// Print no progress, summary or log on stderr, only errors and the plugins and tools that are left out
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log at debug level on stderr, and show the backtraces of tools
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
    /// Whether the model's text is printed while it arrives. Then a failed attempt is not retried, because its text would be
    /// printed twice.
    const fn streams_to_user(self) -> bool {
        matches!(self, Self::Text | Self::StreamJson)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer a prompt
    Run(run::RunArgs),
    /// Talk with the agent
    Chat(chat::ChatArgs),
    /// See the whole product at work, without a key or a network
    Demo(demo::DemoArgs),
    /// Serve a scripted model, for testing any client
    Simulate(simulate::SimulateArgs),
    /// List, inspect, call, create, develop, build and check tools
    #[command(subcommand)]
    Tool(tool::ToolCommand),
    /// Serve tools to any client of the Model Context Protocol (MCP)
    Mcp(mcp::McpArgs),
    /// List, show, continue and delete the conversations that are kept
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// List, show and decide about the calls that wait for a person
    #[command(subcommand)]
    Approval(approval::ApprovalCommand),
    /// Show, set and export budgets; list prices
    Budget(budget::BudgetArgs),
    /// Show the breakers of models and tools in all hosts of this machine, and override them
    Breakers(breakers::BreakersArgs),
    /// Show what tool calls used: time, fuel, memory, bytes
    Usage(usage_report::UsageArgs),
    /// Write a configuration to start from
    Init(init::InitArgs),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show where everything lies, and what of this machine would get in the way
    Doctor,
    /// Write the contract of tools and the WASI interfaces that they can import, as WIT
    Wit(wit::WitArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// The global options and output streams, passed to every command.
#[derive(Clone, Debug)]
struct Context {
    global: Global,
    stdout: Sink,
    stderr: Sink,
    commands: Commands,
    typed_ahead: TypedAhead,
}

impl Context {
    /// Loads the effective configuration.
    fn config(&self) -> Result<Config, CliError> {
        self.config_with(Arguments::default())
    }

    /// The same with what the command line sets.
    fn config_with(&self, arguments: Arguments) -> Result<Config, CliError> {
        Ok(Config::load_from(&self.load_options(arguments))?)
    }

    /// This context, but a reload reads only the file that `config` came from. While that is missing, no other takes its place: it would
    /// have other tools with other grants.
    fn bound_to(&self, config: &Config) -> Self {
        let mut bound = self.clone();
        bound.global.config = bound
            .global
            .config
            .or_else(|| config.origins.file().map(ToOwned::to_owned));
        bound
    }

    fn load_options(&self, arguments: Arguments) -> LoadOptions {
        let options = LoadOptions::from_process(self.global.config.as_deref());
        for (variable, meant) in crate::config::misspelt_variables(&options.env) {
            let message = format!("the variable {variable} has no effect");
            self.note(&error::warning(
                &message,
                Some(&format!("a key is spelt with two underscores: {meant}")),
            ));
        }
        options.with_arguments(arguments)
    }

    /// Says that no configuration file was found, because the user may have expected one: for example, in another folder.
    fn note_missing_configuration(&self, config: &Config) {
        if config.origins.file().is_none() {
            let plugins: Vec<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
            self.note(&format!(
                "{}; plugins: {}",
                config.origins.summary(),
                plugins.join(", ")
            ));
        }
    }

    /// Starts logging. Progress lines cover the same events as the console log at its default level, so a run that shows
    /// progress logs only errors to the console, unless the operator requested a more detailed level.
    /// A person at a terminal also sees what takes long.
    fn logging(&self, config: &Config, progress_shown: bool) -> Result<LoggingGuard, CliError> {
        self.logging_without(None, config, progress_shown)
    }

    /// The same for a command that reports its runs on stderr, so that nothing is said twice.
    fn logging_of_runs(&self, config: &Config, progress_shown: bool) -> Result<LoggingGuard, CliError> {
        let reports = self.global.output == Output::Text && !self.global.verbose;
        self.logging_without(reports.then_some(RUNS), config, progress_shown)
    }

    fn logging_without(
        &self,
        hidden: Option<&'static str>,
        config: &Config,
        progress_shown: bool,
    ) -> Result<LoggingGuard, CliError> {
        let commands = self.commands.clone();
        let lines = ConsoleLines {
            level: Some(self.log_level(config, progress_shown)),
            shown: [
                (self.stderr.is_terminal() && !self.global.quiet).then_some(COMPILING),
                (!self.global.quiet).then_some(ABANDONED),
            ],
            hidden,
            hints: Hints::rewritten(move |hint| commands.complete(hint).into_owned()),
        };
        // On a terminal, lines wait for what is typed. A file may be full for a while, which ends the stream but not the log.
        let console: Box<dyn io::Write + Send> = match self.stderr.is_terminal() {
            true => Box::new(self.stderr.as_writer()),
            false => Box::new(io::stderr()),
        };
        Ok(logging::init(&config.logging, lines, console)?)
    }

    /// The level of the log on stderr.
    fn log_level(&self, config: &Config, progress_shown: bool) -> LogLevel {
        let is_covered_by_progress = matches!(config.logging.console, LogLevel::Info | LogLevel::Warn);
        let is_asked_for = config.origins.of_key(&["logging", "console"]).is_some();
        if self.global.verbose {
            LogLevel::Debug
        } else if self.global.quiet || (progress_shown && is_covered_by_progress) {
            LogLevel::Error
        } else if self.global.output != Output::Text && !is_asked_for {
            // Who has a program read stdout is to read what is wrong, and no more.
            config.logging.console.min(LogLevel::Warn)
        } else {
            config.logging.console
        }
    }

    /// Reports the plugins and tools that are left out, unless the log on stderr already has.
    fn report_left_out(&self, config: &Config, tools: &ToolSet, log: LogLevel) {
        if log >= LogLevel::Warn {
            return;
        }
        if config.omits_plugins() {
            self.note(&error::warning(
                Config::OMITTED_PLUGINS,
                Some(Config::OMITTED_PLUGINS_HINT),
            ));
        }
        for problem in tools.problems() {
            self.stderr
                .line(&error::render_warning(problem, problem.hint().as_deref()));
        }
    }

    /// Whether to show progress: only for text output on a terminal.
    fn shows_progress(&self) -> bool {
        self.global.output == Output::Text && self.stderr.is_terminal() && !self.global.quiet && !self.global.plain
    }

    /// How much is said of a run at its end.
    fn detail(&self) -> summary::Detail {
        self.global
            .summary
            .unwrap_or(match (self.global.verbose, self.global.quiet) {
                (true, _) => summary::Detail::Full,
                (false, true) => summary::Detail::None,
                (false, false) => summary::Detail::Short,
            })
    }

    /// Prints a note on stderr, unless `--quiet` is set.
    fn note(&self, text: &str) {
        if !self.global.quiet {
            self.stderr.line(text);
        }
    }

    fn report_error(&self, error: &CliError) {
        self.stderr.line(&error::render(error, error.hint().as_deref()));
    }

    /// Prints the error that stopped a command where a program expects its result, in the form of a report's error. Some
    /// commands have printed their result as well.
    fn print_error(&self, error: &CliError) {
        if !self.stdout.is_untouched() && self.global.output == Output::Json {
            return;
        }
        print_error(&self.stdout, self.global.output, error, &self.commands);
    }
}

fn print_error(stdout: &Sink, output: Output, error: &CliError, commands: &Commands) {
    let mut error = error.info();
    error.hint = error.hint.map(|hint| commands.complete(&hint).into_owned());
    match output {
        Output::Text => {}
        Output::Json => stdout.json_pretty(&json!({ "error": error })),
        Output::StreamJson => stdout.json_line(&json!({ "event": "error", "error": error })),
    }
}

/// The configuration of commands that read no file: all defaults, and the user's compile cache.
fn config_in_code() -> Config {
    let mut config = Config::default();
    config.engine.cache_dir = Folders::for_current_user().map(|folders| folders.cache);
    config
}

/// Parses the arguments and runs the command. The exit code is that of the run's ending, or 2 if there was no run. If the
/// output can't be written, 0 becomes 1.
pub async fn main() -> ExitCode {
    match completions::answer() {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(unknown) => {
            let _ = unknown.print();
            return ExitCode::from(2);
        }
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = match usage::parse(&words) {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version go to stdout as data. A closed pipe is not an error.
            let printed = usage.print().and_then(|()| io::stdout().flush());
            if !usage.use_stderr() {
                return match printed.map_err(|error| (error.kind(), CliError::Output(error))) {
                    Ok(()) | Err((io::ErrorKind::BrokenPipe, _)) => ExitCode::SUCCESS,
                    Err((_, error)) => {
                        Sink::stderr().line(&error::render(&error, error.hint().as_deref()));
                        ExitCode::from(1)
                    }
                };
            }
            let commands = Commands::default();
            print_error(
                &Sink::stdout(),
                usage::output(&words),
                &usage::error(&usage, &words),
                &commands,
            );
            return ExitCode::from(2);
        }
    };
    interrupt::outlive_file_size_limit();
    if cli.global.plain {
        // For every stream from now on, the log's too.
        anstream::ColorChoice::Never.write_global();
    }
    let commands = Commands::of(cli.global.config.as_deref());
    let context = Context {
        global: cli.global,
        stdout: Sink::stdout(),
        stderr: Sink::stderr().completing(commands.clone()),
        commands,
        typed_ahead: TypedAhead::default(),
    };
    let code = match dispatch(cli.command, &context).await {
        Ok(code) => code,
        Err(error) => {
            context.report_error(&error);
            context.print_error(&error);
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

/// Refuses `--config` for commands that ignore it, because the user expects it to have an effect.
fn check_flags(command: &Command, global: &Global) -> Result<(), CliError> {
    let what = match command {
        Command::Demo(_) => "the demo uses its own configuration",
        Command::Simulate(_) => "the simulator reads only its script, not a configuration",
        Command::Completions(_)
        | Command::Config(config::ConfigCommand::Schema)
        | Command::Wit(_)
        | Command::Init(_)
        | Command::Tool(tool::ToolCommand::New(_) | tool::ToolCommand::Build(_)) => {
            "this command doesn't read a configuration"
        }
        Command::Mcp(args) if args.is_standalone() => "--plugin always uses the default settings",
        Command::Tool(tool::ToolCommand::Call(args)) if args.is_standalone_component() => {
            "a component file always has the default settings"
        }
        Command::Tool(tool::ToolCommand::List(args)) if args.component.is_some() => {
            "a component file always has the default settings"
        }
        _ => return Ok(()),
    };
    match global.config {
        Some(_) => Err(CliError::usage(what, "remove --config")),
        None => Ok(()),
    }
}

async fn dispatch(command: Command, cx: &Context) -> Result<u8, CliError> {
    check_flags(&command, &cx.global)?;
    match command {
        Command::Run(args) => run::run(cx, args).await,
        Command::Chat(args) => chat::chat(cx, args).await,
        Command::Demo(args) => demo::demo(cx, &args).await,
        Command::Simulate(args) => simulate::simulate(cx, args).await,
        Command::Tool(tool::ToolCommand::List(args)) => tool_list::list(cx, args).await,
        Command::Tool(tool::ToolCommand::Inspect(args)) => tool_inspect::inspect(cx, args).await,
        Command::Tool(tool::ToolCommand::Call(args)) => tool_call::call(cx, args).await,
        Command::Tool(tool::ToolCommand::New(args)) => tool_new::new(cx, args),
        Command::Tool(tool::ToolCommand::Build(args)) => tool_build::build(cx, args).await,
        Command::Tool(tool::ToolCommand::Check(args)) => tool_check::check(cx, args).await,
        Command::Tool(tool::ToolCommand::Dev(args)) => tool_dev::dev(cx, args).await,
        Command::Mcp(args) => mcp::mcp(cx, args).await,
        Command::Session(command) => session::session(cx, command).await,
        Command::Approval(command) => approval::approval(cx, command).await,
        Command::Budget(args) => budget::budget(cx, args).await,
        Command::Breakers(args) => breakers::breakers(cx, args).await,
        Command::Usage(args) => usage_report::usage(cx, args).await,
        Command::Init(args) => init::init(cx, args),
        Command::Doctor => doctor::doctor(cx).await,
        Command::Config(command) => config::config(cx, command).await,
        Command::Wit(args) => wit::wit(cx, args),
        Command::Completions(args) => completions::completions(cx, args),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_parser_passes_clap_debug_assertions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_are_accepted_anywhere() {
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
    fn an_unused_config_flag_is_refused() {
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
            &["tool", "call", "x.wasm"],
            &["tool", "list", "x.wasm"],
            &["tool", "new", "x", "--lang", "c"],
            &["tool", "build"],
            &["wit"],
            &["init"],
        ] {
            assert!(check(arguments).is_err(), "{arguments:?}");
        }
        for arguments in [
            &["config", "check"][..],
            &["tool", "call", "y", "{}"],
            &["tool", "check", "x.wasm"],
            &["tool", "dev"],
            &["run", "x"],
        ] {
            assert!(check(arguments).is_ok(), "{arguments:?}");
        }
    }

    #[test]
    fn only_json_output_does_not_stream_text() {
        assert!(Output::Text.streams_to_user() && Output::StreamJson.streams_to_user());
        assert!(!Output::Json.streams_to_user());
    }
}
