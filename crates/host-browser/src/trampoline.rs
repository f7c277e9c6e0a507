//! What a component's core modules call in the host: one kind of function for each kind of trampoline.
//!
//! A wasm import has the arity of its core signature, a closure of Rust one of its own. A `Proxy` with an `apply` trap
//! is callable by any engine with any number of arguments and hands them over as one array; no JavaScript has to be
//! written, loaded or evaluated for it, under whatever content security policy.

use std::rc::Rc;

use asterism_component::{
    Val,
    abi::{Field, Lifting, Lowering, Signature, check_call},
};
use js_sys::{Array, Error, Object, Proxy, Reflect};
use wasm_bindgen::{JsCast as _, JsValue, prelude::Closure};
use wasmtime_environ::{
    PrimaryMap,
    component::{
        Component, ComponentTypes, GlobalInitializer, LoweredIndex, Trampoline, TrampolineIndex,
        TypeResourceTableIndex, UnsafeIntrinsic,
    },
};

use crate::{
    builtin,
    flat::{of_js, to_js, u32_of_number},
    halt::Halt,
    handles::ResourceTable,
    instance::Instance,
    layout::signature,
    program::{Options, ProgramError},
    stage::Stage,
};

type Variadic = Closure<dyn Fn(JsValue, JsValue, Array) -> Result<JsValue, JsValue>>;

/// All functions that a component's core modules may import from the host.
pub(crate) struct Trampolines {
    functions: Vec<Option<JsValue>>,
    contexts: [Context; 2],
    /// Rust's ends of the functions.
    _closures: Vec<Box<dyn std::any::Any>>,
}

impl Trampolines {
    pub(crate) fn of(
        component: &Component,
        trampolines: &PrimaryMap<TrampolineIndex, Trampoline>,
        types: &ComponentTypes,
        resources: &[Option<ResourceTable>],
        stage: &Rc<Stage>,
    ) -> Result<Self, ProgramError> {
        let (mut functions, mut closures) = (Vec::new(), Vec::<Box<dyn std::any::Any>>::new());
        let resource = |ty: TypeResourceTableIndex| {
            let table = resources.get(ty.as_u32() as usize).copied().flatten();
            table.ok_or_else(|| ProgramError::Translation("a resource type is missing".into()))
        };
        for (_, trampoline) in trampolines {
            functions.push(match trampoline {
                Trampoline::LowerImport {
                    index,
                    lower_ty,
                    options,
                } => {
                    let lowered = Lowered {
                        path: path(component, *index)?,
                        signature: signature(types, *lower_ty)?,
                        options: Options::at(component, *options)?,
                    };
                    let (function, closure) = lowered
                        .into_function(Rc::clone(stage))
                        .map_err(|_| callable())?;
                    closures.push(Box::new(closure));
                    Some(function)
                }
                Trampoline::ResourceNew { instance, ty } => {
                    let guest = instance.as_u32() as usize;
                    Some(builtin::resource_new(
                        stage,
                        guest,
                        resource(*ty)?,
                        *ty,
                        &mut closures,
                    ))
                }
                Trampoline::ResourceRep { ty, .. } => Some(builtin::resource_rep(
                    stage,
                    resource(*ty)?,
                    *ty,
                    &mut closures,
                )),
                Trampoline::ResourceDrop { instance, ty } => {
                    let guest = instance.as_u32() as usize;
                    Some(builtin::resource_drop(
                        stage,
                        guest,
                        resource(*ty)?,
                        *ty,
                        &mut closures,
                    ))
                }
                Trampoline::ResourceTransferOwn => {
                    Some(builtin::transfer_own(stage, &mut closures))
                }
                Trampoline::ResourceTransferBorrow => {
                    Some(builtin::transfer_borrow(stage, &mut closures))
                }
                Trampoline::EnterSyncCall => Some(builtin::enter_call(stage, &mut closures)),
                Trampoline::ExitSyncCall => Some(builtin::exit_call(stage, &mut closures)),
                Trampoline::Transcoder { op, from, to, .. } => {
                    let (from, to) = (from.as_u32() as usize, to.as_u32() as usize);
                    Some(builtin::transcode(stage, *op, from, to, &mut closures))
                }
                Trampoline::Trap => Some(builtin::trap(stage, &mut closures)),
                // Translation lists some that no module imports; whoever does import them is told at instantiation.
                _ => None,
            });
        }
        Ok(Self {
            functions,
            contexts: [Context::new(0, stage), Context::new(1, stage)],
            _closures: closures,
        })
    }

    pub(crate) fn function(&self, index: TrampolineIndex) -> Result<&JsValue, Halt> {
        let function = self
            .functions
            .get(index.as_u32() as usize)
            .and_then(Option::as_ref);
        function.ok_or_else(|| {
            Halt::host("a core module imports a built-in function that is not supported")
        })
    }

    pub(crate) fn intrinsic(&self, intrinsic: UnsafeIntrinsic) -> Result<&JsValue, Halt> {
        match intrinsic {
            UnsafeIntrinsic::ContextGetI32_0 => Ok(self.contexts[0].get.as_ref()),
            UnsafeIntrinsic::ContextGetI32_1 => Ok(self.contexts[1].get.as_ref()),
            UnsafeIntrinsic::ContextSetI32_0 => Ok(self.contexts[0].set.as_ref()),
            UnsafeIntrinsic::ContextSetI32_1 => Ok(self.contexts[1].set.as_ref()),
            _ => Err(Halt::host(
                "a core module imports an intrinsic that is not supported",
            )),
        }
    }
}

