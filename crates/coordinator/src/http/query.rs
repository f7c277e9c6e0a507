//! What `?…` says, read by the type that a route has for it, and every mistake by the name of its option.

use std::{fmt, slice::Iter, str::FromStr};

use asterism_protocol::nearest;
use serde::{
    de::{
        self, DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess,
        Visitor, value::MapAccessDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::json;

use crate::error::ApiError;

/// Most characters that are told of what came.
const SHOWN_CHARS: usize = 100;

/// The names and values of a query, as they are meant.
pub(super) fn pairs_of(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    serde_urlencoded::from_str(query)
        .map_err(|error| ApiError::invalid(format!("the query is not understood: {error}")))
}

/// What the options say together. A name that is not known is refused: a limit that was misspelt is a limit that does not
/// hold.
pub(super) fn options_of<T: DeserializeOwned>(pairs: &[(String, String)]) -> Result<T, ApiError> {
    let options = Options {
        pairs: pairs.iter(),
        open: None,
    };
    T::deserialize(MapAccessDeserializer::new(options)).map_err(|odd| {
        let Odd { option, reason } = odd;
        let error = ApiError::invalid(format!("the query is not understood: {reason}"))
            .hint("/api lists what each path may be asked");
        match option {
            Some(option) => error.details(json!({ "path": option })),
            None => error,
        }
    })
}

/// What is wrong with a query, and with which of its options.
#[derive(Debug)]
struct Odd {
    option: Option<String>,
    reason: String,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Odd {}

impl de::Error for Odd {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self {
            option: None,
            reason: reason.to_string(),
        }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self {
            option: Some(field.to_owned()),
            reason: format!("`{field}` is there twice"),
        }
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let shown: String = field.chars().take(SHOWN_CHARS).collect();
        let reason = match nearest(field, known.iter().copied()) {
            Some(meant) => format!("`{shown}` is not known here, did you mean `{meant}`?"),
            None if known.is_empty() => format!("`{shown}` is not known here"),
            None => format!("`{shown}` is not known here, only {}", known.join(", ")),
        };
        Self {
            option: Some(shown),
            reason,
        }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("one of {} is wanted", expected.join(", ")))
    }
}

struct Options<'a> {
    pairs: Iter<'a, (String, String)>,
    /// Whose name was read and whose value was not.
    open: Option<&'a (String, String)>,
}

impl<'de> MapAccess<'de> for Options<'de> {
    type Error = Odd;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Odd> {
        self.open = self.pairs.next();
        let name = self.open.map(|(name, _)| name.as_str());
        name.map(|name| seed.deserialize(name.into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Odd> {
        let Some((name, value)) = self.open.take() else {
            return Err(Odd::custom("a value without a name"));
        };
        seed.deserialize(Written(value)).map_err(|odd| {
            let shown: String = value.chars().take(SHOWN_CHARS).collect();
            Odd {
                option: Some(name.clone()),
                reason: format!("`{name}` is `{shown}`, and {odd}"),
            }
        })
    }
}

/// The value of an option.
struct Written<'a>(&'a str);

impl Written<'_> {
    fn number<T: Copy + FromStr + fmt::Display>(&self, min: T, max: T) -> Result<T, Odd> {
        let number = self.0.parse();
        number.map_err(|_| Odd::custom(format!("a whole number from {min} to {max} is wanted")))
    }
}

impl<'de> de::Deserializer<'de> for Written<'de> {
    type Error = Odd;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Odd> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Odd> {
        match self.0 {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Odd::custom("true or false is wanted")),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Odd> {
        visitor.visit_u32(self.number(u32::MIN, u32::MAX)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Odd> {
        visitor.visit_u64(self.number(u64::MIN, u64::MAX)?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Odd> {
        visitor.visit_i32(self.number(i32::MIN, i32::MAX)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Odd> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Odd> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        u8 u16 u128 i8 i16 i64 i128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
