//! The document as a page: every operation with what it takes and gives, without a script.

use std::fmt::Write as _;

use serde_json::Value;
use utoipa::openapi::OpenApi;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1f;background:#fff}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em}h2{margin-top:2.5rem;border-bottom:1px solid #bbb}\
details{border:1px solid #ccc;border-radius:.4rem;margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}\
table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left;vertical-align:top}\
.method{display:inline-block;min-width:4.5rem;font-weight:600}pre{background:#f3f3f6;padding:.6rem;overflow:auto}\
@media(prefers-color-scheme:dark){body{color:#e6e6ea;background:#17171a}td,th,details{border-color:#444}h2{border-color:#555}pre{background:#232328}a{color:#9db7ff}}";

/// The whole page.
pub(super) fn of(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut page = String::new();
    let title = text(&document["info"]["title"]);
    // Writing to a text never fails.
    write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} HTTP API</title><style>{STYLE}</style><h1>{title} HTTP API {}</h1><p>{}</p>\
         <p>For programs: <a href=\"/openapi.json\">openapi.json</a> (OpenAPI {}).</p>",
        text(&document["info"]["version"]),
        marked(&document["info"]["description"]),
        text(&document["openapi"]),
    )
    .ok();
    let mut tags: Vec<&str> = Vec::new();
    for (_, operation) in operations(&document) {
        tags.extend(operation["tags"][0].as_str().filter(|tag| !tags.contains(tag)));
    }
    for tag in tags {
        write!(page, "<h2>{}</h2>", escaped(tag)).ok();
        for ((path, method), operation) in operations(&document).filter(|(_, one)| one["tags"][0] == tag) {
            operation_of(&mut page, path, method, operation);
        }
    }
    page.push_str("<h2>Bodies</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let json = serde_json::to_string_pretty(schema).unwrap_or_default();
        let name = escaped(name);
        write!(
            page,
            "<details id=\"{name}\"><summary><code>{name}</code></summary><pre>{}</pre></details>",
            escaped(&json)
        )
        .ok();
    }
    page.push_str("</html>");
    page
}

type Place<'a> = (&'a str, &'a str);

fn operations(document: &Value) -> impl Iterator<Item = (Place<'_>, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        item.as_object().into_iter().flatten().map(move |(method, one)| ((path.as_str(), method.as_str()), one))
    })
}

fn operation_of(page: &mut String, path: &str, method: &str, operation: &Value) {
    let who = match operation["security"][0].as_object().and_then(|schemes| schemes.keys().next()) {
        Some(scheme) if scheme == "api_key" => " <em>an API key</em>",
        Some(_) => " <em>an access token</em>",
        None => "",
    };
    write!(
        page,
        "<details><summary><span class=\"method\">{}</span><code>{}</code> {}</summary><p>Asks for:{}</p>",
        escaped(&method.to_uppercase()),
        escaped(path),
        marked(&operation["summary"]),
        if who.is_empty() { " nothing" } else { who },
    )
    .ok();
    let parameters = operation["parameters"].as_array();
    if let Some(parameters) = parameters.filter(|all| !all.is_empty()) {
        page.push_str("<table><tr><th>parameter<th>in<th>what</tr>");
        for one in parameters {
            let (name, place) = (text(&one["name"]), text(&one["in"]));
            write!(page, "<tr><td><code>{name}</code><td>{place}<td>{}</tr>", marked(&one["description"])).ok();
        }
        page.push_str("</table>");
    }
    for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        write!(page, "<p>Body: {} <code>{}</code></p>", named(&content["schema"]), escaped(kind)).ok();
    }
    page.push_str("<table><tr><th>answer<th>what<th>body</tr>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let schema = response["content"].as_object().and_then(|content| content.values().next());
        let body = schema.map_or_else(String::new, |content| named(&content["schema"]));
        write!(page, "<tr><td>{}<td>{}<td>{body}</tr>", escaped(status), marked(&response["description"])).ok();
    }
    page.push_str("</table></details>");
}

/// A link to the body that a schema refers to.
fn named(schema: &Value) -> String {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).map(escaped);
    name.map_or_else(String::new, |name| format!("<a href=\"#{name}\"><code>{name}</code></a>"))
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

/// Text in which code stands between backticks.
fn marked(value: &Value) -> String {
    let parts = value.as_str().unwrap_or_default().split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { escaped(part) })
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
