//! Computes the cost of one instance of a component from its own sections. Tracks the index spaces through which the sections
//! refer to modules, components, instances and functions.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Instance, Payload,
};

use super::cost::{ADAPTER, CANONICAL, COMPONENT_INSTANCE, Cost, TYPE};
use super::module::ModuleScope;

/// A module or component that is being read. They nest, outermost first.
#[derive(Debug)]
pub(super) enum Scope {
    Module(ModuleScope),
    Component(ComponentScope),
}

/// An item of an index space: the index of its definition in the file, if it is known.
pub(super) type Definition = Option<u32>;

/// A component whose sections are being read.
#[derive(Debug)]
pub(super) struct ComponentScope {
    is_root: bool,
    /// The index spaces. An item takes about as much memory here as its alias takes in the file.
    pub(super) modules: Vec<Definition>,
    pub(super) components: Vec<Definition>,
    instances: Vec<Origin>,
    functions: Vec<Origin>,
    pub(super) cost: ComponentCost,
}

/// Who provides an instance or a function. Calling a function of the host costs less than calling one of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Host,
    Unknown,
}

/// The cost of one instance of a component.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComponentCost {
    pub(super) known: Cost,
    /// Instances of imported modules.
    pub(super) imported_modules: u64,
    /// Whether it instantiates an imported component, which can instantiate anything any number of times.
    pub(super) is_unbounded: bool,
}

impl ComponentCost {
    fn add(&mut self, other: &Self) {
        self.known.add(other.known);
        self.imported_modules = self.imported_modules.saturating_add(other.imported_modules);
        self.is_unbounded |= other.is_unbounded;
    }
}

/// Everything that the file defines, in the order in which the definitions end.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    pub(super) modules: Vec<Cost>,
    pub(super) components: Vec<ComponentCost>,
}

impl ComponentScope {
    pub(super) fn new(is_root: bool) -> Self {
        Self {
            is_root,
            modules: Vec::new(),
            components: Vec::new(),
            instances: Vec::new(),
            functions: Vec::new(),
            cost: ComponentCost {
                known: COMPONENT_INSTANCE,
                imported_modules: 0,
                is_unbounded: false,
            },
        }
    }

    fn instantiate_module(&mut self, index: u32, definitions: &Definitions) {
        match lookup(&self.modules, index).and_then(|at| definitions.modules.get(at as usize)) {
            Some(cost) => self.cost.known.add(*cost),
            None => self.cost.imported_modules = self.cost.imported_modules.saturating_add(1),
        }
    }

    fn instantiate_component(&mut self, index: u32, definitions: &Definitions) {
        match lookup(&self.components, index).and_then(|at| definitions.components.get(at as usize)) {
            Some(cost) => self.cost.add(cost),
            None => self.cost.is_unbounded = true,
        }
        self.instances.push(Origin::Unknown);
    }

    /// The origin of imports. Only the root's come from the host; a nested component gets its own from another component.
    fn imported(&self) -> Origin {
        match self.is_root {
            true => Origin::Host,
            false => Origin::Unknown,
        }
    }

    fn canonical(&mut self, function: &CanonicalFunction) {
        self.cost.known.add(Cost::of(1, CANONICAL));
        match function {
            CanonicalFunction::Lift { .. } => self.functions.push(Origin::Unknown),
            CanonicalFunction::Lower { func_index, .. } if origin(&self.functions, *func_index) == Origin::Unknown => {
                self.cost.known.add(ADAPTER);
            }
            _ => {}
        }
    }

    /// An export adds the item to its index space again, with a new index.
    fn export(&mut self, kind: ComponentExternalKind, index: u32) {
        match kind {
            ComponentExternalKind::Module => self.modules.push(lookup(&self.modules, index)),
            ComponentExternalKind::Component => self.components.push(lookup(&self.components, index)),
            ComponentExternalKind::Instance => self.instances.push(origin(&self.instances, index)),
            ComponentExternalKind::Func => self.functions.push(origin(&self.functions, index)),
            ComponentExternalKind::Type | ComponentExternalKind::Value => {}
        }
    }
}

