//! How many memories a component has once it runs: those of each instance of each module, as often as it is instantiated.
//! Valid or not: whatever cannot be known counts as the most that there was so far.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Encoding, Instance, Payload,
};

/// Counts, section by section.
#[derive(Default)]
pub(crate) struct Memories {
    /// Components and modules that have not ended, the outermost first.
    open: Vec<Open>,
    /// The most that a module or component which has ended stands for.
    most: u64,
    /// What the outermost one stands for, once it has ended.
    total: u64,
}

/// A component or module that is being read.
#[derive(Default)]
struct Open {
    is_component: bool,
    /// Its own and those of the instances in it.
    memories: u64,
    /// What an instance of each of its modules has.
    modules: Vec<u64>,
    /// What an instance of each of its components has.
    components: Vec<u64>,
}

impl Memories {
    /// Once everything was seen: how many there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Sees the next section.
    pub(crate) fn see(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => self.open.push(Open {
                is_component: *encoding == Encoding::Component,
                ..Open::default()
            }),
            Payload::End(_) => self.end(),
            Payload::MemorySection(section) => self.add(section.count().into()),
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let of_module = self.module(0, module_index);
                        self.add(of_module);
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate {
                        component_index, ..
                    } = instance?
                    {
                        let of_component = self.component(0, component_index);
                        self.add(of_component);
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias?);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => self.another_module(self.most),
                        ComponentTypeRef::Component(_) => self.another_component(self.most),
                        ComponentTypeRef::Func(_)
                        | ComponentTypeRef::Value(_)
                        | ComponentTypeRef::Type(_)
                        | ComponentTypeRef::Instance(_) => {}
                    }
                }
            }
            // What is exported has another index from there on.
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    match export.kind {
                        ComponentExternalKind::Module => {
                            self.another_module(self.module(0, export.index));
                        }
                        ComponentExternalKind::Component => {
                            self.another_component(self.component(0, export.index));
                        }
                        ComponentExternalKind::Func
                        | ComponentExternalKind::Value
                        | ComponentExternalKind::Type
                        | ComponentExternalKind::Instance => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) {
        let Some(ended) = self.open.pop() else { return };
        self.most = self.most.max(ended.memories);
        if self.open.is_empty() {
            self.total = ended.memories;
        } else if ended.is_component {
            self.another_component(ended.memories);
        } else {
            self.another_module(ended.memories);
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::Outer { kind, count, index } => match kind {
                ComponentOuterAliasKind::CoreModule => {
                    self.another_module(self.module(*count, *index));
                }
                ComponentOuterAliasKind::Component => {
                    self.another_component(self.component(*count, *index));
                }
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
            },
            ComponentAlias::InstanceExport { kind, .. } => match kind {
                ComponentExternalKind::Module => self.another_module(self.most),
                ComponentExternalKind::Component => self.another_component(self.most),
                ComponentExternalKind::Func
                | ComponentExternalKind::Value
                | ComponentExternalKind::Type
                | ComponentExternalKind::Instance => {}
            },
            ComponentAlias::CoreInstanceExport { .. } => {}
        }
    }

    fn add(&mut self, memories: u64) {
        if let Some(open) = self.open.last_mut() {
            open.memories = open.memories.saturating_add(memories);
        }
    }

    fn another_module(&mut self, memories: u64) {
        if let Some(open) = self.open.last_mut() {
            open.modules.push(memories);
        }
    }

    fn another_component(&mut self, memories: u64) {
        if let Some(open) = self.open.last_mut() {
            open.components.push(memories);
        }
    }

    fn module(&self, outwards: u32, index: u32) -> u64 {
        let of = self.outwards(outwards);
        let known = of.and_then(|open| open.modules.get(index as usize));
        known.copied().unwrap_or(self.most)
    }

    fn component(&self, outwards: u32, index: u32) -> u64 {
        let of = self.outwards(outwards);
        let known = of.and_then(|open| open.components.get(index as usize));
        known.copied().unwrap_or(self.most)
    }

    fn outwards(&self, count: u32) -> Option<&Open> {
        self.open.iter().rev().nth(count as usize)
    }
}
