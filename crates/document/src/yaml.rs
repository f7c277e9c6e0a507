//! YAML 1.2, in the part of it that has a JSON form: one document, string keys, no anchors and no tags, scalars of the
//! core schema. What YAML can say beyond that is refused by name: nothing of it would survive into a workflow.

use std::collections::BTreeSet;

use asterism_protocol::limits::VALUE_DEPTH_MAX;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Number, Value as Json};

use crate::{
    Finding,
    place::{Kind, Node, Position},
};

/// Room for what a workflow puts around its values.
const DEPTH_MAX: usize = VALUE_DEPTH_MAX + 8;

/// Most findings that are collected: who makes more wants to see the first.
const FINDINGS_MAX: usize = 100;

/// The document, or what is wrong with it: the first error of syntax, every other mistake.
pub(crate) fn parse(text: &str) -> Result<Node, Vec<Finding>> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        findings: Vec::new(),
    };
    match reader.document().unwrap_or_default() {
        _ if !reader.findings.is_empty() => Err(reader.findings),
        Some(root) => Ok(root),
        None => Err(vec![
            Position::START.finding("the document is empty".to_owned()),
        ]),
    }
}

/// Nothing behind it can be understood.
struct Stop;

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    findings: Vec<Finding>,
}

fn position(span: Span) -> Position {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position {
        line: number(span.start.line()).max(1),
        column: number(span.start.col()).saturating_add(1),
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Position), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, position(span))),
            Some(Err(error)) => {
                let at = Position {
                    line: u32::try_from(error.marker().line())
                        .unwrap_or(u32::MAX)
                        .max(1),
                    column: u32::try_from(error.marker().col())
                        .unwrap_or(u32::MAX)
                        .saturating_add(1),
                };
                self.findings
                    .push(at.finding(format!("not a valid YAML document: {}", error.info())));
                Err(Stop)
            }
            None => Err(Stop),
        }
    }

    fn note(&mut self, at: Position, message: impl Into<String>) -> Result<(), Stop> {
        self.findings.push(at.finding(message.into()));
        if self.findings.len() < FINDINGS_MAX {
            Ok(())
        } else {
            Err(Stop)
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), at) => {
                    if root.is_some() {
                        self.note(at, "a second document begins here, and a workflow is one")?;
                        return Ok(root);
                    }
                    let (event, at) = self.next()?;
                    root = self.node(event, at, 0)?;
                }
                (_, at) => self.note(at, "nothing belongs here")?,
            }
        }
    }

    /// A value whose first event came; none for an empty document.
    fn node(&mut self, event: Event<'a>, at: Position, depth: usize) -> Result<Option<Node>, Stop> {
        if depth > DEPTH_MAX {
            self.note(at, format!("nested deeper than {VALUE_DEPTH_MAX} levels"))?;
            return Err(Stop);
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag) => (*anchor > 0, tag.is_some()),
            Event::Alias(_) => (true, false),
            _ => (false, false),
        };
        if anchor {
            self.note(
                at,
                "anchors and aliases are not read here: write the value where it is needed",
            )?;
        }
        if tag {
            self.note(at, "tags are not read here: quote what is a string")?;
        }
        let kind = match event {
            Event::Scalar(text, style, ..) => Kind::Scalar(self.scalar(&text, style, at)?),
            Event::Alias(_) => Kind::Scalar(Json::Null),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    let (event, at) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break Kind::List(items);
                    }
                    items.extend(self.node(event, at, depth + 1)?);
                }
            }
            Event::MappingStart(..) => Kind::Map(self.map(depth)?),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Ok(None),
        };
        Ok(Some(Node { at, kind }))
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(String, Position, Node)>, Stop> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            let (event, at) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, ..) => text.into_owned(),
                other => {
                    self.note(at, "a key is a text")?;
                    self.node(other, at, depth + 1)?;
                    String::new()
                }
            };
            if !seen.insert(key.clone()) {
                let key: String = key.chars().take(100).collect();
                self.note(at, format!("the key `{key}` stands twice in one map"))?;
            }
            let (event, value_at) = self.next()?;
            if let Some(value) = self.node(event, value_at, depth + 1)? {
                entries.push((key, at, value));
            }
        }
    }

    /// A scalar by the core schema of YAML 1.2: `no` is a string, `0x1f` a number.
    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Position) -> Result<Json, Stop> {
        if style != ScalarStyle::Plain {
            return Ok(Json::String(text.to_owned()));
        }
        Ok(match text {
            "" | "~" | "null" | "Null" | "NULL" => Json::Null,
            "true" | "True" | "TRUE" => Json::Bool(true),
            "false" | "False" | "FALSE" => Json::Bool(false),
            ".nan" | ".NaN" | ".NAN" => Json::String("NaN".to_owned()),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
                Json::String("Infinity".to_owned())
            }
            "-.inf" | "-.Inf" | "-.INF" => Json::String("-Infinity".to_owned()),
            _ => match number(text) {
                Some(Ok(number)) => Json::Number(number),
                Some(Err(reason)) => {
                    self.note(at, reason)?;
                    Json::Null
                }
                None => Json::String(text.to_owned()),
            },
        })
    }
}

/// A number, or why what looks like one cannot be kept.
fn number(text: &str) -> Option<Result<Number, String>> {
    let too_large = || {
        format!(
            "{} is no number that can be kept; quote it to make it a string",
            text.chars().take(60).collect::<String>()
        )
    };
    let based = |digits: &str, radix: u32| {
        let is_digits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        is_digits.then(|| {
            u64::from_str_radix(digits, radix)
                .map(Number::from)
                .map_err(|_| too_large())
        })
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_digits(unsigned) {
        let number = text.strip_prefix('+').unwrap_or(text).parse::<i128>().ok();
        let number = number.and_then(|number| match u64::try_from(number) {
            Ok(number) => Some(Number::from(number)),
            Err(_) => i64::try_from(number).ok().map(Number::from),
        });
        return Some(number.ok_or_else(too_large));
    }
    // [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_fits = exponent
        .is_none_or(|exponent| is_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)));
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && (fraction.is_empty() || is_digits(fraction)),
        None => is_digits(mantissa) && exponent.is_some(),
    };
    if !(mantissa_fits && exponent_fits) {
        return None;
    }
    let number = text.parse::<f64>().ok().and_then(Number::from_f64);
    Some(number.ok_or_else(too_large))
}
