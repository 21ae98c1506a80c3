//! How much the engine writes to make one instance of a component, before any of its code runs: segments copied into
//! memories and tables, records of functions and globals. No limit of a running call sees that, and nothing can interrupt
//! it, so it is added up when a component is loaded.
//!
//! The sum is exact where a component instantiates what it defines, as every toolchain's output does, and an upper bound
//! where it instantiates a module that was handed to it.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentType, ComponentTypeRef, DataKind, ElementItems, ElementKind, Instance, Parser, Payload,
};

/// Bytes per element of an active segment.
const ELEMENT: u64 = 16;
/// Bytes per function, global, table, memory or import that an instance keeps a record of.
const RECORD: u64 = 32;

/// Bytes that making one instance of the component writes. `bytes` must be a valid component.
///
/// # Errors
///
/// Where the bytes cannot be read.
pub(in crate::sandbox) fn bytes_written(bytes: &[u8]) -> Result<u64, BinaryReaderError> {
    let mut scopes: Vec<Scope> = Vec::new();
    let mut largest_module = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match (&payload, scopes.last_mut()) {
            (Payload::Version { encoding, .. }, _) => scopes.push(match encoding {
                wasmparser::Encoding::Module => Scope::Module(0),
                wasmparser::Encoding::Component => Scope::Component(ComponentScope::default()),
            }),
            (Payload::End(_), _) => {
                let ended = scopes.pop();
                let Some(Scope::Component(parent)) = scopes.last_mut() else {
                    let Some(Scope::Component(root)) = ended else {
                        return Ok(0);
                    };
                    return Ok(root.cost.bytes(largest_module));
                };
                match ended {
                    Some(Scope::Module(bytes)) => {
                        largest_module = largest_module.max(bytes);
                        parent.modules.push(Cost::known(bytes));
                    }
                    Some(Scope::Component(child)) => parent.components.push(child.cost),
                    None => {}
                }
            }
            (payload, Some(Scope::Module(bytes))) => *bytes = bytes.saturating_add(module_part(payload)?),
            (payload, Some(Scope::Component(_))) => component_part(payload, &mut scopes)?,
            (_, None) => {}
        }
    }
    Ok(0)
}

/// What is being read, outermost first.
enum Scope {
    Module(u64),
    Component(ComponentScope),
}

#[derive(Default)]
struct ComponentScope {
    /// The index spaces that instances refer to: what one instance of each costs.
    modules: Vec<Cost>,
    components: Vec<Cost>,
    /// What one instance of the component itself costs.
    cost: Cost,
}

/// Bytes of modules that are known, and the number of instances of modules that are handed in from outside.
#[derive(Clone, Copy, Default)]
struct Cost {
    known: u64,
    unknown: u64,
}

impl Cost {
    /// A module that comes from outside.
    const FOREIGN_MODULE: Self = Self { known: 0, unknown: 1 };
    /// A component that comes from outside may instantiate anything any number of times.
    const FOREIGN_COMPONENT: Self = Self {
        known: u64::MAX,
        unknown: 0,
    };

    const fn known(bytes: u64) -> Self {
        Self {
            known: bytes,
            unknown: 0,
        }
    }

    fn add(&mut self, other: Self) {
        self.known = self.known.saturating_add(other.known);
        self.unknown = self.unknown.saturating_add(other.unknown);
    }

    /// Whatever is handed in was defined somewhere in the same file, so it is no larger than the largest.
    fn bytes(self, largest_module: u64) -> u64 {
        self.known.saturating_add(self.unknown.saturating_mul(largest_module))
    }
}

fn module_part(payload: &Payload<'_>) -> Result<u64, BinaryReaderError> {
    let records = |count: u32| Ok(u64::from(count) * RECORD);
    match payload {
        Payload::ImportSection(section) => records(section.count()),
        Payload::FunctionSection(section) => records(section.count()),
        Payload::GlobalSection(section) => records(section.count()),
        Payload::TableSection(section) => records(section.count()),
        Payload::MemorySection(section) => records(section.count()),
        Payload::DataSection(section) => section.clone().into_iter().try_fold(0_u64, |sum, data| {
            let data = data?;
            Ok(match data.kind {
                DataKind::Active { .. } => sum.saturating_add(data.data.len() as u64),
                DataKind::Passive => sum,
            })
        }),
        Payload::ElementSection(section) => section.clone().into_iter().try_fold(0_u64, |sum, element| {
            let element = element?;
            let count = match element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            Ok(match element.kind {
                ElementKind::Active { .. } => sum.saturating_add(u64::from(count) * ELEMENT),
                ElementKind::Passive | ElementKind::Declared => sum,
            })
        }),
        _ => Ok(0),
    }
}

