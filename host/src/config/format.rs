//! String values with a syntax of their own. The schema names the syntax as a `format`; this table has the check and the
//! description for messages.

use url::Url;

use super::problem::ValueProblem;
use super::redact::{looks_secret, quote};
use super::{command, days, duration, size, usd};
use crate::agent::check_tenant;
use crate::model::{ProxySetting, ProxyUrl};
use crate::tools::{BUILTIN_NAMES, ComponentSource, is_tool_name};

pub(super) struct Format {
    pub(super) name: &'static str,
    /// Completes "expected …".
    pub(super) expected: &'static str,
    pub(super) check: fn(&str) -> Result<(), ValueProblem>,
}

pub(super) const NAME: &str = "cofferdam-name";
pub(super) const TENANT: &str = "cofferdam-tenant";
pub(super) const ENV_NAME: &str = "cofferdam-env-name";
pub(super) const BASE_URL: &str = "cofferdam-base-url";
pub(super) const PROXY: &str = "cofferdam-proxy";
pub(super) const COMPONENT: &str = "cofferdam-component";
pub(super) const DIGEST: &str = "cofferdam-digest";
pub(super) const ARGUMENT: &str = "cofferdam-argument";
pub(super) const STDIN: &str = "cofferdam-stdin";
pub(super) const INPUT_SCHEMA: &str = "cofferdam-input-schema";

pub(super) const FORMATS: [Format; 15] = [
    Format {
        name: days::FORMAT,
        expected: "a number of days such as \"30d\"",
        check: |text| text.parse::<days::DaysText>().map(drop),
    },
    Format {
        name: duration::FORMAT,
        expected: "a duration such as \"10s\"",
        check: |text| text.parse::<duration::DurationText>().map(drop),
    },
    Format {
        name: size::FORMAT,
        expected: "a size such as \"128MiB\", or a whole number of bytes",
        check: |text| text.parse::<size::ByteSize>().map(drop),
    },
    Format {
        name: usd::FORMAT,
        expected: "an amount in US dollars such as 1.50",
        check: |text| text.parse::<usd::Usd>().map(drop),
    },
    Format {
        name: usd::LIMIT_FORMAT,
        expected: "an amount in US dollars such as 1.50, or \"unlimited\"",
        check: |text| text.parse::<usd::UsdLimit>().map(drop),
    },
    Format {
        name: NAME,
        expected: "a name (a string)",
        check: check_name,
    },
    Format {
        name: TENANT,
        expected: "the name of a tenant (a string)",
        check: check_tenant_name,
    },
    Format {
        name: ENV_NAME,
        expected: "the name of an environment variable (a string)",
        check: check_env_name,
    },
    Format {
        name: BASE_URL,
        expected: "a URL (a string)",
        check: |text| base_url(text).map(drop),
    },
    Format {
        name: PROXY,
        expected: "the URL of a proxy, or \"none\" (a string)",
        check: |text| proxy(text).map(drop),
    },
    Format {
        name: COMPONENT,
        expected: "a path or \"builtin:NAME\" (a string)",
        check: check_component,
    },
    Format {
        name: DIGEST,
        expected: "a digest \"sha256:…\" (a string)",
        check: check_digest,
    },
    Format {
        name: ARGUMENT,
        expected: "an argument (a string), or a list of arguments that belong together",
        check: command::check_argument,
    },
    Format {
        name: STDIN,
        expected: "\"json\", \"none\" or \"${property}\"",
        check: command::check_stdin,
    },
    Format {
        name: INPUT_SCHEMA,
        expected: "a JSON Schema as JSON text (a string)",
        check: command::check_input_schema,
    },
];

pub(super) fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// Plugin names follow the rules of tool names, which the model's API sets.
pub(super) fn check_name(name: &str) -> Result<(), ValueProblem> {
    if is_tool_name(name) {
        return Ok(());
    }
    Err(ValueProblem::new(format!("{} is not a legal name", quote(name)))
        .hint("use 1 to 64 letters, digits, `_` and `-`, without accents"))
}

pub(super) fn check_tenant_name(name: &str) -> Result<(), ValueProblem> {
    check_tenant(name).map_err(|error| ValueProblem::new(error.to_string()))
}

fn check_env_name(name: &str) -> Result<(), ValueProblem> {
    let mut bytes = name.bytes();
    let starts_well = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if starts_well && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !looks_secret(name) {
        return Ok(());
    }
    // The value may be the API key itself, so the message doesn't quote it.
    Err(
        ValueProblem::new("is not the name of an environment variable (the value is not shown)")
            .hint("write the variable's name, such as \"ANTHROPIC_API_KEY\", and put the key into that variable"),
    )
}

