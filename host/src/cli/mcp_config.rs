//! `cofferdam mcp config`: what to add to a client's configuration.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::mcp::PluginArgs;
use super::{CliError, Context};

#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// The client
    #[arg(long, value_enum)]
    client: Client,
    #[command(flatten)]
    plugins: PluginArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Client {
    /// Claude Desktop and Claude Code
    Claude,
    /// Visual Studio Code
    Vscode,
}

/// Prints JSON on stdout, and on stderr where it belongs.
pub async fn print(cx: &Context, args: ConfigArgs) -> Result<u8, CliError> {
    let program = std::env::current_exe().map_err(|source| CliError::Read {
        path: PathBuf::from("/proc/self/exe"),
        source,
    })?;
    // Clients start servers in a folder of their own, so every path must be absolute.
    let folder = std::env::current_dir().unwrap_or_default();
    let config = args.plugins.config(cx)?;
    let _logging = cx.logging(&config, false)?;
    // Loaded here, so that a mistake isn't left for the client to find.
    args.plugins.load(cx, &config).await?;
    if !args.plugins.is_standalone() {
        cx.note_missing_configuration(&config);
    }
    let file = config.origins.file().map(Path::to_owned);
    let snippet = snippet(&args, &program, &folder, file.as_deref());
    cx.stdout.json_pretty(&snippet);
    for name in args.plugins.grants.env.iter().filter(|text| !text.contains('=')) {
        cx.note(&format!(
            "the client must start it with the variable {name}: add `\"env\": {{ \"{name}\": \"…\" }}` beside \"args\""
        ));
    }
    cx.note(match args.client {
        Client::Claude => {
            "add this to .mcp.json in a project (Claude Code), or to claude_desktop_config.json (Claude Desktop: Settings, \
             Developer, Edit Config)"
        }
        Client::Vscode => "add this to .vscode/mcp.json in a workspace, or to what `MCP: Open User Configuration` opens",
    });
    Ok(0)
}

fn snippet(args: &ConfigArgs, program: &Path, folder: &Path, file: Option<&Path>) -> Value {
    let mut arguments = vec!["mcp".to_owned()];
    if let Some(file) = file {
        arguments.extend(["--config".to_owned(), folder.join(file).display().to_string()]);
    }
    arguments.extend(args.plugins.grants.options(&args.plugins.plugin, folder));
    if let Some(approve) = &args.plugins.approve {
        arguments.extend(["--approve".to_owned(), approve.clone()]);
    }
    let program = program.display().to_string();
    match args.client {
        Client::Claude => json!({ "mcpServers": { "cofferdam": { "command": program, "args": arguments } } }),
        Client::Vscode => {
            json!({ "servers": { "cofferdam": { "type": "stdio", "command": program, "args": arguments } } })
        }
    }
}

/// What a client's `.mcp.json` needs for a server that runs at this URL.
pub fn http_snippet(url: &str) -> Value {
    json!({ "mcpServers": { "cofferdam": { "type": "http", "url": url } } })
}

#[cfg(test)]
mod tests {
    use super::super::grants::GrantArgs;
    use super::*;

    #[test]
    fn every_path_is_absolute() {
        let args = ConfigArgs {
            client: Client::Claude,
            plugins: PluginArgs {
                plugin: vec!["a.wasm".to_owned(), "builtin:calculator".to_owned()],
                grants: GrantArgs {
                    allow_http: vec!["https://api.example".to_owned()],
                    ..GrantArgs::default()
                },
                approve: Some("writes".to_owned()),
            },
        };
        let snippet = snippet(&args, Path::new("/bin/cofferdam"), Path::new("/home"), None);
        assert_eq!(
            snippet["mcpServers"]["cofferdam"]["args"],
            json!([
                "mcp",
                "--plugin",
                "/home/a.wasm",
                "--plugin",
                "builtin:calculator",
                "--allow-http",
                "https://api.example",
                "--approve",
                "writes"
            ])
        );
    }

    #[test]
    fn the_configuration_is_named() {
        let args = ConfigArgs {
            client: Client::Vscode,
            plugins: PluginArgs::default(),
        };
        let snippet = snippet(
            &args,
            Path::new("/bin/cofferdam"),
            Path::new("/home"),
            Some(Path::new("c.toml")),
        );
        assert_eq!(
            snippet["servers"]["cofferdam"]["args"],
            json!(["mcp", "--config", "/home/c.toml"])
        );
    }
}
