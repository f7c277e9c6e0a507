//! Generated types of WIT and values of them: what is compared is lowering, lifting, and how often the guest's allocator is asked.
//!
//! - `echo`, through memory: the function takes a value and seventeen more parameters, so that all of them travel in one block;
//!   its core function gives back the address of that block, where a result of the value's type is to be found. So one core
//!   module echoes every type.
//! - By value: `digest` takes what fits into sixteen core values, and gives a number made of them and of the memory that they
//!   lead to; where one core value is enough, `same` gives it back, and `of` makes one of any bits.
//! - Composed: a component passes both on to another one, whose strings may lie otherwise.

use asterism_component::{
    Type, Val,
    abi::{FLAT_PARAMS_MAX, FlatType, Layout},
    value_of_val,
};
use asterism_protocol::{Limits, Value};
use asterism_simulator::Random;

use super::{Call, Subject};

/// How deep types branch.
const DEPTH_MAX: u32 = 4;

/// How many more types, each with one inside, may stand around one that branches.
const LAYERS_MAX: u64 = 20;

/// How often a generated function is called.
const CALLS: usize = 6;

/// Most parameters that are passed by value.
const PARAMS_MAX: u64 = 4;

/// Parameters after the value: with them, parameters are more than sixteen core values.
pub const PARAMS_MORE: usize = 17;

/// Where a component has its memory from; what it leads to begins here.
const START: u32 = 64;

/// How a component's strings lie in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16.
    Utf16,
    /// Latin-1 where that is enough, else UTF-16.
    Latin1OrUtf16,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Utf8, Self::Utf16, Self::Latin1OrUtf16];

    /// As the canonical ABI calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Utf16 => "utf16",
            Self::Latin1OrUtf16 => "latin1+utf16",
        }
    }
}

/// A generated type, echoed with generated values.
pub(super) fn through_memory(random: &mut Random) -> Subject {
    let ty = deep(random);
    let (component, text) = echo(&ty, random.pick(&Encoding::ALL));
    Subject {
        calls: echoes(&ty, random),
        component,
        text,
    }
}

/// Generated types that are passed by value.
pub(super) fn by_value(random: &mut Random) -> Subject {
    let types = flat(random);
    let mut text = Text::default();
    let names: Vec<_> = types.iter().map(|ty| text.name(ty)).collect();
    let digest = Function::digest(&types, &names);
    let mut functions = vec![digest];
    // What is one core value may be a result, too.
    if let Some((ty, name, core)) = types.iter().zip(&names).find_map(|(ty, name)| {
        let flat = Layout::of(ty).flat?;
        (flat.len() == 1).then(|| (ty, name, flat[0]))
    }) {
        functions.extend(Function::of_one(ty, name, core));
    }
    let text = format!(
        "(component\n{}{}{}\n)\n",
        memory(START, &functions),
        text.defined(),
        lifted(&functions, random.pick(&Encoding::ALL)),
    );
    Subject {
        calls: functions.iter().flat_map(|f| f.calls(random)).collect(),
        component: binary(&text),
        text,
    }
}

