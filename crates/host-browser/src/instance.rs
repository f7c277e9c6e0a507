//! A component instance: the initializers of its component carried out, and calls into it.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
};

use asterism_component::Val;
use asterism_protocol::TrapKind;
use asterism_world::World;
use js_sys::{Array, Function, Object, Reflect, WebAssembly};
use wasm_bindgen::{JsCast as _, JsValue};
use wasmtime_environ::{
    EntityIndex,
    component::{
        CoreDef, CoreExport, ExportItem, GlobalInitializer, InstantiateModule,
        RuntimeInstanceIndex, StaticModuleIndex,
    },
};

use crate::{
    abi::Abi,
    counters::Counters,
    flat::{Flat, u32_of_number},
    halt::Halt,
    layout::FLAT_PARAMS_MAX,
    metering::Stop,
    program::{Exported, Options, Program},
};

/// One task's instance of a component.
pub(crate) struct Instance {
    program: Rc<Program>,
    counters: Rc<Counters>,
    /// Exports of the core instances so far, and which module each is of.
    cores: RefCell<Vec<(Object, StaticModuleIndex)>>,
    memories: Vec<OnceCell<WebAssembly::Memory>>,
    reallocs: Vec<OnceCell<Function>>,
    post_returns: Vec<OnceCell<Function>>,
    world: RefCell<World>,
    context: Cell<[i32; 2]>,
    /// May host functions be called? Not while the guest allocates or cleans up for the host.
    may_leave: Cell<bool>,
    /// What a host function threw, until it comes back through the guest.
    thrown: Cell<Option<Halt>>,
}

/// A function of an instance.
pub(crate) struct Bound<'a> {
    instance: &'a Instance,
    exported: &'a Exported,
    core: Function,
}

impl Instance {
    /// An instance without any core instance yet: [`Self::initialize`] it on the stage, as it may call host functions.
    pub(crate) fn new(program: Rc<Program>, counters: Rc<Counters>, world: World) -> Self {
        fn slots<T>(count: usize) -> Vec<OnceCell<T>> {
            (0..count).map(|_| OnceCell::new()).collect()
        }
        Self {
            cores: RefCell::default(),
            memories: slots(program.memories),
            reallocs: slots(program.reallocs),
            post_returns: slots(program.post_returns),
            world: RefCell::new(world),
            context: Cell::default(),
            may_leave: Cell::new(true),
            thrown: Cell::default(),
            program,
            counters,
        }
    }

    pub(crate) fn initialize(&self) -> Result<(), Halt> {
        for initializer in &self.program.initializers {
            match initializer {
                GlobalInitializer::InstantiateModule(
                    InstantiateModule::Static(module, args),
                    _,
                ) => {
                    self.instantiate(*module, args)?;
                }
                GlobalInitializer::ExtractMemory(memory) => {
                    let export = CoreExport {
                        instance: memory.export.instance,
                        item: entity(&memory.export.item),
                    };
                    fill(
                        &self.memories,
                        memory.index.as_u32(),
                        self.core_export(&export)?,
                    )?;
                }
                GlobalInitializer::ExtractRealloc(realloc) => {
                    fill(
                        &self.reallocs,
                        realloc.index.as_u32(),
                        self.core_def(&realloc.def)?,
                    )?;
                }
                GlobalInitializer::ExtractPostReturn(post_return) => {
                    fill(
                        &self.post_returns,
                        post_return.index.as_u32(),
                        self.core_def(&post_return.def)?,
                    )?;
                }
                // Its trampoline knows it already.
                GlobalInitializer::LowerImport { .. } => {}
                GlobalInitializer::InstantiateModule(InstantiateModule::Import(..), _)
                | GlobalInitializer::ExtractCallback(_)
                | GlobalInitializer::ExtractTable(_)
                | GlobalInitializer::Resource(_) => {
                    return Err(Halt::host("an initializer that was refused before"));
                }
            }
        }
        Ok(())
    }

