//! Lines of the log: one for each event, whatever others wrote that is told in it.

use std::{fmt, iter};

use asterism_protocol::one_line;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput as _},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultVisitor, Writer},
    },
    registry::LookupSpan,
};

/// Fields as they are usually written, for people: the library leaves line ends and marks of direction in messages and in what
/// is written by `Display`, with which a guest would write lines of ours.
pub(crate) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = OneLine(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct OneLine<'a>(DefaultVisitor<'a>);

impl Visit for OneLine<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let line = one_line(value);
        // The message stands without quotation marks.
        let shown = match field.name() {
            "message" => line,
            _ => quoted(&line),
        };
        self.0.record_debug(field, &format_args!("{shown}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let line = one_line(&format!("{value:?}"));
        self.0.record_debug(field, &format_args!("{line}"));
    }
}

/// A text in quotation marks, of which the last ends it, whatever is in it. Names that were escaped when they came are not
/// escaped again: a backslash is doubled where a quotation mark is behind it, and stands for itself elsewhere.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    let mut backslashes = 0;
    for c in text.chars() {
        if c == '"' {
            quoted.extend(iter::repeat_n('\\', backslashes + 1));
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        quoted.push(c);
    }
    quoted.extend(iter::repeat_n('\\', backslashes));
    quoted.push('"');
    quoted
}

/// Events as another format writes them, for programs: JSON has line ends in no text, but marks of direction, and a terminal's
/// controls beyond ASCII.
pub(crate) struct Line<F>(pub(crate) F);

impl<S, N, F> FormatEvent<S, N> for Line<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        writeln!(writer, "{}", one_line(line.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::subscriber::with_default;

    use super::*;

    /// A log that is read afterwards.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FORGED: &str = "a\r\n2026-01-01 INFO b\0\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{200f}";
    const SHOWN: &str = r"a\r\n2026-01-01 INFO b\u0000\u001b[2J\u009b31m\u202e\u2066\u200f";

    /// A guest's words wherever words stand: as the message, as text, by `Display`, in a span.
    fn tell() {
        let span = tracing::info_span!("of", guest = %FORGED);
        let _entered = span.enter();
        tracing::info!(text = FORGED, shown = %FORGED, count = 3, "{FORGED}");
    }

    #[test]
    fn an_event_is_one_line_whatever_a_guest_wrote() {
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .with_ansi(false)
            .fmt_fields(Fields);
        with_default(subscriber.finish(), tell);
        let log = kept.text();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(!log.trim_end().contains(asterism_protocol::is_unruly));
        assert!(log.contains(&format!("of{{guest={SHOWN}}}")), "{log}");
        let text = format!(": {SHOWN} text=\"{SHOWN}\" ");
        assert!(log.contains(&text), "{log}");
        assert!(log.ends_with(&format!("shown={SHOWN} count=3\n")), "{log}");
    }

    #[test]
    fn what_was_escaped_when_it_came_is_not_escaped_again() {
        for (text, expect) in [
            (SHOWN, format!("\"{SHOWN}\"")),
            ("math", r#""math""#.to_owned()),
            (r#"say "hi""#, r#""say \"hi\"""#.to_owned()),
            // None of these ends before its end.
            (r"a\", r#""a\\""#.to_owned()),
            (r#"a\" b="c"#, r#""a\\\" b=\"c""#.to_owned()),
        ] {
            assert_eq!(quoted(text), expect, "{text}");
        }
    }

    #[test]
    fn json_says_the_same_without_marks_of_direction() {
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .json()
            .flatten_event(true)
            .map_event_format(Line);
        with_default(subscriber.finish(), tell);
        let log = kept.text();
        assert!(!log.trim_end().contains(asterism_protocol::is_unruly));
        let read: serde_json::Value = serde_json::from_str(&log).unwrap();
        for said in [&read["message"], &read["text"], &read["shown"]] {
            assert_eq!(said, FORGED);
        }
        assert_eq!(read["span"]["guest"], FORGED);
    }
}
