//! Functions that a language's toolchain leaves among a component's exports for itself. They aren't tools.

use wasmtime::component::types::{ComponentFunc, Type};

/// The function by which componentize-qjs gives a component its script, once, when it builds the component. As a tool, it would run
/// any script that a model writes.
const QJS_INIT: &str = "init";
/// Its parameters. Each version has the first two, and no version has others than these.
const QJS_PARAMETERS: [&str; 4] = ["shim", "script", "entry-path", "disable-gc"];

/// Why the function of this name, exported at the component's root, isn't a tool; `None` if it may be one. Only an exact match of
/// name, parameters and types is left out, so that an author's own `init` stays a tool.
pub(super) fn purpose(name: &str, function: &ComponentFunc) -> Option<&'static str> {
    let parameters: Vec<(&str, Type)> = function.params().collect();
    let has_script = matches!(parameters[..], [("shim", Type::String), ("script", Type::String), ..]);
    let is_known = |(name, ty): &(&str, Type)| match *name {
        "shim" | "script" => matches!(ty, Type::String),
        "entry-path" => matches!(ty, Type::Option(path) if matches!(path.ty(), Type::String)),
        name => QJS_PARAMETERS.contains(&name) && matches!(ty, Type::Bool),
    };
    let results: Vec<Type> = function.results().collect();
    let is_status = match &results[..] {
        [Type::Result(result)] => result.ok().is_none() && matches!(result.err(), Some(Type::String)),
        _ => false,
    };
    (name == QJS_INIT && has_script && parameters.iter().all(is_known) && is_status)
        .then_some("componentize-qjs runs the component's script by it, at build time")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use wasmtime::component::Component;
    use wasmtime::component::types::ComponentItem;

    use super::*;

    /// Whether a function of this name and type is left out.
    fn is_left_out(name: &str, parameters: &str, result: &str) -> bool {
        let parameters: Vec<&str> = parameters.split(", ").collect();
        // Core values of each type: a string is a pointer and a length.
        let flat = parameters.iter().map(|parameter| match *parameter {
            parameter if parameter.ends_with("(option string)") => 3,
            parameter if parameter.ends_with("string") => 2,
            _ => 1,
        });
        let flat: usize = flat.sum();
        let declared: Vec<String> = parameters
            .iter()
            .map(|parameter| format!("(param {parameter})"))
            .collect();
        let text = format!(
            r#"(component
                (core module $m
                    (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
                    (func (export "f") (param {}) (result i32) i32.const 0))
                (core instance $i (instantiate $m))
                (func (export "{name}") {} (result {result})
                    (canon lift (core func $i "f") (memory $i "memory") (realloc (func $i "realloc")))))"#,
            "i32 ".repeat(flat),
            declared.join(" ")
        );
        let engine = wasmtime::Engine::default();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let export = component.component_type().get_export(&engine, name).unwrap().ty;
        let ComponentItem::ComponentFunc(function) = export else {
            panic!("{name} isn't a function");
        };
        purpose(name, &function).is_some()
    }

    #[test]
    fn only_the_function_of_componentize_qjs_is_left_out() {
        let result = "(result (error string))";
        let parameters = r#""shim" string, "script" string, "entry-path" (option string), "disable-gc" bool"#;
        assert!(is_left_out("init", parameters, result));
        assert!(is_left_out("init", r#""shim" string, "script" string"#, result));
        for (name, parameters, result) in [
            ("start", parameters, result),
            ("init", r#""script" string, "shim" string"#, result),
            ("init", r#""shim" string"#, result),
            ("init", r#""shim" string, "script" u32"#, result),
            ("init", r#""shim" string, "script" string, "city" string"#, result),
            ("init", r#""shim" string, "script" string, "city" bool"#, result),
            ("init", parameters, "u32"),
            ("init", parameters, "(result u32 (error string))"),
        ] {
            assert!(!is_left_out(name, parameters, result), "{name} {parameters} {result}");
        }
    }
}
