//! The part of JSON Schema that the description of the API uses. What it does not know it refuses, so
//! that nothing is described and not checked.

use serde_json::Value;

use crate::http::Answer;

/// Checks that an answer is one of those that are described for its request.
pub(crate) fn check_answer(description: &Value, line: &str, answer: &Answer) {
    let (method, target) = line.split_once(' ').unwrap();
    let path = target.split('?').next().unwrap();
    let paths = description["paths"].as_object().unwrap();
    let Some((_, operations)) = paths.iter().find(|(template, _)| matches(template, path)) else {
        assert_eq!(answer.code(), (404, "not_found"), "{line}");
        return;
    };
    let Some(operation) = operations.get(method.to_lowercase()) else {
        assert_eq!(answer.code(), (405, "method_not_allowed"), "{line}");
        return;
    };
    let responses = operation["responses"].as_object().unwrap();
    let response = responses.get(&answer.status.to_string());
    let response = response.unwrap_or_else(|| panic!("{line} {answer:?} is not described"));
    let response = resolve(description, response);
    let schema = &response["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{line} {answer:?}");
    check(description, schema, &answer.body, line).unwrap();
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

/// Whether a path is one of a template.
fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(path).all(|(part, found)| *part == found || part.starts_with('{'))
}

fn resolve<'a>(description: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(to) => description.pointer(to.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

/// Checks a value.
pub(crate) fn check(
    description: &Value,
    schema: &Value,
    value: &Value,
    place: &str,
) -> Result<(), String> {
    let schema = resolve(description, schema);
    let wrong = |what: &str| Err(format!("{place}: {what}: {value} is not {schema}"));
    for (keyword, rule) in schema.as_object().ok_or("a schema is an object")? {
        let fits = match (keyword.as_str(), value) {
            ("type", _) => {
                let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                types.iter().any(|name| is_of_type(value, name.as_str().unwrap()))
            }
            ("required", Value::Object(members)) => {
                let mut names = rule.as_array().unwrap().iter();
                names.all(|name| members.contains_key(name.as_str().unwrap()))
            }
            ("additionalProperties", Value::Object(members)) => {
                assert_eq!(*rule, false);
                let known = schema["properties"].as_object().unwrap();
                members.keys().all(|name| known.contains_key(name))
            }
            ("items", Value::Array(items)) => {
                for item in items {
                    check(description, rule, item, place)?;
                }
                true
            }
            ("minimum", Value::Number(number)) => number.as_f64() >= rule.as_f64(),
            ("maximum", Value::Number(number)) => number.as_f64() <= rule.as_f64(),
            ("maxItems", Value::Array(items)) => items.len() as u64 <= rule.as_u64().unwrap(),
            ("enum", _) => rule.as_array().unwrap().contains(value),
            ("anyOf", _) => rule
                .as_array()
                .unwrap()
                .iter()
                .any(|schema| check(description, schema, value, place).is_ok()),
            // They say nothing about this value, or are looked at below.
            (
                "description"
                | "properties"
                | "required"
                | "additionalProperties"
                | "items"
                | "minimum"
                | "maximum"
                | "maxItems",
                _,
            ) => true,
            _ => return Err(format!("{place}: nobody checks {keyword}")),
        };
        if !fits {
            return wrong(keyword);
        }
    }
    if let (Some(known), Some(members)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, member) in members {
            if let Some(schema) = known.get(name) {
                check(description, schema, member, place)?;
            }
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        _ => panic!("{name}"),
    }
}

/// The check itself refuses what is wrong.
#[test]
fn what_is_wrong_is_refused() {
    let description = serde_json::json!({ "a": { "type": "integer", "minimum": 1 } });
    let schema = serde_json::json!({
        "type": "object",
        "properties": { "a": { "$ref": "#/a" }, "b": { "type": ["string", "null"] } },
        "required": ["a"],
        "additionalProperties": false,
    });
    let fits =
        |text: &str| check(&description, &schema, &serde_json::from_str(text).unwrap(), "").is_ok();
    assert!(fits(r#"{"a":1}"#) && fits(r#"{"a":1,"b":null}"#));
    for text in ["[]", "{}", r#"{"a":0}"#, r#"{"a":"1"}"#, r#"{"a":1,"b":2}"#, r#"{"a":1,"c":1}"#] {
        assert!(!fits(text), "{text}");
    }
    let unknown = serde_json::json!({ "pattern": "x" });
    assert!(check(&description, &unknown, &description, "").is_err());
}
