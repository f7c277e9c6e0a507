//! A component instance: the initializers of its component carried out, and calls into it.

use std::{
    cell::{Cell, OnceCell, RefCell, RefMut},
    rc::Rc,
};

use asterism_component::{
    Val,
    abi::{Flat, Lifting, Lowering},
};
use asterism_protocol::TrapKind;
use asterism_world::World;
use js_sys::{Array, Function, Object, Reflect, WebAssembly};
use wasm_bindgen::{JsCast as _, JsValue};
use wasmtime_environ::{
    EntityIndex,
    component::{
        CoreDef, CoreExport, ExportItem, GlobalInitializer, InstantiateModule,
        RuntimeInstanceIndex, StaticModuleIndex, TypeResourceTableIndex,
    },
};

use crate::{
    abi::Abi,
    counters::{self, Counters},
    flat::{of_js, to_js, u32_of_number},
    halt::Halt,
    handles::{Handles, Origin, ResourceTable},
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
    world: RefCell<Option<World>>,
    context: Cell<[i32; 2]>,
    handles: RefCell<Handles>,
    /// Destructors of the resources that the component defines, in their order.
    destructors: Vec<OnceCell<Function>>,
    /// For each component instance.
    leave: Vec<Leave>,
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
            world: RefCell::new(Some(world)),
            context: Cell::default(),
            handles: RefCell::new(Handles::new(program.guests)),
            destructors: slots(program.definitions),
            leave: (0..program.guests).map(|_| Leave::default()).collect(),
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
                GlobalInitializer::Resource(resource) => {
                    if let Some(destructor) = &resource.dtor {
                        let destructor = self.core_def(destructor)?;
                        fill(&self.destructors, resource.index.as_u32(), destructor)?;
                    }
                }
                // Its trampoline knows it already.
                GlobalInitializer::LowerImport { .. } => {}
                GlobalInitializer::InstantiateModule(InstantiateModule::Import(..), _)
                | GlobalInitializer::ExtractCallback(_)
                | GlobalInitializer::ExtractTable(_) => {
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
                "its memories and tables start with {} bytes, more than the memory limit leaves",
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
            CoreDef::InstanceFlags(guest) => self.leave(guest.as_u32() as usize)?.global(),
            CoreDef::TaskMayBlock => Err(Halt::host("asynchronous functions are not supported")),
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
        Abi::new(self, memory, realloc, options.encoding, options.guest)
    }

    /// Runs guest code that may not call host functions.
    pub(crate) fn without_leave<T>(
        &self,
        guest: usize,
        call: impl FnOnce() -> Result<T, JsValue>,
    ) -> Result<T, Halt> {
        let leave = self.leave(guest)?;
        let may_leave = leave.get();
        leave.set(false);
        let result = call().map_err(|exception| self.halt(&exception));
        leave.set(may_leave);
        result
    }

    /// Has the guest allocate: with context slots of its own, as on a fresh thread.
    pub(crate) fn allocating<T>(
        &self,
        guest: usize,
        call: impl FnOnce() -> Result<T, JsValue>,
    ) -> Result<T, Halt> {
        let context = self.context.take();
        let result = self.without_leave(guest, call);
        self.context.set(context);
        result
    }

    /// A component instance may not leave while it allocates or cleans up for its caller.
    pub(crate) fn expect_may_leave(&self, guest: usize) -> Result<(), Halt> {
        if self.leave(guest)?.get() {
            return Ok(());
        }
        Err(Halt::abi("a host function was called where none may be"))
    }

    fn leave(&self, guest: usize) -> Result<&Leave, Halt> {
        self.leave
            .get(guest)
            .ok_or_else(|| Halt::host("a component instance is out of its range"))
    }

    /// A memory that values pass through.
    pub(crate) fn memory(&self, index: usize) -> Result<&WebAssembly::Memory, Halt> {
        let memory = self.memories.get(index).and_then(OnceCell::get);
        memory.ok_or_else(|| Halt::host("a memory is not there yet"))
    }

    pub(crate) fn handles(&self) -> RefMut<'_, Handles> {
        self.handles.borrow_mut()
    }

    /// What is known of a resource type.
    pub(crate) fn resource(&self, ty: TypeResourceTableIndex) -> Result<ResourceTable, Halt> {
        let table = self.program.resources.get(ty.as_u32() as usize);
        table
            .copied()
            .flatten()
            .ok_or_else(|| Halt::host("a resource type is out of its range"))
    }

    /// Ends a resource whose last handle the component instance `guest` dropped.
    pub(crate) fn destroy(&self, guest: usize, origin: Origin, rep: u32) -> Result<(), Halt> {
        let (instance, definition) = match origin {
            Origin::World => {
                let mut world = self.world.borrow_mut();
                world.as_mut().ok_or_else(no_world)?.drop_resource(rep);
                return Ok(());
            }
            Origin::Guest {
                instance,
                definition,
            } => (instance, definition),
        };
        if instance != guest {
            self.expect_may_leave(instance)?;
        }
        if let Some(destructor) = self.destructors.get(definition).and_then(OnceCell::get) {
            let returned = destructor.call1(&JsValue::UNDEFINED, &rep.cast_signed().into());
            returned.map_err(|exception| self.halt(&exception))?;
        }
        Ok(())
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
        let mut world = self.world.borrow_mut();
        let world = world.as_mut().ok_or_else(no_world)?;
        let result = world.call(interface, func, args);
        self.counters.charge(world.take_fuel())?;
        result.map_err(|end| Halt::trap(end.trap(), end.to_string()))
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
    pub(crate) fn take_world(&self) -> Option<World> {
        self.world.take()
    }
}

