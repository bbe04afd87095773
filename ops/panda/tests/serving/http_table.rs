//! The table of requests and answers in `edge/HTTP.md`, line by line, against a new `panda serve`.

use std::collections::HashMap;

use serde_json::Value;
use ureq::http;

use crate::support::Served;

const DOCUMENT: &str = include_str!("../../../../edge/HTTP.md");
/// The section, and the first line of its table.
const HEADING: &str = "\n## Requests and answers\n";
const COLUMNS: &str = "| who | request | body | status | answer |";
/// Stands for a value that is not looked at.
const ANYTHING: &str = "any";

/// A line of the table.
struct Row {
    /// In the document, from 1.
    number: usize,
    /// Whose token is sent; empty: none.
    who: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    /// Nothing: no body.
    answer: Option<Value>,
}

impl Row {
    fn parse(number: usize, line: &str) -> Self {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [who, request, body, status, answer] = cells[..] else { panic!("HTTP.md:{number}: five cells") };
        // Code spans: the request's line, then a header each.
        let mut spans = request.split('`').skip(1).step_by(2);
        let (method, path) = spans.next().and_then(|line| line.split_once(' ')).unwrap();
        let headers = spans.map(|span| span.split_once(": ").unwrap()).map(|(name, value)| (name.into(), value.into()));
        let answer = answer.trim_matches('`');
        let parse = |text| serde_json::from_str(text).unwrap_or_else(|error| panic!("HTTP.md:{number}: {error}"));
        Self {
            number,
            who: who.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.collect(),
            body: body.trim_matches('`').to_owned(),
            status: status.parse().unwrap(),
            answer: (!answer.is_empty()).then(|| parse(answer)),
        }
    }

    /// A name that the request needs and that nothing gave yet.
    fn unknown(&self, known: &Known) -> Option<String> {
        let token = if self.who.is_empty() { String::new() } else { format!("<{}>", self.who) };
        let filled = known.fill(&format!("{token} {} {}", self.path, self.body));
        filled.split_once('<').map(|(_, rest)| rest.split('>').next().unwrap_or_default().to_owned())
    }

    fn send(&self, url: &str, known: &Known) -> (u16, String) {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut request =
            http::Request::builder().method(self.method.as_str()).uri(format!("{url}{}", known.fill(&self.path)));
        for (name, value) in &self.headers {
            request = request.header(name, known.fill(value));
        }
        if !self.who.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", known.fill(&format!("<{}>", self.who))));
        }
        let answer = if self.body.is_empty() {
            agent.run(request.body(()).unwrap())
        } else {
            agent.run(request.body(known.fill(&self.body)).unwrap())
        };
        let mut answer = answer.unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }
}

/// Values that answers gave, by the names that stand for them in `<>`.
#[derive(Default)]
struct Known(HashMap<String, Value>);

impl Known {
    /// A text with the values in their places.
    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.replace(&format!("<{name}>"), &value)
        })
    }

    /// Whether an answer is what is expected: the same fields, no others, and the same values. A name that is not known yet is,
    /// from then on.
    fn meets(&mut self, expected: &Value, found: &Value) -> bool {
        match (expected, found) {
            (Value::String(text), found) if text.starts_with('<') && text.ends_with('>') => {
                let name = &text[1..text.len() - 1];
                name == ANYTHING || self.0.entry(name.to_owned()).or_insert_with(|| found.clone()) == found
            }
            (Value::Object(expected), Value::Object(found)) => {
                expected.len() == found.len()
                    && expected.iter().all(|(name, one)| found.get(name).is_some_and(|other| self.meets(one, other)))
            }
            (Value::Array(expected), Value::Array(found)) => {
                expected.len() == found.len() && expected.iter().zip(found).all(|(one, other)| self.meets(one, other))
            }
            (expected, found) => expected == found,
        }
    }
}

fn rows() -> Vec<Row> {
    let start = DOCUMENT.find(HEADING).expect("HTTP.md has the table");
    let before = DOCUMENT[..=start].lines().count();
    let lines = DOCUMENT[start + 1..].lines().enumerate().map(|(at, line)| (before + at + 1, line));
    let table = lines.skip_while(|(_, line)| *line != COLUMNS).take_while(|(_, line)| line.starts_with('|'));
    table.skip(2).map(|(number, line)| Row::parse(number, line)).collect()
}

#[test]
fn every_request_of_the_table_is_answered_as_it_says() {
    let served = Served::start(&[("PANDA_LOG_LEVEL", "warn")]);
    let mut known = Known::default();
    let key = std::fs::read_to_string(served.data().join("admin.key")).unwrap();
    known.0.insert("key".into(), key.trim().into());
    let rows = rows();
    let mut wrong = Vec::new();
    for row in &rows {
        if let Some(name) = row.unknown(&known) {
            wrong.push(format!("HTTP.md:{}: no answer before gave <{name}>", row.number));
            continue;
        }
        let (status, body) = row.send(&served.url, &known);
        let meets = match &row.answer {
            None => body.is_empty(),
            Some(expected) => serde_json::from_str(&body).is_ok_and(|found| known.meets(expected, &found)),
        };
        if !meets || status != row.status {
            wrong.push(format!("HTTP.md:{}: {} {}: {status} {body}", row.number, row.method, row.path));
        }
    }
    let said = served.end();
    assert!(wrong.is_empty(), "\n{}\nThe server says:\n{said}", wrong.join("\n"));
    for endpoint in ["POST /register", "POST /login", "GET /user/", "PUT /user/", "GET /chats/", "POST /chats/"] {
        let (method, start) = endpoint.split_once(' ').unwrap();
        let of_it = rows.iter().filter(|row| row.method == method && row.path.starts_with(start));
        assert!(of_it.clone().any(|row| row.status < 300) && of_it.clone().any(|row| row.status >= 400), "{endpoint}");
    }
}

#[test]
fn an_answer_that_differs_in_anything_is_told_from_the_one_that_is_written() {
    let json = |text| serde_json::from_str::<Value>(text).unwrap();
    let expected = json(r#"{"id":"<id>","again":"<id>","seq":1,"list":["<any>"]}"#);
    let meets = |found| Known::default().meets(&expected, &json(found));
    assert!(meets(r#"{"id":"a","again":"a","seq":1,"list":[7]}"#));
    for found in [
        r#"{"id":"a","again":"b","seq":1,"list":[7]}"#,
        r#"{"id":"a","again":"a","seq":2,"list":[7]}"#,
        r#"{"id":"a","again":"a","seq":1,"list":[]}"#,
        r#"{"id":"a","again":"a","seq":1,"list":[7],"more":1}"#,
        r#"{"id":"a","again":"a","list":[7]}"#,
    ] {
        assert!(!meets(found), "{found}");
    }
}
