//! What one instance of a component takes in the engine, before any of its code runs: memory outside the guest's own, and
//! work that nothing can interrupt. No limit of a running call sees either, so both are added up from the component's
//! bytes, before it is compiled.
//!
//! The sum is arithmetic, not an expansion: a component is added up once, however often it is instantiated. It is exact
//! where a component instantiates what it defines, as every toolchain's output does, and an upper bound where it
//! instantiates a module that was handed to it. The prices are the engine's of one version;
//! `host/docs/upgrade-wasmtime.md` is the list to read again before the next.

mod component;
mod cost;
mod module;
#[cfg(test)]
mod tests;

use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

use self::component::{ComponentScope, Definitions, Scope};
use self::cost::{Cost, ROOT};
use self::module::ModuleScope;
use super::component::ComponentError;
use crate::sandbox::limits::Limits;

pub(in crate::sandbox) use self::cost::TABLE_ELEMENT;

/// Component instances that one instance may be made of, its own and nested ones. Toolchains make a handful, and one or
/// two for each component that was composed.
pub(super) const MAX_COMPONENT_INSTANCES: u64 = 1_000;

/// Steps that making one instance may take: some tens of milliseconds, in which nothing else gets the thread. The
/// interpreters of Python and JavaScript take ten to twenty thousand.
pub(super) const MAX_STEPS: u64 = 250_000;

/// Modules and components that one file may define: what the sum itself needs is bounded by it.
const MAX_DEFINITIONS: usize = 100_000;

/// What a component takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sandbox) struct Footprint {
    /// One instance of it.
    pub(super) instance: Cost,
    /// Bytes that the host has for as long as it is loaded: what its memories and tables begin with.
    pub(super) images: u64,
    /// Whether it instantiates a component that it was handed, so that an instance may take anything.
    pub(super) is_unbounded: bool,
}

/// Why bytes cannot be added up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Bytes(#[from] BinaryReaderError),
    #[error("it defines more than {MAX_DEFINITIONS} modules and components")]
    TooManyDefinitions,
}

/// Adds up what the component takes. The bytes need not be valid: what is found in those that are not means nothing.
///
/// # Errors
///
/// Where the bytes cannot be read.
pub(super) fn footprint(bytes: &[u8]) -> Result<Footprint, Unreadable> {
    let mut scopes: Vec<Scope> = Vec::new();
    let mut definitions = Definitions::default();
    let mut largest_module = Cost::ZERO;
    let mut images = 0_u64;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match (&payload, scopes.last_mut()) {
            (Payload::Version { encoding, .. }, _) => {
                let defined = definitions.modules.len() + definitions.components.len();
                if scopes.len() + defined > MAX_DEFINITIONS {
                    return Err(Unreadable::TooManyDefinitions);
                }
                scopes.push(match encoding {
                    Encoding::Module => Scope::Module(ModuleScope::new()),
                    Encoding::Component => Scope::Component(ComponentScope::new(scopes.is_empty())),
                });
            }
            (Payload::End(_), _) => match (scopes.pop(), scopes.last_mut()) {
                (Some(Scope::Module(module)), Some(Scope::Component(parent))) => {
                    let cost = module.finish();
                    images = images.saturating_add(cost.images);
                    largest_module = largest_module.max(cost.instance);
                    parent.modules.push(u32::try_from(definitions.modules.len()).ok());
                    definitions.modules.push(cost.instance);
                }
                (Some(Scope::Component(child)), Some(Scope::Component(parent))) => {
                    parent.components.push(u32::try_from(definitions.components.len()).ok());
                    definitions.components.push(child.cost);
                }
                (Some(Scope::Component(root)), None) => {
                    let mut instance = root.cost.known;
                    instance.add(ROOT);
                    // What is handed in was defined somewhere in the same file, so it is no larger than the largest.
                    instance.add(largest_module.times(root.cost.foreign_modules));
                    return Ok(Footprint {
                        instance,
                        images,
                        is_unbounded: root.cost.is_unbounded,
                    });
                }
                _ => return Ok(Footprint::default()),
            },
            (payload, Some(Scope::Module(module))) => module.read(payload)?,
            (payload, Some(Scope::Component(_))) => component::read(payload, &mut scopes, &definitions)?,
            (_, None) => {}
        }
    }
    Ok(Footprint::default())
}

impl Footprint {
    /// # Errors
    ///
    /// The first limit that an instance would exceed.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), ComponentError> {
        if self.is_unbounded {
            return Err(ComponentError::UncountableInstance);
        }
        let Cost {
            held,
            copied,
            steps,
            core_instances,
            component_instances,
        } = self.instance;
        if core_instances > limits.core_instances.into() {
            return Err(ComponentError::TooManyCoreInstances {
                needs: core_instances,
                limit: limits.core_instances,
            });
        }
        if component_instances > MAX_COMPONENT_INSTANCES {
            return Err(ComponentError::TooManyComponentInstances {
                needs: component_instances,
            });
        }
        let needs = held.saturating_add(copied);
        if needs > limits.memory {
            return Err(ComponentError::InstanceTooLarge {
                needs,
                limit: limits.memory,
            });
        }
        if steps > MAX_STEPS {
            return Err(ComponentError::InstanceTooSlow { needs: steps });
        }
        if self.images > limits.memory {
            return Err(ComponentError::ImagesTooLarge {
                needs: self.images,
                limit: limits.memory,
            });
        }
        Ok(())
    }

    /// Bytes that the host holds for each instance, apart from memories and tables.
    pub(in crate::sandbox) fn held(&self) -> usize {
        usize::try_from(self.instance.held).unwrap_or(usize::MAX)
    }
}
