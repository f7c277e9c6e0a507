//! Types that a task can carry, and the functions over them.

use std::fmt;

use crate::name;

/// A WIT type that a value can have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are WIT's")]
pub enum Type {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Box<Type>),
    /// `list<T, N>`.
    FixedList(Box<Type>, u32),
    /// `map<K, V>`.
    Map(Box<Type>, Box<Type>),
    Record(Vec<(String, Type)>),
    Tuple(Vec<Type>),
    Variant(Vec<(String, Option<Type>)>),
    Enum(Vec<String>),
    Flags(Vec<String>),
    Option(Box<Type>),
    Result {
        ok: Option<Box<Type>>,
        err: Option<Box<Type>>,
    },
}

impl Type {
    /// Is it `list<u8>` or `list<u8, N>`, whose values are byte strings?
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        matches!(self, Self::List(element) | Self::FixedList(element, _) if **element == Self::U8)
    }

    /// Is it one of the types of whole numbers?
    #[must_use]
    pub fn is_integer(&self) -> bool {
        matches!(
            self,
            Self::S8
                | Self::U8
                | Self::S16
                | Self::U16
                | Self::S32
                | Self::U32
                | Self::S64
                | Self::U64
        )
    }

    /// Can the IPLD form of its values be Null? Then an option of it is a list of none or one.
    #[must_use]
    pub fn can_be_null(&self) -> bool {
        matches!(self, Self::Option(inner) if !inner.can_be_null())
    }

    /// Can values of it be keys of a map? Those that have an order: WIT has no others.
    pub(crate) fn can_be_key(&self) -> bool {
        self.is_integer() || matches!(self, Self::Bool | Self::Char | Self::String)
    }

    /// The value type of `list<tuple<string, V>>`, which may be written as a map.
    pub(crate) fn pairs(&self) -> Option<&Self> {
        match self {
            Self::List(element) => match &**element {
                Self::Tuple(types) => match &types[..] {
                    [Self::String, value] => Some(value),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }
}

/// The type as WIT writes it, with records and the like spelled out where they stand.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opt = |ty: &Option<Box<Self>>| {
            ty.as_ref()
                .map_or_else(|| "_".to_owned(), ToString::to_string)
        };
        let join = |items: Vec<String>| items.join(", ");
        match self {
            Self::Bool => f.write_str("bool"),
            Self::S8 => f.write_str("s8"),
            Self::U8 => f.write_str("u8"),
            Self::S16 => f.write_str("s16"),
            Self::U16 => f.write_str("u16"),
            Self::S32 => f.write_str("s32"),
            Self::U32 => f.write_str("u32"),
            Self::S64 => f.write_str("s64"),
            Self::U64 => f.write_str("u64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::List(element) => write!(f, "list<{element}>"),
            Self::FixedList(element, length) => write!(f, "list<{element}, {length}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Record(fields) => {
                write!(
                    f,
                    "record {{ {} }}",
                    join(
                        fields
                            .iter()
                            .map(|(name, ty)| format!("{name}: {ty}"))
                            .collect()
                    )
                )
            }
            Self::Tuple(types) => write!(
                f,
                "tuple<{}>",
                join(types.iter().map(ToString::to_string).collect())
            ),
            Self::Variant(cases) => {
                let case = |(name, ty): &(String, Option<Self>)| match ty {
                    Some(ty) => format!("{name}({ty})"),
                    None => name.clone(),
                };
                write!(
                    f,
                    "variant {{ {} }}",
                    join(cases.iter().map(case).collect())
                )
            }
            Self::Enum(names) => write!(f, "enum {{ {} }}", names.join(", ")),
            Self::Flags(names) => write!(f, "flags {{ {} }}", names.join(", ")),
            Self::Option(inner) => write!(f, "option<{inner}>"),
            Self::Result {
                ok: None,
                err: None,
            } => f.write_str("result"),
            Self::Result {
                ok: Some(ok),
                err: None,
            } => write!(f, "result<{ok}>"),
            Self::Result { ok, err } => write!(f, "result<{}, {}>", opt(ok), opt(err)),
        }
    }
}

/// An exported function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `name` at the root, `ns:pkg/iface@version#name` in an exported interface.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<(String, Type)>,
    /// The result, if there is one. A `result<O, E>` here is the function's own: it becomes the branch of the outcome.
    pub result: Option<Type>,
}

impl Function {
    /// The interface that exports it and the bare name: how engines look exports up.
    #[must_use]
    pub fn path(&self) -> (Option<&str>, &str) {
        name::split(&self.name)
    }

    /// `add(a: f64, b: f64) -> f64`.
    #[must_use]
    pub fn signature(&self) -> String {
        let params: Vec<_> = self
            .params
            .iter()
            .map(|(name, ty)| format!("{name}: {ty}"))
            .collect();
        let result = self
            .result
            .as_ref()
            .map(|ty| format!(" -> {ty}"))
            .unwrap_or_default();
        format!("{}({}){result}", self.name, params.join(", "))
    }
}