impl Bound<'_> {
    /// Calls the function with arguments of its types.
    pub(crate) fn call(&self, args: &[Val]) -> Result<Option<Val>, Halt> {
        let Exported {
            signature, options, ..
        } = self.exported;
        let mut abi = self.instance.abi(options);
        let flat = Lowering::new(&mut abi).arguments(signature, args)?;
        let returned = self.enter(&flat)?;
        let lifting = Lifting::new(&abi);
        let result = match &signature.result {
            None => Ok(None),
            Some(layout) => match (signature.result_in_memory(), layout.flat.as_deref()) {
                (None, Some(types)) => {
                    let flat: Result<Vec<Flat>, Halt> =
                        types.iter().map(|ty| of_js(*ty, &returned)).collect();
                    lifting.flat(layout, &mut flat?.into_iter()).map(Some)
                }
                _ => {
                    let address = u32_of_number(returned.as_f64().unwrap_or_default());
                    lifting.at(layout, address).map(Some)
                }
            },
        };
        match result {
            // What is too large for a result is no error of the call, which ends as any other.
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
            self.instance
                .without_leave(options.guest, || match &signature.result {
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
            [a] => self.core.call1(&this, &to_js(*a)),
            [a, b] => self.core.call2(&this, &to_js(*a), &to_js(*b)),
            [a, b, c] => self.core.call3(&this, &to_js(*a), &to_js(*b), &to_js(*c)),
            args => self.core.apply(
                &this,
                &args.iter().map(|arg| to_js(*arg)).collect::<Array>(),
            ),
        };
        returned.map_err(|exception| self.instance.halt(&exception))
    }
}

/// Whether a component instance may call out of itself. Adapters between components read and write it as a global.
#[derive(Debug)]
struct Leave {
    may: Cell<bool>,
    global: OnceCell<WebAssembly::Global>,
}

impl Default for Leave {
    fn default() -> Self {
        Self {
            may: Cell::new(true),
            global: OnceCell::new(),
        }
    }
}

impl Leave {
    fn get(&self) -> bool {
        match self.global.get() {
            Some(global) => global.value().as_f64() != Some(0.0),
            None => self.may.get(),
        }
    }

    fn set(&self, may: bool) {
        match self.global.get() {
            Some(global) => global.set_value(&i32::from(may).into()),
            None => self.may.set(may),
        }
    }

    fn global(&self) -> Result<JsValue, Halt> {
        if self.global.get().is_none() {
            let global = counters::global("i32", &i32::from(self.get()).into())
                .map_err(|exception| Halt::of_exception(&exception))?;
            // It was looked at just now.
            let _ = self.global.set(global);
        }
        let global = self.global.get();
        global
            .map(|global| global.into())
            .ok_or_else(|| Halt::host("a global was not kept"))
    }
}

fn no_world() -> Halt {
    Halt::host("the task is over")
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
