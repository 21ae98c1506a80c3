//! Names: which exports are looked at, and what their functions are called.

use crate::sandbox::contract::INTERFACE;

/// The name in snake_case, as JSON and models write names.
pub(super) fn snake_case(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether functions of this export can be tools. WASI's interfaces are a program's plumbing, and the contract's own interface
/// is the other way to be a tool.
pub(super) fn is_candidate(export: &str) -> bool {
    let package = INTERFACE.split('/').next().unwrap_or_default();
    !export.starts_with("wasi:") && !export.strip_prefix(package).is_some_and(|rest| rest.starts_with('/'))
}

/// The interface's own name: `forecast` of `example:weather/forecast@1.0.0`.
pub(super) fn interface(export: &str) -> &str {
    let name = export.rsplit_once('/').map_or(export, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// The tool's name for a function at the component's root, or of an interface.
pub(super) fn tool(export: Option<&str>, function: &str) -> String {
    match export {
        None => snake_case(function),
        Some(export) => snake_case(&format!("{}_{function}", interface(export))),
    }
}

/// How people and documentation name a function: `add`, or `example:weather/forecast@1.0.0#get-forecast`.
pub(super) fn path(export: Option<&str>, function: &str) -> String {
    match export {
        None => function.to_owned(),
        Some(export) => format!("{export}#{function}"),
    }
}

/// Whether it is a method, a constructor or a static function of a resource, or another function with a special name.
pub(super) fn is_special(function: &str) -> bool {
    function.starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_named_after_their_interface_and_function() {
        assert_eq!(tool(None, "a-b"), "a_b");
        for export in ["example:weather/forecast@1.0.0", "example:weather/forecast", "forecast"] {
            assert_eq!(tool(Some(export), "get-forecast"), "forecast_get_forecast", "{export}");
        }
        assert_eq!(tool(Some("a:b/my-api@0.1.0-rc.1"), "x"), "my_api_x");
    }

    #[test]
    fn wasi_and_the_contract_are_no_candidates() {
        for export in [
            "wasi:cli/run@0.2.0",
            "wasi:http/incoming-handler@0.2.0",
            INTERFACE,
            "cofferdam:tool/tools@9.0.0",
        ] {
            assert!(!is_candidate(export), "{export}");
        }
        for export in [
            "run",
            "wasi",
            "cofferdam:toolbox/tools@0.1.0",
            "example:weather/forecast@1.0.0",
        ] {
            assert!(is_candidate(export), "{export}");
        }
    }
}