fn component_part(payload: &Payload<'_>, scopes: &mut [Scope]) -> Result<(), BinaryReaderError> {
    if let Payload::ComponentAliasSection(section) = payload {
        for alias in section.clone() {
            alias_part(&alias?, scopes);
        }
        return Ok(());
    }
    let Some(Scope::Component(scope)) = scopes.last_mut() else {
        return Ok(());
    };
    let module = |scope: &ComponentScope, index: u32| {
        let found = scope.modules.get(index as usize).copied();
        found.unwrap_or(Cost::FOREIGN_MODULE)
    };
    let component = |scope: &ComponentScope, index: u32| {
        let found = scope.components.get(index as usize).copied();
        found.unwrap_or(Cost::FOREIGN_COMPONENT)
    };
    match payload {
        Payload::InstanceSection(section) => {
            for instance in section.clone() {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    scope.cost.add(module(scope, module_index));
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section.clone() {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    scope.cost.add(component(scope, component_index));
                }
            }
        }
        // Of functions and resources of its own it keeps records as well.
        Payload::ComponentCanonicalSection(section) => {
            scope.cost.add(Cost::known(u64::from(section.count()) * RECORD));
        }
        Payload::ComponentTypeSection(section) => {
            for ty in section.clone() {
                if matches!(ty?, ComponentType::Resource { .. }) {
                    scope.cost.add(Cost::known(RECORD));
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section.clone() {
                match import?.ty {
                    ComponentTypeRef::Module(_) => scope.modules.push(Cost::FOREIGN_MODULE),
                    ComponentTypeRef::Component(_) => scope.components.push(Cost::FOREIGN_COMPONENT),
                    _ => {}
                }
            }
        }
        // An export gives the item another index.
        Payload::ComponentExportSection(section) => {
            for export in section.clone() {
                let export = export?;
                match export.kind {
                    ComponentExternalKind::Module => scope.modules.push(module(scope, export.index)),
                    ComponentExternalKind::Component => scope.components.push(component(scope, export.index)),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn alias_part(alias: &ComponentAlias<'_>, scopes: &mut [Scope]) {
    let outer = |count: u32| {
        let at = scopes.len().checked_sub(1 + count as usize)?;
        match scopes.get(at)? {
            Scope::Component(scope) => Some(scope),
            Scope::Module(_) => None,
        }
    };
    let (module, component) = match *alias {
        ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::CoreModule,
            count,
            index,
        } => {
            let found = outer(count).and_then(|scope| scope.modules.get(index as usize));
            (Some(found.copied().unwrap_or(Cost::FOREIGN_MODULE)), None)
        }
        ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::Component,
            count,
            index,
        } => {
            let found = outer(count).and_then(|scope| scope.components.get(index as usize));
            (None, Some(found.copied().unwrap_or(Cost::FOREIGN_COMPONENT)))
        }
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Module,
            ..
        } => (Some(Cost::FOREIGN_MODULE), None),
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Component,
            ..
        } => (None, Some(Cost::FOREIGN_COMPONENT)),
        _ => (None, None),
    };
    if let Some(Scope::Component(scope)) = scopes.last_mut() {
        scope.modules.extend(module);
        scope.components.extend(component);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A module that writes 1,000 bytes and keeps two records, and what a component does with it.
    fn written(component: &str) -> u64 {
        let data = "x".repeat(1_000);
        let text = component.replace("MODULE", &format!(r#"(memory 1) (func) (data (i32.const 0) "{data}")"#));
        bytes_written(&wat::parse_str(text).unwrap()).unwrap()
    }

    const ONE: u64 = 1_000 + 2 * RECORD;

    #[test]
    fn every_instance_counts() {
        assert_eq!(written("(component (core module $m MODULE))"), 0);
        let twice =
            "(component (core module $m MODULE) (core instance (instantiate $m)) (core instance (instantiate $m)))";
        assert_eq!(written(twice), 2 * ONE);
    }

    #[test]
    fn nested_components_multiply() {
        let ten = |what: &str| format!("(instance (instantiate {what}))").repeat(10);
        let component = format!(
            "(component
                (core module $m MODULE)
                (component $a (alias outer 1 $m (core module $n)) (core instance (instantiate $n)))
                (component $b (alias outer 1 $a (component $c)) {})
                (component $empty)
                {} (instance (instantiate $empty)))",
            ten("$c"),
            ten("$b"),
        );
        assert_eq!(written(&component), 100 * ONE);
    }

    #[test]
    fn what_is_handed_in_counts_as_the_largest() {
        let module = "(component
            (component $a (import \"m\" (core module $n)) (core instance (instantiate $n)) (core instance (instantiate $n)))
            (core module $small)
            (core module $m MODULE)
            (instance (instantiate $a (with \"m\" (core module $small)))))";
        assert_eq!(written(module), 2 * ONE);
        let component = "(component
            (component $a (import \"c\" (component $n)) (instance (instantiate $n)))
            (component $c)
            (instance (instantiate $a (with \"c\" (component $c)))))";
        assert_eq!(written(component), u64::MAX);
    }

    #[test]
    fn what_a_component_keeps_itself_counts() {
        let drops = "(core func (canon resource.drop $r))".repeat(9);
        let text = format!("(component (type $r (resource (rep i32))) {drops})");
        assert_eq!(bytes_written(&wat::parse_str(text).unwrap()).unwrap(), 10 * RECORD);
    }

    #[test]
    fn only_what_is_written_at_once_counts() {
        let passive = bytes_written(
            &wat::parse_str(
                r#"(component (core module $m (memory 1) (table 4 funcref) (func $f)
                    (data "never by itself") (elem func $f $f) (elem (i32.const 0) func $f $f $f))
                    (core instance (instantiate $m)))"#,
            )
            .unwrap(),
        );
        assert_eq!(passive.unwrap(), 3 * RECORD + 3 * ELEMENT);
    }
}
