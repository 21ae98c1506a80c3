//! What one instance of a component takes, as far as the component's own sections tell: the index spaces through which
//! they refer to modules, components, instances and functions.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Instance, Payload,
};

use super::cost::{ADAPTER, CANONICAL, COMPONENT_INSTANCE, Cost, TYPE};
use super::module::ModuleScope;

/// What is being read, outermost first.
#[derive(Debug)]
pub(super) enum Scope {
    Module(ModuleScope),
    Component(ComponentScope),
}

/// An item of an index space: which definition of the file it is, if the file tells.
pub(super) type Definition = Option<u32>;

/// A component whose sections are being read.
#[derive(Debug)]
pub(super) struct ComponentScope {
    is_root: bool,
    /// The index spaces. Aliases are short, so an item of one takes no more memory here than it takes in the file.
    pub(super) modules: Vec<Definition>,
    pub(super) components: Vec<Definition>,
    instances: Vec<Origin>,
    functions: Vec<Origin>,
    pub(super) cost: ComponentCost,
}

/// Whose an instance or a function is. To call a function of the host takes less than to call one of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Host,
    Unknown,
}

/// What one instance of a component takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComponentCost {
    pub(super) known: Cost,
    /// Instances of modules that it is handed.
    pub(super) foreign_modules: u64,
    /// Whether it instantiates a component that it is handed, which may instantiate anything any number of times.
    pub(super) is_unbounded: bool,
}

impl ComponentCost {
    fn add(&mut self, other: &Self) {
        self.known.add(other.known);
        self.foreign_modules = self.foreign_modules.saturating_add(other.foreign_modules);
        self.is_unbounded |= other.is_unbounded;
    }
}

/// All that the file defines, in the order in which definitions end.
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
                foreign_modules: 0,
                is_unbounded: false,
            },
        }
    }

    fn instantiate_module(&mut self, index: u32, definitions: &Definitions) {
        match lookup(&self.modules, index).and_then(|at| definitions.modules.get(at as usize)) {
            Some(cost) => self.cost.known.add(*cost),
            None => self.cost.foreign_modules = self.cost.foreign_modules.saturating_add(1),
        }
    }

    fn instantiate_component(&mut self, index: u32, definitions: &Definitions) {
        match lookup(&self.components, index).and_then(|at| definitions.components.get(at as usize)) {
            Some(cost) => self.cost.add(cost),
            None => self.cost.is_unbounded = true,
        }
        self.instances.push(Origin::Unknown);
    }

    /// Of the root's imports and what they export, for those of other components are what these are handed.
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

    /// An export gives the item another index.
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

/// Reads a section of the component that is innermost in `scopes`.
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
                    // A bag of what there is already.
                    ComponentInstance::FromExports(_) => scope.instances.push(Origin::Unknown),
                }
            }
        }
        Payload::ComponentCanonicalSection(section) => {
            for function in section.clone() {
                scope.canonical(&function?);
            }
        }
        // Types are counted and not read: to read a type that is nested in others takes as much stack as it is deep, and
        // nobody has checked these bytes.
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
