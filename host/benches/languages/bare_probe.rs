//! The same component on bare wasmtime, as the floor.

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use crate::common::bare::{Instances, Metering, State, engine, linker, store};

const FUEL: Metering = Metering {
    fuel: true,
    epoch: false,
};

pub struct BareProbe {
    pre: InstancePre<State>,
    add: ComponentExportIndex,
    spin: ComponentExportIndex,
}

impl BareProbe {
    /// For as many calls at once.
    pub fn new(bytes: &[u8], calls: u32) -> Self {
        let engine = engine(Instances::Pooled, FUEL, calls);
        let component = Component::new(&engine, bytes).unwrap();
        let interface = component.get_export_index(None, "local:probe/probe").unwrap();
        let function = |name| component.get_export_index(Some(&interface), name).unwrap();
        let [add, spin] = ["add", "spin"].map(function);
        let pre = linker(&engine).instantiate_pre(&component).unwrap();
        Self { pre, add, spin }
    }

    fn store(&self) -> Store<State> {
        store(self.pre.engine(), FUEL)
    }

    /// Makes an instance and drops it.
    pub async fn instantiate(&self) {
        self.pre.instantiate_async(self.store()).await.unwrap();
    }

    /// Adds two numbers in a fresh instance.
    pub async fn add(&self) {
        let mut store = self.store();
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let add = instance
            .get_typed_func::<(i32, i32), (i32,)>(&mut store, self.add)
            .unwrap();
        assert_eq!(add.call_async(&mut store, (2, 3)).await.unwrap(), (5,));
    }

    /// Calls the function that never ends.
    pub async fn spin(&self) {
        let mut store = self.store();
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let spin = instance.get_typed_func::<(), ()>(&mut store, self.spin).unwrap();
        let ended = spin.call_async(&mut store, ()).await;
        panic!("it ended: {ended:?}");
    }
}
