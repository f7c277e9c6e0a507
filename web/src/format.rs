//! Numbers, times and names as people read them. Pure: what time it is comes in as an argument.

use asterism_protocol::{Cid, PublicKey, Timestamp};

/// `12,345`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 task`, `2 tasks`.
#[must_use]
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Three digits and a unit: `999`, `1.23 k`, `45.6 M`.
fn scaled(n: u64, units: &[&str]) -> String {
    let (mut whole, mut rest, mut unit) = (n, 0, 0);
    while whole >= 1_000 && unit + 1 < units.len() {
        rest = whole % 1_000;
        whole /= 1_000;
        unit += 1;
    }
    let number = match whole {
        _ if unit == 0 || whole >= 100 => count(whole),
        10..100 => format!("{whole}.{}", rest / 100),
        _ => format!("{whole}.{:02}", rest / 10),
    };
    format!("{number}{}", units[unit])
}

/// `1.86 MB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    scaled(n, &[" B", " kB", " MB", " GB", " TB"])
}

/// `3.21 G`: units of fuel come in billions.
#[must_use]
pub fn fuel(n: u64) -> String {
    scaled(n, &["", " k", " M", " G", " T", " P"])
}

/// `340 ms`, `3.2 s`, `2 min 5 s`, `1 h 3 min`, `2 d 4 h`.
#[must_use]
pub fn duration_ms(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..10 => format!("{seconds}.{} s", ms % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `850 µs`, or as [`duration_ms`].
#[must_use]
pub fn duration_us(us: u64) -> String {
    if us < 1_000 {
        format!("{us} µs")
    } else {
        duration_ms(us / 1_000)
    }
}

/// `just now`, `12 s ago`, `3 min ago`.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.since_ms(then) / 1_000;
    match seconds {
        0..3 => "just now".to_owned(),
        3..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// First and last letters: enough to tell one from another by eye, never to be copied.
fn shorten(text: &str, first: usize, last: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= first + last + 1 {
        return text.to_owned();
    }
    let start: String = letters[..first].iter().collect();
    let end: String = letters[letters.len() - last..].iter().collect();
    format!("{start}…{end}")
}

/// `bafyrm…q3ka`.
#[must_use]
pub fn short_cid(cid: &Cid) -> String {
    shorten(&cid.to_string(), 6, 6)
}

/// `z6Mkf…9xYq`: without `did:key:`, which all have.
#[must_use]
pub fn short_key(key: &PublicKey) -> String {
    shorten(key.did().trim_start_matches("did:key:"), 6, 5)
}

/// The function without the interface that exports it, for narrow places.
#[must_use]
pub fn short_func(func: &str) -> &str {
    func.rsplit_once('#').map_or(func, |(_, name)| name)
}

/// At most `max` characters.
#[must_use]
pub fn ellipsis(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars()
        .take(max.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// The media type of an image, by its first bytes; `None` for whatever browsers do not show as one.
#[must_use]
pub fn image_type(bytes: &[u8]) -> Option<&'static str> {
    let starts: [(&[u8], &str); 4] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"BM", "image/bmp"),
    ];
    if bytes.len() > 12 && bytes.starts_with(b"RIFF") && &bytes[8..12] == b"WEBP" {
        return Some("image/webp");
    }
    starts
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, media_type)| *media_type)
}

/// The bytes as text that can be shown: UTF-8 without control characters other than white space.
#[must_use]
pub fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.chars()
        .all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
        .then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands() {
        let check = |n, expect| assert_eq!(count(n), expect);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(u64::MAX, "18,446,744,073,709,551,615");
    }

    #[test]
    fn sizes_have_three_digits() {
        let check = |n, expect| assert_eq!(bytes(n), expect);
        check(0, "0 B");
        check(999, "999 B");
        check(1_860_000, "1.86 MB");
        check(45_600_000, "45.6 MB");
        check(999_999, "999 kB");
        assert_eq!(fuel(3_210_000_000), "3.21 G");
    }

    #[test]
    fn durations_have_two_units() {
        let check = |ms, expect| assert_eq!(duration_ms(ms), expect);
        check(340, "340 ms");
        check(3_250, "3.2 s");
        check(125_000, "2 min 5 s");
        check(3_780_000, "1 h 3 min");
        assert_eq!(duration_us(850), "850 µs");
    }

    #[test]
    fn a_clock_that_jumped_back_is_just_now() {
        assert_eq!(ago(Timestamp(9_000), Timestamp(1_000)), "just now");
        assert_eq!(ago(Timestamp(0), Timestamp(200_000)), "3 min ago");
    }

    #[test]
    fn images_are_told_by_their_start() {
        assert_eq!(image_type(b"\x89PNG\r\n\x1a\n...."), Some("image/png"));
        assert_eq!(image_type(b"RIFF....WEBPVP8 "), Some("image/webp"));
        assert_eq!(image_type(b"<svg"), None);
    }

    #[test]
    fn control_characters_are_not_shown_as_text() {
        assert_eq!(printable(b"a\nb"), Some("a\nb"));
        assert_eq!(printable(b"a\0b"), None);
    }
}
