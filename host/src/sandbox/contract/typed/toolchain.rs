//! Functions that a language's toolchain leaves among a component's exports for itself. They aren't tools.

use wasmtime::component::types::{ComponentFunc, Type};

/// The function by which componentize-qjs gives a component its script, once, when it builds the component. As a tool, it would run
/// any script that a model writes.
const QJS: Known = Known {
    interface: None,
    name: "init",
    first: &[("shim", Kind::Text), ("script", Kind::Text)],
    more: &[("entry-path", Kind::OptionalText), ("disable-gc", Kind::Bool)],
    purpose: "componentize-qjs runs the component's script by it, at build time",
};

/// The function by which componentize-py sets a component's interpreter up. As a tool, it would only crash.
const PYTHON: Known = Known {
    interface: Some("exports"),
    name: "init",
    first: &[("app-name", Kind::Text), ("symbols", Kind::Record)],
    more: &[("stub-wasi", Kind::Bool)],
    purpose: "componentize-py sets the interpreter up by it, at build time",
};

/// A function of a toolchain. Each version has the first parameters, and no version has others than these.
struct Known {
    /// The interface, unless it stands at the root.
    interface: Option<&'static str>,
    name: &'static str,
    first: &'static [(&'static str, Kind)],
    more: &'static [(&'static str, Kind)],
    purpose: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    OptionalText,
    Bool,
    Record,
}

impl Kind {
    fn is_of(self, ty: &Type) -> bool {
        match (self, ty) {
            (Self::OptionalText, Type::Option(some)) => matches!(some.ty(), Type::String),
            _ => matches!(
                (self, ty),
                (Self::Text, Type::String) | (Self::Bool, Type::Bool) | (Self::Record, Type::Record(_))
            ),
        }
    }
}

/// Why an exported function isn't a tool; `None` if it may be one. Only an exact match of interface, name, parameters and types is left
/// out, so that an author's own `init` stays a tool.
pub(super) fn purpose(interface: Option<&str>, name: &str, function: &ComponentFunc) -> Option<&'static str> {
    let is_it = |known: &&Known| known.interface == interface && known.name == name && known.has_type_of(function);
    [QJS, PYTHON].iter().find(is_it).map(|known| known.purpose)
}

impl Known {
    fn has_type_of(&self, function: &ComponentFunc) -> bool {
        let parameters: Vec<(&str, Type)> = function.params().collect();
        let Some((first, more)) = parameters.split_at_checked(self.first.len()) else {
            return false;
        };
        let is = |(name, ty): &(&str, Type), known: &(&str, Kind)| *name == known.0 && known.1.is_of(ty);
        let has_first = first.iter().zip(self.first).all(|(found, known)| is(found, known));
        let is_known = |found: &(&str, Type)| self.more.iter().any(|known| is(found, known));
        let results: Vec<Type> = function.results().collect();
        let is_status = match &results[..] {
            [Type::Result(result)] => result.ok().is_none() && matches!(result.err(), Some(Type::String)),
            _ => false,
        };
        has_first && more.iter().all(is_known) && is_status
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use wasmtime::component::Component;
    use wasmtime::component::types::ComponentItem;

    use super::*;

    /// The function of [`component`], with the types around it.
    const LIFTED: &str = r#"(canon lift (core func $i "f") (memory $i "memory") (realloc (func $i "realloc")))"#;

    /// A component with one function of so many core values, and with these items.
    fn component(flat: usize, items: &str) -> Component {
        let text = format!(
            r#"(component
                (core module $m
                    (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
                    (func (export "f") (param {}) (result i32) i32.const 0))
                (core instance $i (instantiate $m))
                {items})"#,
            "i32 ".repeat(flat)
        );
        Component::new(&wasmtime::Engine::default(), wat::parse_str(text).unwrap()).unwrap()
    }

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
        let declared = declared.join(" ");
        let component = component(
            flat,
            &format!(r#"(func (export "{name}") {declared} (result {result}) {LIFTED})"#),
        );
        let export = component
            .component_type()
            .get_export(component.engine(), name)
            .unwrap()
            .ty;
        let ComponentItem::ComponentFunc(function) = export else {
            panic!("{name} isn't a function");
        };
        purpose(None, name, &function).is_some()
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

    /// Whether a function `init` of an interface is left out, with these parameters and their number of core values.
    fn is_left_out_of(interface: &str, parameters: &str, flat: usize) -> bool {
        let component = component(
            flat,
            &format!(
                r#"(type $record (record (field "names" string)))
                (export $symbols "symbols" (type $record))
                (func $init {parameters} (result (result (error string))) {LIFTED})
                (instance $exports (export "init" (func $init)))
                (export "{interface}" (instance $exports))"#
            ),
        );
        let export = component
            .component_type()
            .get_export(component.engine(), interface)
            .unwrap()
            .ty;
        let ComponentItem::ComponentInstance(instance) = export else {
            panic!("{interface} isn't an instance");
        };
        let ComponentItem::ComponentFunc(function) = instance.get_export(component.engine(), "init").unwrap().ty else {
            panic!("init isn't a function");
        };
        purpose(Some(interface), "init", &function).is_some()
    }

    #[test]
    fn only_the_function_of_componentize_py_is_left_out() {
        let parameters = r#"(param "app-name" string) (param "symbols" $symbols)"#;
        let newer = format!(r#"{parameters} (param "stub-wasi" bool)"#);
        assert!(is_left_out_of("exports", parameters, 4));
        assert!(is_left_out_of("exports", &newer, 5));
        let other = format!(r#"{parameters} (param "city" bool)"#);
        let texts = r#"(param "app-name" string) (param "symbols" string)"#;
        for (interface, parameters, flat) in [
            ("tools", newer.as_str(), 5),
            ("exports", &other, 5),
            ("exports", texts, 4),
            ("exports", r#"(param "app-name" string)"#, 2),
        ] {
            assert!(!is_left_out_of(interface, parameters, flat), "{interface} {parameters}");
        }
    }
}