/// A component that passes generated values on to another one, and back.
pub(super) fn composed(random: &mut Random) -> Subject {
    let echoed = deep(random);
    let whole = Type::Tuple(vec![echoed.clone(), Type::U8]);
    let flat = flat(random);
    let mut types = Text::default();
    let name = types.name(&whole);
    let names: Vec<_> = flat.iter().map(|ty| types.name(ty)).collect();
    let (echo, digest) = (Function::echo(&name), Function::digest(&flat, &names));
    let (outer, inner) = (random.pick(&Encoding::ALL), random.pick(&Encoding::ALL));
    // Where the inner one's result goes.
    let room = Layout::of(&whole).size.next_multiple_of(8);
    let functions = [echo, digest];
    let [echo, digest] = &functions;
    let core = digest.core_type();
    let pass: String = (0..digest.core.len())
        .map(|n| format!("(local.get {n})"))
        .collect();
    // Beside each other: none may call what is within it.
    let text = format!(
        r#"(component
  (component $inner
{}{}{})
  (instance $inner (instantiate $inner))
  (component $outer
{}{}  (import "echo" (func $echo {}))
  (import "digest" (func $digest {}))
  (core func $echo (canon lower (func $echo) {options}))
  (core func $digest (canon lower (func $digest) {options}))
  (core module $pass
    (import "" "echo" (func $echo (param i32 i32)))
    (import "" "digest" (func $digest {core}))
    (func (export "echo") (param i32) (result i32)
      (call $echo (local.get 0) (i32.const {START})) (i32.const {START}))
    (func (export "digest") {core} (call $digest {pass})))
  (core instance $pass (instantiate $pass (with "" (instance
    (export "echo" (func $echo))
    (export "digest" (func $digest))))))
{})
{}  (instance $outer (instantiate $outer{}
    (with "echo" (func $inner "echo")) (with "digest" (func $inner "digest"))))
  (export "echo" (func $outer "echo") (func {}))
  (export "digest" (func $outer "digest") (func {})))
"#,
        memory(START, &functions),
        types.defined(),
        lifted(&functions, inner),
        memory(START + room, &[]),
        types.imported(),
        echo.ty,
        digest.ty,
        lifted_from("$pass", &functions, outer),
        types.defined(),
        types.handed(),
        echo.ty,
        digest.ty,
        options = options(outer),
    );
    let mut calls = echoes(&echoed, random);
    calls.extend(functions[1].calls(random));
    Subject {
        calls,
        component: binary(&text),
        text,
    }
}

/// Calls of `echo` with values of this type.
fn echoes(ty: &Type, random: &mut Random) -> Vec<Call> {
    // As `echo` has it.
    let ty = Type::Tuple(vec![ty.clone(), Type::U8]);
    let calls = (0..CALLS).map(|_| {
        let mut args = vec![value_of_val(&ty, &val(&ty, random))];
        args.extend((0..PARAMS_MORE).map(|i| Value::Integer(i as i128)));
        call("echo", args, random)
    });
    calls.collect()
}

fn call(func: &str, args: Vec<Value>, random: &mut Random) -> Call {
    Call {
        func: func.to_owned(),
        args,
        limits: Limits {
            fuel: if random.chance(100) {
                random.below(200)
            } else {
                1_000_000_000
            },
            memory: if random.chance(100) { 1 << 17 } else { 1 << 26 },
            time_ms: 60_000,
        },
    }
}

/// A component whose `echo` gives back a tuple of a value of this type and a `u8`, and takes that and [`PARAMS_MORE`] more
/// `u8`; and its text. A tuple, so that it never is one core value, which would not travel through memory as a result.
///
/// # Panics
/// The type is none of a component's: too deep, or an empty record.
#[must_use]
pub fn echo(ty: &Type, encoding: Encoding) -> (Vec<u8>, String) {
    let mut text = Text::default();
    let name = text.name(&Type::Tuple(vec![ty.clone(), Type::U8]));
    let functions = [Function::echo(&name)];
    let text = format!(
        "(component\n{}{}{})\n",
        memory(START, &functions),
        text.defined(),
        lifted(&functions, encoding)
    );
    (binary(&text), text)
}

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A function of a generated component.
struct Function {
    name: &'static str,
    /// Its types as text.
    ty: String,
    /// What it takes, where calls are made of that alone.
    params: Vec<Type>,
    /// Its core parameters.
    core: Vec<FlatType>,
    core_result: FlatType,
    /// Its core function's instructions.
    body: String,
}

impl Function {
    fn echo(name: &str) -> Self {
        let more: Vec<_> = (0..PARAMS_MORE)
            .map(|i| format!("(param \"p{i}\" u8)"))
            .collect();
        Self {
            name: "echo",
            ty: format!("(param \"v\" {name}) {} (result {name})", more.join(" ")),
            params: Vec::new(),
            core: vec![FlatType::I32],
            core_result: FlatType::I32,
            body: "(local.get 0)".to_owned(),
        }
    }

