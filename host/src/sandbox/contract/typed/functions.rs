//! Finds the functions of a component that can be tools.

use std::collections::{HashMap, HashSet};

use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentItem};

use super::docs::Docs;
use super::function::Function;
use super::named::Named;
use super::shape::{Field, Shape, ShapeReader, unique_keys};
use super::{names, toolchain};
use crate::sandbox::contract::ToolInfo;
use crate::sandbox::limits::Limits;
use crate::untrusted::Untrusted;

/// Functions of one component whose types are read. A component with more than this can't be loaded.
const MAX_FUNCTIONS: usize = 300;

/// The tools that a component's functions are.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Typed {
    functions: Vec<Function>,
    positions: HashMap<String, usize>,
    unusable: Vec<UnusableExport>,
    warnings: Vec<String>,
}

/// An exported function that can't be a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableExport {
    /// The name that the tool would have.
    pub tool: Untrusted,
    pub reason: String,
}

/// A function as the component exports it.
struct Export<'a> {
    /// The interface, unless it stands at the root.
    interface: Option<&'a str>,
    name: &'a str,
}

/// Whether the component exports a function that could be a tool.
pub(in crate::sandbox) fn exports_functions(component: &Component) -> bool {
    let mut found = false;
    each_function(component, |_, _| {
        found = true;
        false
    });
    found
}

/// The exports that a toolchain uses at build time, and what for. They aren't tools.
pub(in crate::sandbox) fn toolchain_exports(component: &Component) -> Vec<(Untrusted, &'static str)> {
    let mut found = Vec::new();
    each_export(component, |Export { interface, name }, function| {
        let purpose = toolchain::purpose(interface, name, function);
        found.extend(purpose.map(|purpose| (names::path(interface, name).into(), purpose)));
        true
    });
    found
}

/// Calls `visit` for each function that can be a tool, in the order of the exports, until it returns false.
fn each_function(component: &Component, mut visit: impl FnMut(Export<'_>, &ComponentFunc) -> bool) {
    each_export(component, |export, function| {
        toolchain::purpose(export.interface, export.name, function).is_some() || visit(export, function)
    });
}

/// Calls `visit` for each function of a candidate in the order of the exports, until it returns false.
fn each_export(component: &Component, mut visit: impl FnMut(Export<'_>, &ComponentFunc) -> bool) {
    let engine = component.engine();
    let ty = component.component_type();
    for (name, export) in ty.exports(engine).filter(|(name, _)| names::is_candidate(name)) {
        match export.ty {
            ComponentItem::ComponentFunc(function) if !visit(Export { interface: None, name }, &function) => return,
            ComponentItem::ComponentInstance(instance) => {
                for (inner, export) in instance.exports(engine) {
                    let interface = Some(name);
                    if let ComponentItem::ComponentFunc(function) = export.ty
                        && !visit(Export { interface, name: inner }, &function)
                    {
                        return;
                    }
                }
            }
            _ => {}
        }
    }
}

impl Typed {
    /// Reads the types of all functions. One that can't be a tool is left out alone.
    pub(in crate::sandbox) fn find(component: &Component, docs: &Docs, limits: &Limits) -> Self {
        let mut found = Self {
            warnings: docs.problems().to_vec(),
            ..Self::default()
        };
        let mut visited = 0;
        let mut names = HashSet::new();
        each_function(component, |export, function| {
            visited += 1;
            let short = names::tool(export.interface, export.name);
            // One whose name is taken goes by its path, under which the operator can name it.
            let tool = match names.insert(short.clone()) {
                true => short,
                false => names::path(export.interface, export.name),
            };
            let made = if visited > MAX_FUNCTIONS {
                Err(format!(
                    "{MAX_FUNCTIONS} functions before it were read, the most of one component"
                ))
            } else {
                read(component, tool.clone(), &export, function, docs, limits)
            };
            match made {
                Ok(function) => {
                    found.positions.insert(tool, found.functions.len());
                    found.functions.push(function);
                }
                Err(reason) => found.unusable.push(UnusableExport {
                    tool: tool.into(),
                    reason,
                }),
            }
            visited <= MAX_FUNCTIONS
        });
        found
    }

    pub(in crate::sandbox) fn get(&self, tool: &str) -> Option<&Function> {
        self.positions
            .get(tool)
            .and_then(|position| self.functions.get(*position))
    }

    pub(in crate::sandbox) fn tools(&self) -> impl Iterator<Item = ToolInfo> {
        self.functions.iter().map(Function::info)
    }

    pub(in crate::sandbox) fn unusable(&self) -> &[UnusableExport] {
        &self.unusable
    }

    /// Documentation that isn't used, and why.
    pub(in crate::sandbox) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn read(
    component: &Component,
    tool: String,
    export: &Export<'_>,
    function: &ComponentFunc,
    docs: &Docs,
    limits: &Limits,
) -> Result<Function, String> {
    let &Export { interface, name } = export;
    if names::is_special(name) {
        return Err("it belongs to a resource, which can't outlive a call".to_owned());
    }
    if function.async_() {
        return Err("it is async".to_owned());
    }
    let mut types = ShapeReader::default();
    let mut parameters = Vec::new();
    for (parameter, ty) in function.params() {
        let read = types.name(parameter).and_then(|_| types.read(&ty));
        let shape = read.map_err(|reason| {
            let parameter = Untrusted::from(parameter).display();
            format!("the type of its parameter `{parameter}` {reason}")
        })?;
        parameters.push(Field::new(parameter, shape));
    }
    let parameters = match parameters.is_empty() {
        true => Named::default(),
        false => unique_keys(parameters).map_err(|reason| format!("its parameter list {reason}"))?,
    };
    let mut results = function.results();
    let result: Option<Shape> = results
        .next()
        .map(|ty| types.read(&ty))
        .transpose()
        .map_err(|reason| format!("the type of its result {reason}"))?;
    if results.next().is_some() {
        return Err("it has more than one result".to_owned());
    }
    let instance = interface.map(|interface| component.get_export_index(None, interface));
    let index = match instance {
        None => component.get_export_index(None, name),
        Some(instance) => instance.and_then(|instance| component.get_export_index(Some(&instance), name)),
    };
    let index = index.ok_or_else(|| "the engine doesn't find it".to_owned())?;
    let docs = docs.function(interface, name);
    Function::new(tool, name, index, parameters, result, docs, limits)
}
