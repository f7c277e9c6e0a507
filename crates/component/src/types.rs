//! Types that a task can carry, and the functions over them.

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
    Record(Vec<(String, Type)>),
    Tuple(Vec<Type>),
    Variant(Vec<(String, Option<Type>)>),
    Enum(Vec<String>),
    Flags(Vec<String>),
    Option(Box<Type>),
    Result { ok: Option<Box<Type>>, err: Option<Box<Type>> },
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