    fn instantiate(&self, index: StaticModuleIndex, args: &[CoreDef]) -> Result<(), Halt> {
        let module = self.program.module(index);
        if !self.counters.take_room(module.initial_bytes)? {
            let message = format!(
                "its memories start with {} bytes, more than the memory limit leaves",
                module.initial_bytes
            );
            return Err(Halt::trap(TrapKind::OutOfMemory, message));
        }
        let broken = |exception: JsValue| Halt::of_exception(&exception);
        let imports = self.counters.imports().map_err(broken)?;
        for ((from, name), def) in module.imports.iter().zip(args) {
            let mut names = Reflect::get(&imports, from).map_err(broken)?;
            if names.is_undefined() {
                names = Object::new().into();
                Reflect::set(&imports, from, &names).map_err(broken)?;
            }
            Reflect::set(&names, name, &self.core_def(def)?).map_err(broken)?;
        }
        let instance = WebAssembly::Instance::new(&module.module, &imports)
            .map_err(|exception| self.halt(&exception))?;
        self.cores.borrow_mut().push((instance.exports(), index));
        Ok(())
    }

    fn core_def(&self, def: &CoreDef) -> Result<JsValue, Halt> {
        match def {
            CoreDef::Export(export) => self.core_export(export),
            CoreDef::Trampoline(index) => self.program.trampolines.function(*index).cloned(),
            CoreDef::UnsafeIntrinsic(intrinsic) => {
                self.program.trampolines.intrinsic(*intrinsic).cloned()
            }
            CoreDef::InstanceFlags(_) | CoreDef::TaskMayBlock => {
                Err(Halt::host("composed components are not supported"))
            }
        }
    }

    fn core_export(&self, export: &CoreExport<EntityIndex>) -> Result<JsValue, Halt> {
        let missing = || Halt::host("a core instance does not export what was promised");
        let cores = self.cores.borrow();
        let (exports, module) = cores.get(core_index(export.instance)).ok_or_else(missing)?;
        let export = match &export.item {
            ExportItem::Index(entity) => {
                Reflect::get(exports, self.program.module(*module).export(*entity)?)
            }
            ExportItem::Name(name) => Reflect::get(exports, &name.as_str().into()),
        };
        export
            .ok()
            .filter(|export| !export.is_undefined())
            .ok_or_else(missing)
    }

    /// A function of this instance, ready to be called.
    pub(crate) fn bind<'a>(&'a self, exported: &'a Exported) -> Result<Bound<'a>, Halt> {
        Ok(Bound {
            instance: self,
            exported,
            core: self.core_def(&exported.core)?.unchecked_into(),
        })
    }

    pub(crate) fn abi(&self, options: &Options) -> Abi<'_> {
        let memory = options
            .memory
            .and_then(|index| self.memories.get(index)?.get());
        let realloc = options
            .realloc
            .and_then(|index| self.reallocs.get(index)?.get());
        Abi::new(self, memory, realloc)
    }

    /// Runs guest code that may not call host functions.
    pub(crate) fn without_leave<T>(
        &self,
        call: impl FnOnce() -> Result<T, JsValue>,
    ) -> Result<T, Halt> {
        let may_leave = self.may_leave.replace(false);
        let result = call().map_err(|exception| self.halt(&exception));
        self.may_leave.set(may_leave);
        result
    }

    /// Has the guest allocate: with context slots of its own, as on a fresh thread.
    pub(crate) fn allocating<T>(
        &self,
        call: impl FnOnce() -> Result<T, JsValue>,
    ) -> Result<T, Halt> {
        let context = self.context.take();
        let result = self.without_leave(call);
        self.context.set(context);
        result
    }

    pub(crate) fn may_leave(&self) -> bool {
        self.may_leave.get()
    }

    pub(crate) fn context(&self, slot: usize) -> i32 {
        self.context.get()[slot]
    }

    pub(crate) fn set_context(&self, slot: usize, value: i32) {
        let mut context = self.context.get();
        context[slot] = value;
        self.context.set(context);
    }

    pub(crate) fn call_world(
        &self,
        interface: &str,
        func: &str,
        args: &[Val],
    ) -> Result<Vec<Val>, Halt> {
        let result = self.world.borrow_mut().call(interface, func, args);
        result.map_err(|denied| Halt::trap(asterism_world::Denied::TRAP, denied.to_string()))
    }

    /// Remembers why a host function does not return; gives what to throw through the guest.
    pub(crate) fn throw(&self, halt: Halt) -> JsValue {
        self.thrown.set(Some(halt));
        js_sys::Error::new("the host ends the guest").into()
    }

    /// Why guest code did not return.
    fn halt(&self, exception: &JsValue) -> Halt {
        if let Some(halt) = self.thrown.take() {
            return halt;
        }
        let seen = Halt::of_exception(exception);
        let backtrace = match &seen {
            Halt::Trap { backtrace, .. } => backtrace.clone(),
            Halt::Fault(_) => return seen,
        };
        let trap = |kind, message: &str| Halt::Trap {
            kind,
            message: message.into(),
            backtrace,
        };
        match self.counters.stop() {
            None => seen,
            Some(Stop::OutOfFuel) => trap(TrapKind::OutOfFuel, "the fuel limit was reached"),
            Some(Stop::NotANumber) => trap(
                TrapKind::BadConversion,
                "a float that is not a number became an integer",
            ),
            Some(Stop::HostOutOfMemory) => {
                Halt::host("the browser has not as much memory as the task may use")
            }
        }
    }

    /// The world, for what the guest logged: the instance has none after it.
    pub(crate) fn take_world(&self) -> World {
        self.world.take()
    }
}

