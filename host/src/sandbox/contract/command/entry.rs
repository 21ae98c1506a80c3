//! The function `wasi:cli/run` of a component.

use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi::I32Exit;

/// The interface without its version. Toolchains export the version that they were built with, and all of 0.2 are the same.
const INTERFACE: &str = "wasi:cli/run@0.2.";
const FUNCTION: &str = "run";

/// Whether an export of this name makes the component a command.
pub(in crate::sandbox) fn is_run(name: &str) -> bool {
    let patch = name.strip_prefix(INTERFACE);
    patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The name of the export that makes the component a command.
pub(in crate::sandbox) fn export_name(component: &Component) -> Option<String> {
    let exports = component.component_type();
    let mut names = exports.exports(component.engine()).map(|(name, _)| name);
    names.find(|name| is_run(name)).map(str::to_owned)
}

/// The function of a component, looked up once per plugin.
#[derive(Clone)]
pub(in crate::sandbox) struct Entry {
    index: ComponentExportIndex,
    /// Whether the host adapted the program, which was made for WASI 0.1.
    pub(in crate::sandbox) is_adapted: bool,
}

type Run = TypedFunc<(), (Result<(), ()>,)>;

impl Entry {
    /// `None` if the component isn't a command. Checks the function's type as well, because a component can give its interface
    /// any name.
    pub(in crate::sandbox) fn find(component: &Component, is_adapted: bool) -> Option<Self> {
        let interface = component.get_export_index(None, export_name(component)?.as_str())?;
        let (item, index) = component.get_export(Some(&interface), FUNCTION)?;
        let ComponentItem::ComponentFunc(function) = item else {
            return None;
        };
        let is_status = |result: &Type| match result {
            Type::Result(result) => result.ok().is_none() && result.err().is_none(),
            _ => false,
        };
        let results: Vec<Type> = function.results().collect();
        let fits =
            !function.async_() && function.params().len() == 0 && results.len() == 1 && results.iter().all(is_status);
        fits.then_some(Self { index, is_adapted })
    }

    pub(in crate::sandbox) fn load(&self, store: impl AsContextMut, instance: &Instance) -> wasmtime::Result<Run> {
        instance.get_typed_func(store, self.index)
    }
}

/// Runs the program to its end and returns its exit status. To exit is the ordinary end of a program, so it is no error here.
pub(in crate::sandbox) async fn run_to_exit<T: Send + 'static>(store: &mut Store<T>, run: Run) -> wasmtime::Result<u8> {
    match run.call_async(store, ()).await {
        Ok((Ok(()),)) => Ok(0),
        Ok((Err(()),)) => Ok(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            // The interface has a byte, so nothing is lost.
            Some(exit) => Ok(u8::try_from(exit.0).unwrap_or(1)),
            None => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn any_patch_version_of_wasi_0_2_is_a_command() {
        for name in ["wasi:cli/run@0.2.0", "wasi:cli/run@0.2.6", "wasi:cli/run@0.2.12"] {
            assert!(is_run(name), "{name}");
        }
        for name in [
            "wasi:cli/run",
            "wasi:cli/run@0.2.",
            "wasi:cli/run@0.3.0",
            "wasi:cli/run@0.2.x",
            "run",
        ] {
            assert!(!is_run(name), "{name}");
        }
    }

    #[test]
    fn an_export_of_another_type_is_no_command() {
        let engine = wasmtime::Engine::default();
        let find = |result: &str, core: &str| {
            let text = format!(
                r#"(component
                    (core module $m (func (export "run") {core}))
                    (core instance $i (instantiate $m))
                    (func $run {result} (canon lift (core func $i "run")))
                    (instance $interface (export "run" (func $run)))
                    (export "wasi:cli/run@0.2.3" (instance $interface)))"#
            );
            let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
            Entry::find(&component, false).is_some()
        };
        assert!(find("(result (result))", "(result i32) (i32.const 0)"));
        assert!(!find("(result u32)", "(result i32) (i32.const 0)"));
        assert!(!find("", ""));
    }
}
