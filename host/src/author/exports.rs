//! Removes from a component the exports that its world doesn't have.
//!
//! Generators that run a language's start-up at build time leave the function that did it among the exports, such as `init` of
//! JavaScript, which runs any script that it is given. To a host, every exported function is a tool.
//!
//! An export adds an item to the component's index spaces, and later sections refer to items by index. So the export is replaced by
//! an item that nothing can see from outside: an alias of the same function, or an empty instance.

use std::collections::HashMap;

use wasm_encoder::{
    Alias, Component, ComponentAliasSection, ComponentExportKind, ComponentInstanceSection, ComponentSectionId,
    RawSection,
};
use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExportSectionReader, ComponentExternalKind,
    ComponentTypeRef, Parser, Payload,
};

/// The component with no functions and instances among its exports but those that `is_kept` names. A function stays as well if it
/// isn't an alias.
pub(super) fn keep(bytes: &[u8], is_kept: impl Fn(&str) -> bool) -> Result<Vec<u8>, BinaryReaderError> {
    let mut filter = Filter {
        bytes,
        out: Component::new(),
        functions: 0,
        aliases: HashMap::new(),
    };
    // Nested modules and components are copied with the section that holds them.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if depth == 0 {
            filter.section(&payload, &is_kept)?;
        }
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(filter.out.finish())
}

struct Filter<'a> {
    bytes: &'a [u8],
    out: Component,
    /// Functions defined so far.
    functions: u32,
    /// Functions that are exports of instances, by index.
    aliases: HashMap<u32, (u32, &'a str)>,
}

impl<'a> Filter<'a> {
    fn section(&mut self, payload: &Payload<'a>, is_kept: &impl Fn(&str) -> bool) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.functions += u32::from(matches!(import?.ty, ComponentTypeRef::Func(_)));
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    self.functions += u32::from(matches!(function?, CanonicalFunction::Lift { .. }));
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    if let ComponentAlias::InstanceExport {
                        kind: ComponentExternalKind::Func,
                        instance_index,
                        name,
                    } = alias?
                    {
                        self.aliases.insert(self.functions, (instance_index, name));
                        self.functions += 1;
                    }
                }
            }
            Payload::ComponentExportSection(section) => return self.exports(section, is_kept),
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            let bytes = self.bytes;
            self.copy(id, &bytes[range]);
        }
        Ok(())
    }

    fn copy(&mut self, id: u8, data: &[u8]) {
        self.out.section(&RawSection { id, data });
    }

    /// Writes each export, or what replaces it, as a section.
    fn exports(
        &mut self,
        section: &ComponentExportSectionReader<'a>,
        is_kept: &impl Fn(&str) -> bool,
    ) -> Result<(), BinaryReaderError> {
        let exports = section
            .clone()
            .into_iter_with_offsets()
            .collect::<Result<Vec<_>, _>>()?;
        let ends = exports
            .iter()
            .skip(1)
            .map(|(start, _)| *start)
            .chain([section.range().end]);
        for ((start, export), end) in exports.iter().zip(ends) {
            let name = export.name.name;
            let alias = self.aliases.get(&export.index).copied();
            match (export.kind, alias) {
                (ComponentExternalKind::Func, Some((instance, function))) if !is_kept(name) => {
                    let mut aliases = ComponentAliasSection::new();
                    aliases.alias(Alias::InstanceExport {
                        instance,
                        kind: ComponentExportKind::Func,
                        name: function,
                    });
                    self.out.section(&aliases);
                }
                (ComponentExternalKind::Instance, _) if !is_kept(name) => {
                    let mut instances = ComponentInstanceSection::new();
                    instances.export_items(std::iter::empty::<(&str, ComponentExportKind, u32)>());
                    self.out.section(&instances);
                }
                _ => {
                    let mut one = vec![1];
                    one.extend_from_slice(&self.bytes[*start..end]);
                    self.copy(ComponentSectionId::Export.into(), &one);
                }
            }
            self.functions += u32::from(export.kind == ComponentExternalKind::Func);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn exports_that_the_world_does_not_have_are_removed() {
        let component = wat::parse_str(
            r#"(component
                (core module $m
                    (func (export "a") (result i32) i32.const 1)
                    (func (export "b") (result i64) i64.const 2))
                (core instance $i (instantiate $m))
                (func $a (result u32) (canon lift (core func $i "a")))
                (func $b (result u64) (canon lift (core func $i "b")))
                (instance $inner (export "init" (func $a)) (export "add" (func $b)))
                (alias export $inner "init" (func $init))
                (export "init" (func $init))
                (alias export $inner "add" (func $add))
                (export "add" (func $add))
                (export "exports" (instance $inner)))"#,
        )
        .unwrap();
        let kept = keep(&component, |name| name == "add").unwrap();
        wasmparser::Validator::new().validate_all(&kept).unwrap();
        assert_eq!(names(&kept), ["add"]);
        // The function is the same: its type is.
        let engine = wasmtime::Engine::default();
        let kept = wasmtime::component::Component::new(&engine, &kept).unwrap();
        let exports: Vec<String> = kept
            .component_type()
            .exports(&engine)
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(exports, ["add"]);
        let all = keep(&component, |_| true).unwrap();
        assert_eq!(names(&all), ["init", "add", "exports"]);
    }

    fn names(component: &[u8]) -> Vec<String> {
        let sections = Parser::new(0).parse_all(component).map(Result::unwrap);
        let exports = sections.filter_map(|payload| match payload {
            Payload::ComponentExportSection(section) => Some(section),
            _ => None,
        });
        exports
            .flatten()
            .map(|export| export.unwrap().name.name.to_owned())
            .collect()
    }
}
