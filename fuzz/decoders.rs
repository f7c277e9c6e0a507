//! Whatever reads bytes from strangers, and what must hold for any bytes: it ends, it does not panic, and what it took is what
//! it would write. One function for each target of libFuzzer; the tests feed them the corpus.

use std::{borrow::Cow, collections::BTreeMap, fmt::Debug};

use asterism_component::{
    Function, Type,
    abi::{Broken, Encoding, Layout, Lifting, Lowering, Source, Target},
    arg_mistakes, args_by_text, args_of_values, canonical_args, inspect, outline, val_of_value,
    value_of_text, value_of_val, wrap,
};
use asterism_host_browser::metering::meter;
use asterism_protocol::{
    Cid, FunctionLookup, Graph, Instruction, Outcome, Receipt, Task, Value, Workflow, decode,
    encode, from_json, from_value, json_of,
    limits::FRAME_BYTES_MAX,
    message::{ToCoordinator, ToExecutor, ToWatched, ToWatcher, decode_frame},
    to_json, to_value, value_of_json,
};
use serde::{Serialize, de::DeserializeOwned};
use wasmparser::{Parser, Payload, Validator};

/// Largest module whose rewrite is validated again.
const REWRITTEN_BYTES_MAX: usize = 1 << 20;

/// A component, a core module or the text of either, as somebody adds it: what is taken can be rewritten for a tab.
pub(crate) fn component(bytes: &[u8]) {
    let Ok(component) = wrap(bytes) else {
        return;
    };
    let Ok(read) = inspect(&component) else {
        // A host that has not seen its code may take it; the engine validates that.
        let _ = outline(&component);
        return;
    };
    assert_eq!(
        outline(&component).as_ref(),
        Ok(&read),
        "hosts see another component"
    );
    for function in &read.functions {
        let _ = function.signature();
        let _ = args_by_text(function, &[]);
    }
    for payload in Parser::new(0).parse_all(&component) {
        let payload = payload.expect("it was inspected");
        let Payload::ModuleSection {
            unchecked_range, ..
        } = payload
        else {
            continue;
        };
        let module = &component[unchecked_range];
        // Modules that are only carried and never instantiated are rewritten, too.
        let Ok(metered) = meter(module) else {
            continue;
        };
        if metered.wasm.len() <= REWRITTEN_BYTES_MAX {
            let mut validator = Validator::new_with_features(asterism_component::features());
            if let Err(error) = validator.validate_all(&metered.wasm) {
                panic!("the rewrite of a valid module is not valid: {error}");
            }
        }
    }
}

/// Values as people write them, and values as a guest leaves them in its memory: of a type that the first bytes make.
pub(crate) fn values(bytes: &[u8]) {
    let (&kind, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut plan = Plan(rest);
    let ty = plan.ty(4);
    let rest = plan.0;
    if kind & 1 == 0 {
        lifted(&ty, encoding(kind >> 1), rest);
    } else {
        written(ty, rest);
    }
}

/// A frame of the WebSocket, in every direction.
pub(crate) fn frames(bytes: &[u8]) {
    frame::<ToExecutor>(bytes);
    frame::<ToWatched>(bytes);
    frame::<ToWatcher>(bytes);
    if let Some(message) = frame::<ToCoordinator>(bytes) {
        let _ = message.check();
        if let ToCoordinator::Deliver { items, .. } = &message {
            for item in items {
                let _ = item.outcome.check();
                let _ = item.outcome.failure();
                let _ = item.remark.clone().cut().check();
            }
        }
    }
}

/// Content of every type: what is read is written the same, so it has the CID that it came with.
pub(crate) fn dag_cbor(bytes: &[u8]) {
    if let Some(value) = content::<Value>(bytes) {
        match value_of_json(json_of(&value).as_bytes()) {
            Ok(again) => assert!(
                again == value || has_integer_below_s64(&value),
                "{value:?} is {again:?} in JSON"
            ),
            // What is around a value may be deeper than a value, in DAG-CBOR alone.
            Err(error) => assert!(
                error.to_string().contains("nested") || has_integer_below_s64(&value),
                "{error}"
            ),
        }
        let _ = asterism_document::check(bytes, &Anything);
    }
    content::<Task>(bytes);
    content::<Outcome>(bytes);
    if let Some(instruction) = content::<Instruction>(bytes) {
        let _ = instruction.component();
        let _ = instruction.promises();
        let _ = instruction.resolve(&|_| None);
    }
    if let Some(workflow) = content::<Workflow>(bytes) {
        let _ = workflow.check();
        let _: Result<Graph, _> = workflow.graph();
    }
    if let Some(receipt) = content::<Receipt>(bytes) {
        let _ = receipt.verify();
        let _ = receipt.outcome().map(|outcome| outcome.failure());
        let _ = (
            receipt.evidence(),
            receipt.attestation(),
            receipt.rests_on(),
        );
    }
}

fn frame<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let message: T = decode_frame(bytes).ok()?;
    assert_eq!(encode(&message), bytes, "{message:?} is written otherwise");
    Some(message)
}