fn lookup(space: &[Definition], index: u32) -> Definition {
    space.get(index as usize).copied().flatten()
}

fn origin(space: &[Origin], index: u32) -> Origin {
    space.get(index as usize).copied().unwrap_or(Origin::Unknown)
}

/// Reads a section of the innermost component in `scopes`.
pub(super) fn read(
    payload: &Payload<'_>,
    scopes: &mut [Scope],
    definitions: &Definitions,
) -> Result<(), BinaryReaderError> {
    if let Payload::ComponentAliasSection(section) = payload {
        for alias in section.clone() {
            read_alias(&alias?, scopes);
        }
        return Ok(());
    }
    let Some(Scope::Component(scope)) = scopes.last_mut() else {
        return Ok(());
    };
    match payload {
        Payload::InstanceSection(section) => {
            for instance in section.clone() {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    scope.instantiate_module(module_index, definitions);
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section.clone() {
                match instance? {
                    ComponentInstance::Instantiate { component_index, .. } => {
                        scope.instantiate_component(component_index, definitions);
                    }
                    // Only groups existing items.
                    ComponentInstance::FromExports(_) => scope.instances.push(Origin::Unknown),
                }
            }
        }
        Payload::ComponentCanonicalSection(section) => {
            for function in section.clone() {
                scope.canonical(&function?);
            }
        }
        // Counts types without parsing them: parsing takes stack in proportion to their nesting, and these bytes aren't validated
        // yet.
        Payload::ComponentTypeSection(section) => scope.cost.known.add(Cost::of(section.count().into(), TYPE)),
        Payload::ComponentImportSection(section) => {
            for import in section.clone() {
                let origin = scope.imported();
                match import?.ty {
                    ComponentTypeRef::Module(_) => scope.modules.push(None),
                    ComponentTypeRef::Component(_) => scope.components.push(None),
                    ComponentTypeRef::Instance(_) => scope.instances.push(origin),
                    ComponentTypeRef::Func(_) => scope.functions.push(origin),
                    ComponentTypeRef::Type(_) => scope.cost.known.add(Cost::of(1, TYPE)),
                    ComponentTypeRef::Value(_) => {}
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section.clone() {
                let export = export?;
                scope.export(export.kind, export.index);
            }
        }
        _ => {}
    }
    Ok(())
}

fn read_alias(alias: &ComponentAlias<'_>, scopes: &mut [Scope]) {
    let outer = |count: u32| {
        let at = scopes.len().checked_sub(1)?.checked_sub(count as usize)?;
        match scopes.get(at)? {
            Scope::Component(scope) => Some(scope),
            Scope::Module(_) => None,
        }
    };
    match *alias {
        ComponentAlias::Outer { kind, count, index } => {
            let found = match kind {
                ComponentOuterAliasKind::CoreModule => outer(count).and_then(|scope| lookup(&scope.modules, index)),
                ComponentOuterAliasKind::Component => outer(count).and_then(|scope| lookup(&scope.components, index)),
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => None,
            };
            let Some(Scope::Component(scope)) = scopes.last_mut() else {
                return;
            };
            match kind {
                ComponentOuterAliasKind::CoreModule => scope.modules.push(found),
                ComponentOuterAliasKind::Component => scope.components.push(found),
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
            }
        }
        ComponentAlias::InstanceExport {
            kind, instance_index, ..
        } => {
            let Some(Scope::Component(scope)) = scopes.last_mut() else {
                return;
            };
            let origin = origin(&scope.instances, instance_index);
            match kind {
                ComponentExternalKind::Module => scope.modules.push(None),
                ComponentExternalKind::Component => scope.components.push(None),
                ComponentExternalKind::Instance => scope.instances.push(origin),
                ComponentExternalKind::Func => scope.functions.push(origin),
                ComponentExternalKind::Type | ComponentExternalKind::Value => {}
            }
        }
        ComponentAlias::CoreInstanceExport { .. } => {}
    }
}
