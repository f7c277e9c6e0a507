//! A value as people look at it: text, numbers, JSON, pictures, bytes.

use asterism_protocol::{Cid, Value, json_of, lines_of};
use js_sys::{Array, Uint8Array};
use leptos::prelude::*;
use web_sys::{Blob, BlobPropertyBag, Url};

use super::ui::CidText;
use crate::{
    coordinator::Coordinator,
    format::{bytes as size, image_type, printable},
};

/// Longest text shown at once, in characters; the whole can be saved.
const TEXT_MAX: usize = 20_000;

/// Most bytes shown in hexadecimal.
const HEX_MAX: usize = 256;

/// An object URL; it is given back when the last view of it is gone.
struct ObjectUrl(String);

impl ObjectUrl {
    fn of(bytes: &Uint8Array, media_type: &str) -> Option<Self> {
        let options = BlobPropertyBag::new();
        options.set_type(media_type);
        let blob =
            Blob::new_with_u8_array_sequence_and_options(&Array::of1(bytes), &options).ok()?;
        Url::create_object_url_with_blob(&blob).ok().map(Self)
    }
}

impl Drop for ObjectUrl {
    fn drop(&mut self) {
        let _ = Url::revoke_object_url(&self.0);
    }
}

/// A value.
#[component]
pub fn ValueView(
    /// The value.
    value: Value,
) -> AnyView {
    match value {
        Value::String(text) => view! { <TextView text=text/> }.into_any(),
        Value::Bytes(bytes) => {
            view! { <BytesView bytes=Uint8Array::from(bytes.as_slice())/> }.into_any()
        }
        Value::Link(link) => match Cid::try_from(link) {
            Ok(cid) if cid.is_blob() => view! { <BlobView cid=cid/> }.into_any(),
            Ok(_) | Err(_) => view! { <TextView text=link.to_string()/> }.into_any(),
        },
        Value::Null => view! { <p class="muted">"nothing"</p> }.into_any(),
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
            view! { <TextView text=pretty(&value)/> }.into_any()
        }
    }
}

/// DAG-JSON with line breaks, where that is more than a line.
#[must_use]
pub fn pretty(value: &Value) -> String {
    const LINE: usize = 60;
    let text = json_of(value);
    if text.len() <= LINE {
        return text;
    }
    let json = serde_json::from_str::<serde_json::Value>(&text);
    json.and_then(|json| serde_json::to_string_pretty(&json))
        .unwrap_or(text)
}

#[component]
fn TextView(text: String) -> impl IntoView {
    let length = text.chars().count();
    let shown: String = text.chars().take(TEXT_MAX).collect();
    let more = (length > TEXT_MAX).then(|| {
        format!(
            "… and {} more characters",
            crate::format::count((length - TEXT_MAX) as u64)
        )
    });
    view! {
        <pre class="value" tabindex="0">{lines_of(&shown).join("\n")}</pre>
        {more.map(|more| view! { <p class="hint">{more}</p> })}
    }
}

#[component]
fn BytesView(bytes: Uint8Array) -> AnyView {
    let length = bytes.length();
    let head = bytes.subarray(0, length.min(TEXT_MAX as u32)).to_vec();
    let image = image_type(&head);
    let url = StoredValue::new_local(ObjectUrl::of(
        &bytes,
        image.unwrap_or("application/octet-stream"),
    ));
    let href = url.with_value(|url| url.as_ref().map(|url| url.0.clone()));
    let name = match image {
        Some(kind) => format!("output.{}", kind.trim_start_matches("image/")),
        None => "output.bin".to_owned(),
    };
    let save = view! {
        <p class="hint">
            {size(length.into())} " · " <a href=href.clone() download=name>"Save"</a>
        </p>
    };
    if image.is_some() {
        return view! {
            <img class="value-image" src=href alt="The output as a picture"/>
            {save}
        }
        .into_any();
    }
    let text = match printable(&head) {
        Some(text) => lines_of(text).join("\n"),
        None => head
            .iter()
            .take(HEX_MAX)
            .map(|byte| format!("{byte:02x} "))
            .collect(),
    };
    view! { <pre class="value" tabindex="0">{text}</pre> {save} }.into_any()
}

/// The bytes behind a link.
#[component]
fn BlobView(cid: Cid) -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let bytes = LocalResource::new(move || coordinator.blob(cid));
    view! {
        <p class="hint">"Blob " <CidText cid=cid what="blob CID"/></p>
        {move || match bytes.get() {
            None => view! { <p class="muted">"Loading…"</p> }.into_any(),
            Some(Ok(bytes)) => view! { <BytesView bytes=bytes/> }.into_any(),
            Some(Err(reason)) => view! { <p class="trouble">"It cannot be shown: " {reason}</p> }.into_any(),
        }}
    }
}