fn content<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let content: T = decode("content", bytes, FRAME_BYTES_MAX).ok()?;
    assert_eq!(encode(&content), bytes, "{content:?} is written otherwise");
    let value = to_value(&content);
    let again = from_value::<T>("content", value);
    assert_eq!(again.as_ref(), Ok(&content), "by way of a value");
    let _ = from_json::<T>("content", to_json(&content).as_bytes());
    Some(content)
}

/// The reader of JSON takes an integer below -2^63 for a float, or refuses it. No type of WIT has such integers.
fn has_integer_below_s64(value: &Value) -> bool {
    match value {
        Value::Integer(n) => *n < i128::from(i64::MIN),
        Value::List(items) => items.iter().any(has_integer_below_s64),
        Value::Map(entries) => entries.values().any(has_integer_below_s64),
        _ => false,
    }
}

/// Takes any function to be there.
struct Anything;

impl FunctionLookup for Anything {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        let component = rsc.ok_or_else(|| "it names no component".to_owned())?;
        Ok((component, func.to_owned()))
    }

    fn canonical(&self, _: Cid, _: &str, args: Vec<Value>) -> Result<Vec<Value>, String> {
        Ok(args)
    }
}

fn encoding(bits: u8) -> Encoding {
    match bits % 3 {
        0 => Encoding::Utf8,
        1 => Encoding::Utf16,
        _ => Encoding::Latin1OrUtf16,
    }
}

/// What a guest left: if it is a value, then one that goes into a guest and comes out of it again.
fn lifted(ty: &Type, encoding: Encoding, memory: &[u8]) {
    let layout = Layout::of(ty);
    let guest = Guest {
        encoding,
        memory: Cow::Borrowed(memory),
        next: 0,
    };
    let Ok(val) = Lifting::new(&guest).at(&layout, 0) else {
        return;
    };
    let value = value_of_val(ty, &val);
    let read = val_of_value(ty, &value, &BTreeMap::new(), "args");
    let read = read.unwrap_or_else(|error| panic!("{value:?} is no value of {ty}: {error}"));
    assert_eq!(value_of_val(ty, &read), value, "a value of {ty} changed");
    let mut guest = Guest {
        encoding,
        memory: Cow::Owned(vec![0; layout.size as usize]),
        next: layout.size,
    };
    if Lowering::new(&mut guest).at(&layout, &read, 0).is_err() {
        // Memory of the guest ends.
        return;
    }
    match Lifting::new(&guest).at(&layout, 0) {
        Ok(again) => assert_eq!(value_of_val(ty, &again), value, "{ty} through a guest"),
        Err(broken) => panic!("{ty} does not come out of a guest: {broken}"),
    }
}

/// What a person wrote, as text of an argument and as JSON, for a function with one parameter of the type.
fn written(ty: Type, text: &[u8]) {
    let _ = asterism_document::check(text, &Anything);
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    let function = Function {
        name: "f".into(),
        params: vec![("value".into(), ty)],
        result: None,
    };
    let ty = &function.params[0].1;
    let values = [
        value_of_text(ty, text).ok(),
        value_of_json(text.as_bytes()).ok(),
    ];
    for value in values.into_iter().flatten() {
        let args = [value];
        let mistakes = arg_mistakes(&function, &args, &|_, _| Ok(()));
        let canonical = canonical_args(&function, &args);
        assert_eq!(canonical.is_ok(), mistakes.is_empty(), "{mistakes:?}");
        let Ok(canonical) = canonical else {
            continue;
        };
        assert_eq!(
            canonical_args(&function, &canonical).as_ref(),
            Ok(&canonical),
            "the canonical form of a value of {ty} has another canonical form"
        );
        assert_eq!(
            decode::<Value>("value", &encode(&canonical[0]), usize::MAX).as_ref(),
            Ok(&canonical[0]),
            "a value of {ty} as DAG-CBOR"
        );
        let _ = args_of_values(&function, &canonical, &BTreeMap::new());
    }
}