    fn digest(types: &[Type], names: &[String]) -> Self {
        let params = names.iter().enumerate();
        let params: Vec<_> = params
            .map(|(i, name)| format!("(param \"p{i}\" {name})"))
            .collect();
        let core: Vec<_> = types
            .iter()
            .filter_map(|ty| Layout::of(ty).flat)
            .flatten()
            .collect();
        let (hash, at) = (core.len(), core.len() + 1);
        let add = |value: &str| {
            format!(
                "      (local.set {hash} (i64.add (i64.mul (local.get {hash}) (i64.const 31)) {value}))\n"
            )
        };
        let mut body = String::from("(local i64 i32)\n");
        for (n, ty) in core.iter().enumerate() {
            body.push_str(&add(&match ty {
                FlatType::I32 => format!("(i64.extend_i32_u (local.get {n}))"),
                FlatType::I64 => format!("(local.get {n})"),
                FlatType::F32 => {
                    format!("(i64.extend_i32_u (i32.reinterpret_f32 (local.get {n})))")
                }
                FlatType::F64 => format!("(i64.reinterpret_f64 (local.get {n}))"),
            }));
        }
        body.push_str(&format!(
            "      (local.set {at} (i32.const {START}))
      (block $done (loop $more
        (br_if $done (i32.ge_u (local.get {at}) (global.get $next)))
  {}        (local.set {at} (i32.add (local.get {at}) (i32.const 1)))
        (br $more)))
      (local.get {hash})",
            add(&format!("(i64.load8_u (local.get {at}))"))
        ));
        Self {
            name: "digest",
            ty: format!("{} (result u64)", params.join(" ")),
            params: types.to_vec(),
            core,
            core_result: FlatType::I64,
            body,
        }
    }

    /// What a type of one core value can be asked for.
    fn of_one(ty: &Type, name: &str, core: FlatType) -> [Self; 2] {
        let made = match core {
            FlatType::I32 => "(i32.wrap_i64 (local.get 0))",
            FlatType::I64 => "(local.get 0)",
            FlatType::F32 => "(f32.reinterpret_i32 (i32.wrap_i64 (local.get 0)))",
            FlatType::F64 => "(f64.reinterpret_i64 (local.get 0))",
        };
        [
            Self {
                name: "same",
                ty: format!("(param \"v\" {name}) (result {name})"),
                params: vec![ty.clone()],
                core: vec![core],
                core_result: core,
                body: "(local.get 0)".to_owned(),
            },
            Self {
                name: "of",
                ty: format!("(param \"bits\" u64) (result {name})"),
                params: vec![Type::U64],
                core: vec![FlatType::I64],
                core_result: core,
                body: made.to_owned(),
            },
        ]
    }

    fn core_type(&self) -> String {
        let params: Vec<_> = self.core.iter().map(|ty| core_name(*ty)).collect();
        format!(
            "(param {}) (result {})",
            params.join(" "),
            core_name(self.core_result)
        )
    }

    fn calls(&self, random: &mut Random) -> Vec<Call> {
        let calls = (0..CALLS).map(|_| {
            let params = self.params.iter();
            let args = params.map(|ty| value_of_val(ty, &val(ty, random)));
            let args = args.collect();
            call(self.name, args, random)
        });
        calls.collect()
    }
}

fn core_name(ty: FlatType) -> &'static str {
    match ty {
        FlatType::I32 => "i32",
        FlatType::I64 => "i64",
        FlatType::F32 => "f32",
        FlatType::F64 => "f64",
    }
}

