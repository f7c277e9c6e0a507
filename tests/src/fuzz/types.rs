//! Generated types of WIT and values of them, echoed by a component of a few lines.
//!
//! The function takes a value and seventeen more parameters, so that all of them travel through memory in one block; its core
//! function gives back the address of that block, where a result of the value's type is to be found. So one core module
//! echoes every type, and what is compared is lowering, lifting, and how often the guest's allocator is asked.

use asterism_component::{Type, Val, value_of_val};
use asterism_protocol::{Limits, Value};
use asterism_simulator::Random;

use super::{Call, Subject};

const DEPTH_MAX: u32 = 4;

/// How often a generated component is called.
const CALLS: usize = 6;

/// Parameters after the value: with them, parameters are more than sixteen core values.
pub const PARAMS_MORE: usize = 17;

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
pub(super) fn subject(random: &mut Random) -> Subject {
    let ty = ty(random, DEPTH_MAX);
    let (component, text) = echo(&ty, random.pick(&Encoding::ALL));
    // As `echo` has it.
    let ty = Type::Tuple(vec![ty, Type::U8]);
    let calls = (0..CALLS).map(|_| {
        let mut args = vec![value_of_val(&ty, &val(&ty, random))];
        args.extend((0..PARAMS_MORE).map(|i| Value::Integer(i as i128)));
        Call {
            func: "echo".into(),
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
    });
    Subject {
        calls: calls.collect(),
        component,
        text,
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
    let params: Vec<_> = (0..PARAMS_MORE)
        .map(|i| format!("(param \"p{i}\" u8)"))
        .collect();
    let text = format!(
        r#"(component
  (core module $m
    (memory (export "memory") 1 1024)
    (global $next (mut i32) (i32.const 64))
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
    (func (export "echo") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
{}  (func (export "echo") (param "v" {name}) {} (result {name})
    (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding={})))
"#,
        text.definitions,
        params.join(" "),
        encoding.name(),
    );
    let component = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (component, text)
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
    definitions: String,
    defined: usize,
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
                self.define(&format!("(list {element})"), false)
            }
            Type::FixedList(element, length) => {
                let element = self.name(element);
                self.define(&format!("(list {element} {length})"), false)
            }
            Type::Map(key, item) => {
                let (key, item) = (self.name(key), self.name(item));
                self.define(&format!("(map {key} {item})"), false)
            }
            Type::Tuple(types) => {
                let types: Vec<_> = types.iter().map(|ty| self.name(ty)).collect();
                self.define(&format!("(tuple {})", types.join(" ")), false)
            }
            Type::Option(inner) => {
                let inner = self.name(inner);
                self.define(&format!("(option {inner})"), false)
            }
            Type::Result { ok, err } => {
                let ok = ok.as_ref().map(|ty| self.name(ty)).unwrap_or_default();
                let err = err.as_ref().map(|ty| format!("(error {})", self.name(ty)));
                self.define(&format!("(result {ok} {})", err.unwrap_or_default()), false)
            }
            Type::Record(fields) => {
                let field =
                    |(name, ty): &(String, Type)| format!("(field \"{name}\" {})", self.name(ty));
                let fields: Vec<_> = fields.iter().map(field).collect();
                self.define(&format!("(record {})", fields.join(" ")), true)
            }
            Type::Variant(cases) => {
                let case = |(name, ty): &(String, Option<Type>)| {
                    let ty = ty.as_ref().map(|ty| self.name(ty)).unwrap_or_default();
                    format!("(case \"{name}\" {ty})")
                };
                let cases: Vec<_> = cases.iter().map(case).collect();
                self.define(&format!("(variant {})", cases.join(" ")), true)
            }
            Type::Enum(names) => self.define(&format!("(enum {})", quoted(names)), true),
            Type::Flags(names) => self.define(&format!("(flags {})", quoted(names)), true),
        }
    }

    /// Types with names in them are exported, or no function could speak of them.
    fn define(&mut self, text: &str, export: bool) -> String {
        let n = self.defined;
        self.defined += 1;
        if export {
            let line = format!("  (type $d{n} {text})\n  (export $t{n} \"t{n}\" (type $d{n}))\n");
            self.definitions.push_str(&line);
        } else {
            self.definitions
                .push_str(&format!("  (type $t{n} {text})\n"));
        }
        format!("$t{n}")
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(" ")
}