/// Memory with an allocator that never frees.
struct Guest<'a> {
    encoding: Encoding,
    memory: Cow<'a, [u8]>,
    next: u32,
}

/// Most memory of a guest.
const MEMORY_MAX: usize = 1 << 20;

impl Source for Guest<'_> {
    type Error = Broken;

    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn read(&self, address: u32, length: u32) -> Option<Cow<'_, [u8]>> {
        let start = address as usize;
        let bytes = self
            .memory
            .get(start..start.checked_add(length as usize)?)?;
        Some(Cow::Borrowed(bytes))
    }
}

impl Target for Guest<'_> {
    type Error = Broken;

    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn size(&mut self) -> u64 {
        self.memory.len() as u64
    }

    fn reallocate(&mut self, old: (u32, u32), align: u32, size: u32) -> Result<u32, Broken> {
        let full = || Broken {
            kind: asterism_protocol::TrapKind::InvalidAbi,
            message: "its memory is full".into(),
        };
        let address = self.next.checked_next_multiple_of(align).ok_or_else(full)?;
        let end = address.checked_add(size).ok_or_else(full)?;
        if end as usize > MEMORY_MAX {
            return Err(full());
        }
        self.next = end;
        let memory = self.memory.to_mut();
        if memory.len() < end as usize {
            memory.resize(end as usize, 0);
        }
        let kept = old.1.min(size) as usize;
        memory.copy_within(old.0 as usize..old.0 as usize + kept, address as usize);
        Ok(address)
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), Broken> {
        let start = address as usize;
        self.memory.to_mut()[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// A type, made of bytes that it uses up.
struct Plan<'a>(&'a [u8]);

impl Plan<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&12, &[]));
        self.0 = rest;
        *byte
    }

    fn ty(&mut self, depth: u32) -> Type {
        let scalars = [
            Type::Bool,
            Type::S8,
            Type::U8,
            Type::S16,
            Type::U16,
            Type::S32,
            Type::U32,
            Type::S64,
            Type::U64,
            Type::F32,
            Type::F64,
            Type::Char,
            Type::String,
        ];
        let byte = self.byte() as usize % if depth == 0 { scalars.len() } else { 24 };
        if let Some(scalar) = scalars.get(byte) {
            return scalar.clone();
        }
        match byte - scalars.len() {
            0 => Type::List(Box::new(self.ty(depth - 1))),
            1 => {
                let length = 1 + u32::from(self.byte() % 8);
                Type::FixedList(Box::new(self.ty(depth - 1)), length)
            }
            2 => {
                let keys = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12];
                let key = scalars[keys[self.byte() as usize % keys.len()]].clone();
                Type::Map(Box::new(key), Box::new(self.ty(depth - 1)))
            }
            3 => {
                let fields = self.names(4).into_iter();
                Type::Record(fields.map(|name| (name, self.ty(depth - 1))).collect())
            }
            4 => {
                let types = self.names(4).into_iter();
                Type::Tuple(types.map(|_| self.ty(depth - 1)).collect())
            }
            5 => {
                let cases = self.names(4).into_iter();
                let case = |name| (name, self.payload(depth).map(|ty| *ty));
                Type::Variant(cases.map(case).collect())
            }
            6 => Type::Enum(self.names(255)),
            7 => Type::Flags(self.names(32)),
            8 => Type::Option(Box::new(self.ty(depth - 1))),
            9 => Type::Result {
                ok: self.payload(depth),
                err: self.payload(depth),
            },
            _ => Type::List(Box::new(Type::U8)),
        }
    }

    fn names(&mut self, most: u8) -> Vec<String> {
        (0..1 + self.byte() % most)
            .map(|n| format!("n{n}"))
            .collect()
    }

    fn payload(&mut self, depth: u32) -> Option<Box<Type>> {
        (self.byte() % 2 == 1).then(|| Box::new(self.ty(depth - 1)))
    }
}
