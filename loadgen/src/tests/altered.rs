//! JSON values with one fault each.
//!
//! Must not: know what a value means.

use serde_json::{Value, json};

/// A value with one fault, and what it is; nested values are changed too.
pub(super) fn altered(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            let mut extra = fields.clone();
            extra.insert("zone".to_owned(), json!("a"));
            found.push(("extra field".to_owned(), Value::Object(extra)));
            for (name, field) in fields {
                let mut without = fields.clone();
                without.remove(name);
                found.push((format!("{name} missing"), Value::Object(without)));
                for (what, changed) in altered(field) {
                    let mut with = fields.clone();
                    with.insert(name.clone(), changed);
                    found.push((format!("{name} {what}"), Value::Object(with)));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let mut without = items.clone();
                without.remove(index);
                found.push((format!("[{index}] missing"), json!(without)));
                found.push((
                    format!("[{index}] duplicated"),
                    json!([&items[..], std::slice::from_ref(item)].concat()),
                ));
                for (what, changed) in altered(item) {
                    let mut with = items.clone();
                    with[index] = changed;
                    found.push((format!("[{index}] {what}"), json!(with)));
                }
            }
            found.push(("cut".to_owned(), json!([])));
            found.push(("null".to_owned(), Value::Null));
        }
        Value::String(text) => {
            found.push(("altered".to_owned(), json!(format!("{text}x"))));
            found.push(("cut".to_owned(), json!(text[..text.len() - 1])));
            found.push(("empty".to_owned(), json!("")));
            found.push(("null".to_owned(), Value::Null));
        }
        Value::Number(number) => {
            found.push(("altered".to_owned(), json!(number.as_u64().expect("a port") + 1)));
            found.push(("zero".to_owned(), json!(0)));
        }
        Value::Bool(flag) => found.push(("altered".to_owned(), json!(!flag))),
        Value::Null => {}
    }
    found
}