impl Bound<'_> {
    /// Calls the function with arguments of its types.
    pub(crate) fn call(&self, args: &[Val]) -> Result<Option<Val>, Halt> {
        let Exported {
            signature, options, ..
        } = self.exported;
        let abi = self.instance.abi(options);
        let mut flat = Vec::with_capacity(FLAT_PARAMS_MAX);
        if signature.params_in_memory() {
            flat.push(Flat::I32(abi.lower_fields(
                &signature.params,
                signature.block,
                args,
            )?));
        } else {
            if args.len() != signature.params.len() {
                return Err(Halt::host("arguments were not checked"));
            }
            for (field, arg) in signature.params.iter().zip(args) {
                abi.lower_flat(&field.layout, arg, &mut flat)?;
            }
        }

        let returned = self.enter(&flat)?;
        let result = match &signature.result {
            None => Ok(None),
            Some(layout) if signature.result_in_memory().is_some() => abi
                .lift_at(layout, u32_of_number(returned.as_f64().unwrap_or_default()))
                .map(Some),
            Some(layout) => {
                let flat: Result<Vec<Flat>, Halt> = layout
                    .flat
                    .iter()
                    .map(|ty| Flat::of_js(*ty, &returned))
                    .collect();
                abi.lift_flat(layout, &mut flat?.into_iter()).map(Some)
            }
        };
        match result {
            // Too large is no fault of the call: it goes on as on any host, which finds out later.
            Err(Halt::Trap {
                kind: TrapKind::OutputTooLarge,
                ..
            })
            | Ok(_) => {}
            Err(halt) => return Err(halt),
        }
        if let Some(post_return) = options
            .post_return
            .and_then(|index| self.instance.post_returns.get(index)?.get())
        {
            self.instance.without_leave(|| match &signature.result {
                None => post_return.call0(&JsValue::UNDEFINED),
                Some(_) => post_return.call1(&JsValue::UNDEFINED, &returned),
            })?;
        }
        result
    }

    fn enter(&self, args: &[Flat]) -> Result<JsValue, Halt> {
        let this = JsValue::UNDEFINED;
        let returned = match args {
            [] => self.core.call0(&this),
            [a] => self.core.call1(&this, &a.to_js()),
            [a, b] => self.core.call2(&this, &a.to_js(), &b.to_js()),
            [a, b, c] => self.core.call3(&this, &a.to_js(), &b.to_js(), &c.to_js()),
            args => self.core.apply(
                &this,
                &args.iter().map(|arg| arg.to_js()).collect::<Array>(),
            ),
        };
        returned.map_err(|exception| self.instance.halt(&exception))
    }
}

fn core_index(index: RuntimeInstanceIndex) -> usize {
    index.as_u32() as usize
}

fn entity<T: Copy + Into<EntityIndex>>(item: &ExportItem<T>) -> ExportItem<EntityIndex> {
    match item {
        ExportItem::Index(index) => ExportItem::Index((*index).into()),
        ExportItem::Name(name) => ExportItem::Name(name.clone()),
    }
}

fn fill<T: wasm_bindgen::JsCast>(
    slots: &[OnceCell<T>],
    index: u32,
    value: JsValue,
) -> Result<(), Halt> {
    let slot = slots
        .get(index as usize)
        .ok_or_else(|| Halt::host("an initializer is out of its range"))?;
    slot.set(value.unchecked_into())
        .map_err(|_| Halt::host("an initializer came twice"))
}