/// A slot of `context.get` and `context.set`.
struct Context {
    get: Closure<dyn Fn() -> i32>,
    set: Closure<dyn Fn(i32)>,
}

impl Context {
    fn new(slot: usize, stage: &Rc<Stage>) -> Self {
        let (for_get, for_set) = (Rc::clone(stage), Rc::clone(stage));
        Self {
            get: Closure::new(move || {
                for_get
                    .current()
                    .map_or(0, |instance| instance.context(slot))
            }),
            set: Closure::new(move |value| {
                if let Some(instance) = for_set.current() {
                    instance.set_context(slot, value);
                }
            }),
        }
    }
}

/// An imported function, lowered into the component.
struct Lowered {
    path: Path,
    signature: Signature,
    options: Options,
}

/// Interface and function, as the component writes them.
struct Path {
    interface: String,
    func: String,
}

impl Lowered {
    fn into_function(self, stage: Rc<Stage>) -> Result<(JsValue, Variadic), JsValue> {
        let closure = Variadic::new(move |_target: JsValue, _this: JsValue, args: Array| {
            let Some(instance) = stage.current() else {
                return Err(Error::new("no task runs").into());
            };
            self.call(&instance, &args)
                .map_err(|halt| instance.throw(halt))
        });
        let handler = Object::new();
        Reflect::set(&handler, &"apply".into(), closure.as_ref())?;
        // Any function will do as the target, if only it is one.
        let proxy = Proxy::new(closure.as_ref(), &handler);
        Ok((proxy.unchecked_into(), closure))
    }

    fn call(&self, instance: &Instance, args: &Array) -> Result<JsValue, Halt> {
        instance.expect_may_leave(self.options.guest)?;
        let mut abi = instance.abi(&self.options);
        let address_at = |i: usize| {
            u32_of_number(
                args.get(u32::try_from(i).unwrap_or(u32::MAX))
                    .as_f64()
                    .unwrap_or_default(),
            )
        };

        let signature = &self.signature;
        instance.handles().enter();
        let lifting = Lifting::new(&abi);
        let values = match &signature.flat_params {
            None => lifting.fields(&signature.params, signature.block, address_at(0)),
            Some(types) => {
                let flat = (0..).zip(types).map(|(i, ty)| of_js(*ty, &args.get(i)));
                let mut flat = flat.collect::<Result<Vec<_>, Halt>>()?.into_iter();
                let lift = |field: &Field| lifting.flat(&field.layout, &mut flat);
                signature.params.iter().map(lift).collect()
            }
        };
        // There is no result yet that could be too large.
        let values: Vec<Val> = values.map_err(Halt::in_call)?;
        abi.release();
        check_call(&values)?;
        let results = instance.call_world(&self.path.interface, &self.path.func, &values)?;
        let mut handles = instance.handles();
        handles.expect_room(results.iter().map(owned).sum())?;
        handles.exit()?;
        drop(handles);

        let mut lowering = Lowering::new(&mut abi);
        match (&signature.result, &results[..]) {
            (None, []) => Ok(JsValue::UNDEFINED),
            (Some(layout), [value]) if signature.result_in_memory().is_some() => {
                let room = signature.flat_params.as_ref().map_or(1, |flat| flat.len());
                lowering.at(layout, value, address_at(room))?;
                Ok(JsValue::UNDEFINED)
            }
            (Some(layout), [value]) => {
                let mut flat = Vec::with_capacity(1);
                lowering.flat(layout, value, &mut flat)?;
                Ok(flat
                    .first()
                    .map_or(JsValue::UNDEFINED, |value| to_js(*value)))
            }
            _ => Err(Halt::abi("a value is not of the type that is declared")),
        }
    }
}

/// Handles in a value that the world gives away.
fn owned(val: &Val) -> usize {
    let payload = |val: &Option<Box<Val>>| val.as_deref().map_or(0, owned);
    match val {
        Val::Own(_) => 1,
        Val::List(vals) | Val::Record(vals) | Val::Tuple(vals) => vals.iter().map(owned).sum(),
        Val::Variant(_, val) | Val::Option(val) | Val::Result(Ok(val) | Err(val)) => payload(val),
        _ => 0,
    }
}

fn path(component: &Component, lowered: LoweredIndex) -> Result<Path, ProgramError> {
    let import = component
        .initializers
        .iter()
        .find_map(|initializer| match initializer {
            GlobalInitializer::LowerImport { index, import } if *index == lowered => Some(*import),
            _ => None,
        });
    let import =
        import.ok_or_else(|| ProgramError::Translation("a lowered import is missing".into()))?;
    let (index, names) = &component.imports[import];
    let interface = component.import_types[*index].0.clone();
    match &names[..] {
        [] => Ok(Path {
            interface: String::new(),
            func: interface,
        }),
        [func] => Ok(Path {
            interface,
            func: func.clone(),
        }),
        _ => Err(ProgramError::Unsupported(
            "interfaces within interfaces".into(),
        )),
    }
}

fn callable() -> ProgramError {
    ProgramError::Compilation("host functions cannot be made".into())
}
