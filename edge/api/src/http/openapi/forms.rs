//! What texts are, by the names of their fields: a field means the same wherever it is. The server itself
//! holds them to the same limits where it takes them in, and counts some in bytes where a schema can count characters only.

use panda_protocol::limits::{CHAT_NAME_BYTES_MAX, TEXT_BYTES_MAX};
use panda_storage::user_store::{EMAIL_BYTES_MAX, LOGIN_LABEL_CHARS_MAX, USERNAME_CHARS_MAX};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::{Components, KnownFormat, Object, RefOr, Schema, SchemaFormat};

use crate::config::{IDEMPOTENCY_KEY_BYTES_MAX, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};

/// Characters at least and at most, and what they look like where that is asked.
type Form = (usize, usize, Option<&'static str>);

const USERNAME: &str = r"^[A-Za-z0-9_][A-Za-z0-9._-]{2,31}$";
const LABEL: &str = r"^(?=.*\S)[^\u0000-\u001f\u007f-\u009f]+$";
const EMAIL: &str = r"^[^@\s\u0000-\u001f\u007f-\u009f]+@[^@\s\u0000-\u001f\u007f-\u009f]+$";
const USER: &str = r"^0h[0-9abcdefghjkmnpqrstvwxyz]{24}$";
/// A group, or a direct chat.
const CHAT: &str = r"^(1h|21)[0-9abcdefghjkmnpqrstvwxyz]{24}$";
/// Of a header that proxies hand on as it is.
const KEY: &str = r"^[!-~]+$";

fn of_field(name: &str) -> Option<Form> {
    Some(match name {
        "username" => (3, USERNAME_CHARS_MAX, Some(USERNAME)),
        "password" | "new" => (PASSWORD_CHARS_MIN, PASSWORD_BYTES_MAX, None),
        "email" => (3, EMAIL_BYTES_MAX, Some(EMAIL)),
        "label" => (1, LOGIN_LABEL_CHARS_MAX, Some(LABEL)),
        "name" => (0, CHAT_NAME_BYTES_MAX, None),
        "text" => (1, TEXT_BYTES_MAX, None),
        "key" => (1, IDEMPOTENCY_KEY_BYTES_MAX, None),
        _ => return None,
    })
}

fn of_parameter(path: &str, name: &str, place: &ParameterIn) -> Option<Form> {
    match (name, place) {
        ("Idempotency-Key", ParameterIn::Header) => Some((1, IDEMPOTENCY_KEY_BYTES_MAX, Some(KEY))),
        ("after", ParameterIn::Query) => match path.rsplit('/').next() {
            Some("chats") => Some((26, 26, Some(CHAT))),
            Some("members") => Some((26, 26, Some(USER))),
            _ => None,
        },
        _ => None,
    }
}

/// Says of the bodies of requests and answers what their texts may be.
pub(super) fn bodies(components: &mut Components) {
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        for (field, property) in &mut object.properties {
            let RefOr::T(Schema::Object(text)) = property else { continue };
            shape(text, of_field(field));
        }
    }
}

/// The same of the parameters of an operation of this path.
pub(super) fn parameters(path: &str, operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if path.starts_with("/user/{id}") && parameter.name == "id" {
            *parameter = ParameterBuilder::from(parameter.clone()).example(Some("me".into())).build();
        }
        let form = of_parameter(path, &parameter.name, &parameter.parameter_in);
        if let Some(RefOr::T(Schema::Object(text))) = &mut parameter.schema {
            shape(text, form);
            // All of 64 bits, where the format's name would mean 63.
            text.format = text.format.take().filter(|format| !is_int64(format));
        }
    }
}

fn is_int64(format: &SchemaFormat) -> bool {
    *format == SchemaFormat::KnownFormat(KnownFormat::Int64)
}

fn shape(text: &mut Object, form: Option<Form>) {
    // Numbers are called `after`, too.
    let is_text = serde_json::to_string(&text.schema_type).is_ok_and(|kinds| kinds.contains("string"));
    let Some((min, max, pattern)) = form.filter(|_| is_text) else { return };
    (text.min_length, text.max_length) = (Some(min), Some(max));
    text.pattern = pattern.map(Into::into);
}
