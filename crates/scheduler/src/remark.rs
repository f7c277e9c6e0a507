//! Bounds of what executors say beside an outcome.

use asterism_protocol::{
    Remark, Value,
    limits::{LOG_BYTES_MAX, LOG_LINES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX},
};

use crate::executors::shorten;

/// Most frames of a backtrace.
const FRAMES_MAX: usize = 64;

/// Cuts a remark to its bounds: it is nobody's promise, so what is too long is dropped, not refused.
pub(crate) fn trim(mut remark: Remark) -> Remark {
    if let Some(message) = &mut remark.message
        && message.len() > TEXT_BYTES_MAX
    {
        *message = shorten(message, TEXT_BYTES_MAX);
    }
    remark.backtrace.truncate(FRAMES_MAX);
    for frame in remark
        .backtrace
        .iter_mut()
        .filter(|frame| frame.len() > NAME_BYTES_MAX)
    {
        *frame = shorten(frame, NAME_BYTES_MAX);
    }
    remark.logs.truncate(LOG_LINES_MAX);
    let mut left = LOG_BYTES_MAX;
    let fit = remark.logs.iter().take_while(|line| {
        let size = line.context.len() + line.message.len();
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    });
    let fit = fit.count();
    remark.logs.truncate(fit);
    remark
}

/// Is a value nested deeper than `levels`?
pub(crate) fn too_deep(value: &Value, levels: usize) -> bool {
    match value {
        Value::List(items) => levels == 0 || items.iter().any(|item| too_deep(item, levels - 1)),
        Value::Map(map) => levels == 0 || map.values().any(|item| too_deep(item, levels - 1)),
        _ => false,
    }
}
