//! Computes the cost of instantiating a component, before any of its code runs: memory outside the guest's own, and work that
//! can't be interrupted. The limits of a running call cover neither, so the host computes both from the component's bytes,
//! before it compiles them.
//!
//! The computation doesn't expand instances: each component is added up once, however often it is instantiated. The result is
//! exact if a component instantiates what it defines, as the output of every toolchain does. It is an upper bound if a component
//! instantiates a module that it imports. The costs hold for one version of the engine; `host/docs/upgrade-wasmtime.md` lists
//! what to check before the next.

mod component;
mod cost;
mod module;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

use self::component::{ComponentScope, Definitions, Scope};
use self::cost::{Cost, ROOT};
use self::module::ModuleScope;
use super::component::ComponentError;
use crate::sandbox::limits::Limits;

pub(in crate::sandbox) use self::cost::TABLE_ELEMENT;

/// The most component instances in one instance, including nested ones. Toolchains create a handful, and one or two for each
/// component of a composition.
pub(super) const MAX_COMPONENT_INSTANCES: u64 = 1_000;

/// The most steps of one instantiation. They block the thread for some tens of milliseconds. The interpreters of Python and
/// JavaScript take ten to twenty thousand.
pub(super) const MAX_STEPS: u64 = 250_000;

/// The most modules and components that one file can define. Bounds the memory of the computation itself.
const MAX_DEFINITIONS: usize = 100_000;

/// The cost of a component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sandbox) struct Footprint {
    /// The cost of one instance.
    pub(super) instance: Cost,
    /// Bytes that the host holds while the component is loaded: the initial contents of its memories and tables.
    pub(super) images: u64,
    /// Whether it instantiates a component that it imports, so that the cost of an instance is unknown.
    pub(super) is_unbounded: bool,
}

/// Why the cost can't be computed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Bytes(#[from] BinaryReaderError),
    #[error("it defines more than {MAX_DEFINITIONS} modules and components")]
    TooManyDefinitions,
}

/// Computes the cost of a component. The bytes aren't validated, and the result for invalid bytes has no meaning.
///
/// # Errors
///
/// If the bytes can't be parsed.
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
                    // An imported module was defined elsewhere in this file, so it costs at most as much as the largest.
                    instance.add(largest_module.times(root.cost.imported_modules));
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