pub(super) fn base_url(text: &str) -> Result<Url, ValueProblem> {
    let problem = |why: &str| {
        ValueProblem::new(format!("{} is not a usable URL: {why}", quote(text)))
            .hint("write scheme, host and, where needed, port and path, such as \"https://api.anthropic.com\"")
    };
    let url = Url::parse(text).map_err(|error| problem(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(problem("it must start with http:// or https://"));
    }
    if !url.has_host() {
        return Err(problem("it has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ValueProblem::new(
            "a URL must not contain a user name or a password (the value is not shown)",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(problem("a query or fragment is not allowed"));
    }
    Ok(url)
}

/// What stands for no proxy.
const NO_PROXY: &str = "none";

/// The message never quotes the value, which may contain a password.
pub(super) fn proxy(text: &str) -> Result<ProxySetting, ValueProblem> {
    match text {
        "" => Ok(ProxySetting::Environment),
        NO_PROXY => Ok(ProxySetting::None),
        text => ProxyUrl::parse(text).map(ProxySetting::Url).map_err(|problem| {
            ValueProblem::new(format!("isn't a usable proxy: it {problem} (the value is not shown)"))
                .hint("write a URL such as \"http://proxy:3128\", or \"none\"")
        }),
    }
}

/// As in the file, but without user name and password.
pub(super) fn proxy_text(proxy: &ProxySetting) -> String {
    match proxy {
        ProxySetting::Environment => String::new(),
        ProxySetting::None => NO_PROXY.to_owned(),
        ProxySetting::Url(url) => format!("{url:?}"),
    }
}

fn check_component(text: &str) -> Result<(), ValueProblem> {
    if text.is_empty() {
        return Err(ValueProblem::new("is empty").hint("write the path of a component, or \"builtin:NAME\""));
    }
    match ComponentSource::parse(text) {
        ComponentSource::Builtin(name) if !BUILTIN_NAMES.contains(&name.as_str()) => {
            let known: Vec<_> = BUILTIN_NAMES
                .iter()
                .map(|name| format!("`{}{name}`", ComponentSource::BUILTIN_PREFIX))
                .collect();
            Err(
                ValueProblem::new(format!("there is no built-in plugin {}", quote(&name)))
                    .hint(format!("the built-in plugins are {}", known.join(", "))),
            )
        }
        _ => Ok(()),
    }
}

fn check_digest(text: &str) -> Result<(), ValueProblem> {
    const HEX_DIGITS: usize = 64;
    let is_digest = |hex: &str| hex.len() == HEX_DIGITS && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.is_empty() || text.strip_prefix("sha256:").is_some_and(is_digest) {
        return Ok(());
    }
    Err(ValueProblem::new(format!("{} is not a digest", quote(text))).hint(
        "use `sha256:` and 64 hexadecimal digits, as `cofferdam tool inspect` prints it, or leave it empty for no pin",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message for each text; empty if the text is valid.
    fn messages<const N: usize>(name: &str, texts: [&str; N]) -> [String; N] {
        let check = find(name).map(|format| format.check);
        texts.map(|text| {
            check
                .and_then(|check| check(text).err())
                .map(|problem| problem.message)
                .unwrap_or_default()
        })
    }

    #[test]
    fn names() {
        assert_eq!(messages(NAME, ["weather", "A-b_9"]), ["", ""]);
        assert_eq!(
            messages(NAME, ["", "a b", "é"]),
            [
                "`` is not a legal name",
                "`a b` is not a legal name",
                "`é` is not a legal name"
            ]
        );
        assert_eq!(messages(TENANT, ["acme.eu_1-x"]), [""]);
        for message in messages(TENANT, ["", "a b", "a/b"]) {
            assert!(message.contains("isn't a valid tenant name"), "{message}");
        }
        assert!(check_name(&"x".repeat(64)).is_ok());
        assert!(check_name(&"x".repeat(65)).is_err());
    }

    #[test]
    fn an_api_key_given_as_a_variable_name_is_not_shown() {
        assert_eq!(messages(ENV_NAME, ["ANTHROPIC_API_KEY", "_x"]), ["", ""]);
        for message in messages(
            ENV_NAME,
            ["sk-ant-api03-abcdefgh", "", "9x", "AbCdEfGh1234567890IjKlMnOp"],
        ) {
            assert_eq!(
                message,
                "is not the name of an environment variable (the value is not shown)"
            );
        }
    }

    #[test]
    fn urls() {
        assert_eq!(
            messages(BASE_URL, ["https://api.anthropic.com", "http://[::1]:8080/v1/"]),
            ["", ""]
        );
        for (text, why) in [
            ("", "relative URL"),
            ("api.anthropic.com", "relative URL"),
            ("ftp://x/", "http:// or https://"),
            ("https://", "host"),
            ("https://u:p@x/", "not shown"),
            ("https://x/?q=1", "a query"),
        ] {
            assert!(messages(BASE_URL, [text])[0].contains(why), "{text}");
        }
    }

    #[test]
    fn proxies() {
        assert_eq!(
            messages(
                PROXY,
                ["", "none", "http://u:p@proxy:3128", "proxy:3128", "socks5h://s"]
            ),
            ["", "", "", "", ""]
        );
        for message in messages(PROXY, ["ftp://u:hunter2@x", "http://u:hunter2@x/path"]) {
            assert!(
                message.contains("isn't a usable proxy") && !message.contains("hunter2"),
                "{message}"
            );
        }
        let with_password = proxy("u:hunter2@x:1").unwrap_or_default();
        assert_eq!(proxy_text(&with_password), "http://x:1");
        assert!(!format!("{with_password:?}").contains("hunter2"));
    }

    #[test]
    fn digests_and_components() {
        let digest = format!("sha256:{}", "0aF".repeat(22).split_at(64).0);
        assert_eq!(messages(DIGEST, ["", &digest]), ["", ""]);
        assert_eq!(messages(DIGEST, ["sha256:abc"]), ["`sha256:abc` is not a digest"]);
        assert!(check_digest(&digest.replace("sha256", "sha512")).is_err());
        assert_eq!(messages(COMPONENT, ["builtin:weather", "a/b.wasm"]), ["", ""]);
        assert_eq!(
            messages(COMPONENT, ["", "builtin:wether"]),
            ["is empty", "there is no built-in plugin `wether`"]
        );
    }
}