/// A core instance `$i` with a memory whose free part begins here, and with these functions.
fn memory(start: u32, functions: &[Function]) -> String {
    let functions: String = functions
        .iter()
        .map(|function| {
            format!(
                "    (func (export \"{}\") {} {})\n",
                function.name,
                function.core_type(),
                function.body
            )
        })
        .collect();
    let pages = start.div_ceil(1 << 16);
    format!(
        r#"  (core module $m
    (memory (export "memory") {pages} 1024)
    (global $next (mut i32) (i32.const {start}))
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $address i32)
      (local.set $address (i32.and
        (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $next (i32.add (local.get $address) (local.get $size)))
      (block $room (loop $grow
        (br_if $room (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (br $grow)))
      (memory.copy (local.get $address) (local.get $old)
        (select (local.get $old-size) (local.get $size) (i32.lt_u (local.get $old-size) (local.get $size))))
      (local.get $address))
{functions}  )
  (core instance $i (instantiate $m))
"#
    )
}

/// How values pass, with memory and allocator of `$i`.
fn options(encoding: Encoding) -> String {
    format!(
        "(memory (core memory $i \"memory\")) (realloc (core func $i \"realloc\")) string-encoding={}",
        encoding.name()
    )
}

fn lifted(functions: &[Function], encoding: Encoding) -> String {
    lifted_from("$i", functions, encoding)
}

/// These functions of a core instance, as exports.
fn lifted_from(instance: &str, functions: &[Function], encoding: Encoding) -> String {
    let options = options(encoding);
    let lift = |Function { name, ty, .. }: &Function| {
        format!(
            "  (func (export \"{name}\") {ty} (canon lift (core func {instance} \"{name}\") {options}))\n"
        )
    };
    functions.iter().map(lift).collect()
}

/// Types that are passed by value together.
fn flat(random: &mut Random) -> Vec<Type> {
    let mut room = FLAT_PARAMS_MAX;
    let mut types = Vec::new();
    for _ in 0..1 + random.below(PARAMS_MAX) {
        let depth = random.below(4) as u32;
        let ty = ty(random, depth);
        match Layout::of(&ty).flat {
            Some(flat) if flat.len() <= room => {
                room -= flat.len();
                types.push(ty);
            }
            _ => {}
        }
    }
    if types.is_empty() {
        types.push(ty(random, 0));
    }
    types
}

/// A type that branches, and perhaps more of them around it: most of what is deep is no wider for it.
fn deep(random: &mut Random) -> Type {
    let layers = if random.chance(500) {
        0
    } else {
        random.below(LAYERS_MAX)
    };
    let start = if layers == 0 { DEPTH_MAX } else { 2 };
    (0..layers).fold(ty(random, start), |inner, _| {
        let scalar = |random: &mut Random| ty(random, 0);
        match random.below(9) {
            0 => Type::List(Box::new(inner)),
            1 => Type::FixedList(Box::new(inner), 1),
            2 => Type::Map(Box::new(Type::U16), Box::new(inner)),
            3 => Type::Record(vec![
                ("n0".to_owned(), scalar(random)),
                ("n1".to_owned(), inner),
            ]),
            4 => Type::Tuple(vec![inner, scalar(random)]),
            5 => Type::Variant(vec![
                ("n0".to_owned(), Some(scalar(random))),
                ("n1".to_owned(), Some(inner)),
            ]),
            6 => Type::Result {
                ok: Some(Box::new(inner)),
                err: Some(Box::new(scalar(random))),
            },
            7 => Type::Result {
                ok: None,
                err: Some(Box::new(inner)),
            },
            _ => Type::Option(Box::new(inner)),
        }
    })
}

fn ty(random: &mut Random, depth: u32) -> Type {
    use Type::{Bool, Char, F32, F64, S8, S16, S32, S64, String, U8, U16, U32, U64};
    const SCALARS: usize = 13;
    let scalar = |random: &mut Random| {
        let all = [
            Bool, S8, U8, S16, U16, S32, U32, S64, U64, F32, F64, Char, String,
        ];
        all[random.below(SCALARS as u64) as usize].clone()
    };
    if depth == 0 {
        return scalar(random);
    }
    let inner = |random: &mut Random| ty(random, depth - 1);
    let names = |n: u64| (0..n).map(|i| format!("n{i}")).collect::<Vec<_>>();
    let maybe = |random: &mut Random| random.chance(600).then(|| Box::new(ty(random, depth - 1)));
    match random.below(14) {
        0..=2 => scalar(random),
        3 => Type::List(Box::new(U8)),
        4 => Type::List(Box::new(inner(random))),
        5 => Type::FixedList(Box::new(inner(random)), 1 + random.below(5) as u32),
        6 => {
            let key = [Bool, S8, U16, U32, S64, Char, String][random.below(7) as usize].clone();
            Type::Map(Box::new(key), Box::new(inner(random)))
        }
        7 => {
            let names = names(1 + random.below(4));
            Type::Record(
                names
                    .into_iter()
                    .map(|name| (name, inner(random)))
                    .collect(),
            )
        }
        8 => Type::Tuple((0..1 + random.below(4)).map(|_| inner(random)).collect()),
        9 => {
            let names = names(1 + random.below(5));
            let case = |name| (name, maybe(random).map(|ty| *ty));
            Type::Variant(names.into_iter().map(case).collect())
        }
        10 => Type::Enum(names(random.pick(&[1, 3, 256, 257]))),
        11 => Type::Flags(names(1 + random.below(32))),
        12 => Type::Option(Box::new(inner(random))),
        _ => Type::Result {
            ok: maybe(random),
            err: maybe(random),
        },
    }
}

fn val(ty: &Type, random: &mut Random) -> Val {
    let bits = random.number();
    let edge = random.chance(300);
    let payload = |ty: &Option<Box<Type>>, random: &mut Random| {
        ty.as_ref().map(|ty| Box::new(val(ty, random)))
    };
    match ty {
        Type::Bool => Val::Bool(bits.is_multiple_of(2)),
        Type::S8 => Val::S8(if edge { i8::MIN } else { bits as i8 }),
        Type::U8 => Val::U8(bits as u8),
        Type::S16 => Val::S16(if edge { i16::MIN } else { bits as i16 }),
        Type::U16 => Val::U16(if edge { u16::MAX } else { bits as u16 }),
        Type::S32 => Val::S32(if edge { i32::MIN } else { bits as i32 }),
        Type::U32 => Val::U32(if edge { u32::MAX } else { bits as u32 }),
        Type::S64 => Val::S64(if edge { i64::MIN } else { bits as i64 }),
        Type::U64 => Val::U64(if edge { u64::MAX } else { bits }),
        Type::F32 => Val::F32(if edge {
            f32::NAN
        } else {
            f32::from_bits(bits as u32)
        }),
        Type::F64 => Val::F64(if edge {
            f64::NEG_INFINITY
        } else {
            f64::from_bits(bits)
        }),
        Type::Char => Val::Char(char(random)),
        Type::String => Val::String(string(random)),
        Type::List(_) if ty.is_bytes() => {
            Val::Bytes((0..bits % 40).map(|_| random.number() as u8).collect())
        }
        Type::FixedList(_, length) if ty.is_bytes() => {
            Val::Bytes((0..*length).map(|_| random.number() as u8).collect())
        }
        Type::List(element) => Val::List((0..bits % 5).map(|_| val(element, random)).collect()),
        Type::FixedList(element, length) => {
            Val::List((0..*length).map(|_| val(element, random)).collect())
        }
        Type::Map(key, item) => {
            let pair = |_| (val(key, random), val(item, random));
            Val::Map((0..bits % 4).map(pair).collect())
        }
        Type::Record(fields) => Val::Record(fields.iter().map(|(_, ty)| val(ty, random)).collect()),
        Type::Tuple(types) => Val::Tuple(types.iter().map(|ty| val(ty, random)).collect()),
        Type::Variant(cases) => {
            let index = random.below(cases.len() as u64) as usize;
            let payload = cases[index].1.as_ref().map(|ty| Box::new(val(ty, random)));
            Val::Variant(index as u32, payload)
        }
        Type::Enum(names) => Val::Enum(random.below(names.len() as u64) as u32),
        Type::Flags(names) => Val::Flags(names.iter().map(|_| random.chance(500)).collect()),
        Type::Option(inner) => {
            Val::Option(random.chance(600).then(|| Box::new(val(inner, random))))
        }
        Type::Result { ok, err } => Val::Result(if random.chance(500) {
            Ok(payload(ok, random))
        } else {
            Err(payload(err, random))
        }),
    }
}

fn char(random: &mut Random) -> char {
    let most = random.pick(&[0x80, 0x100, 0x3000, 0x11_0000]);
    char::from_u32(random.below(most) as u32).unwrap_or('\u{fffd}')
}

fn string(random: &mut Random) -> String {
    let length = random.pick(&[0, 1, 3, 20, 300]);
    (0..length).map(|_| char(random)).collect()
}

/// Types as text: those with names of their own are defined first.
#[derive(Default)]
struct Text {
    /// What each is, and whether it has names in it: then it is exported, or no function could speak of it.
    definitions: Vec<(String, bool)>,
}

impl Text {
    fn name(&mut self, ty: &Type) -> String {
        match ty {
            Type::Bool
            | Type::S8
            | Type::U8
            | Type::S16
            | Type::U16
            | Type::S32
            | Type::U32
            | Type::S64
            | Type::U64
            | Type::F32
            | Type::F64
            | Type::Char
            | Type::String => ty.to_string(),
            Type::List(element) => {
                let element = self.name(element);
                self.define(format!("(list {element})"), false)
            }
            Type::FixedList(element, length) => {
                let element = self.name(element);
                self.define(format!("(list {element} {length})"), false)
            }
            Type::Map(key, item) => {
                let (key, item) = (self.name(key), self.name(item));
                self.define(format!("(map {key} {item})"), false)
            }
            Type::Tuple(types) => {
                let types: Vec<_> = types.iter().map(|ty| self.name(ty)).collect();
                self.define(format!("(tuple {})", types.join(" ")), false)
            }
            Type::Option(inner) => {
                let inner = self.name(inner);
                self.define(format!("(option {inner})"), false)
            }
            Type::Result { ok, err } => {
                let ok = ok.as_ref().map(|ty| self.name(ty)).unwrap_or_default();
                let err = err.as_ref().map(|ty| format!("(error {})", self.name(ty)));
                self.define(format!("(result {ok} {})", err.unwrap_or_default()), false)
            }
            Type::Record(fields) => {
                let field =
                    |(name, ty): &(String, Type)| format!("(field \"{name}\" {})", self.name(ty));
                let fields: Vec<_> = fields.iter().map(field).collect();
                self.define(format!("(record {})", fields.join(" ")), true)
            }
            Type::Variant(cases) => {
                let case = |(name, ty): &(String, Option<Type>)| {
                    let ty = ty.as_ref().map(|ty| self.name(ty)).unwrap_or_default();
                    format!("(case \"{name}\" {ty})")
                };
                let cases: Vec<_> = cases.iter().map(case).collect();
                self.define(format!("(variant {})", cases.join(" ")), true)
            }
            Type::Enum(names) => self.define(format!("(enum {})", quoted(names)), true),
            Type::Flags(names) => self.define(format!("(flags {})", quoted(names)), true),
        }
    }

    fn define(&mut self, text: String, named: bool) -> String {
        self.definitions.push((text, named));
        format!("$t{}", self.definitions.len() - 1)
    }

    /// Definitions of all of them.
    fn defined(&self) -> String {
        self.lines(|n| format!("(export $t{n} \"t{n}\" (type $d{n}))"))
    }

    /// Definitions of all of them, where those with names are imported.
    fn imported(&self) -> String {
        self.lines(|n| format!("(import \"t{n}\" (type $t{n} (eq $d{n})))"))
    }

    /// What is handed to who imports them.
    fn handed(&self) -> String {
        let named = self.definitions.iter().enumerate();
        let named = named.filter(|(_, (_, has_names))| *has_names);
        named
            .map(|(n, _)| format!(" (with \"t{n}\" (type $t{n}))"))
            .collect()
    }

    fn lines(&self, named: impl Fn(usize) -> String) -> String {
        let line = |(n, (text, has_names)): (usize, &(String, bool))| {
            if *has_names {
                format!("  (type $d{n} {text})\n  {}\n", named(n))
            } else {
                format!("  (type $t{n} {text})\n")
            }
        };
        self.definitions.iter().enumerate().map(line).collect()
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(" ")
}
