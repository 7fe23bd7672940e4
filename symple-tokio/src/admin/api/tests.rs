//! The description of the API against its routes. That its methods and its answers are those of the
//! server is tested over real sockets, in `tests/admin`.

use serde_json::Value;

use super::*;

/// R-I1: each route is described, and what is described is a route.
#[test]
fn the_description_has_the_routes() {
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let described = description["paths"].as_object().unwrap();
    let mut routes: Vec<_> = paths().into_iter().map(|(path, _)| path).collect();
    routes.sort_unstable();
    let mut described: Vec<_> = described.keys().map(String::as_str).collect();
    described.sort_unstable();
    assert_eq!(described, routes);
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// Every reference within the description leads somewhere.
#[test]
fn the_description_is_whole() {
    fn visit(value: &Value, whole: &Value, found: &mut usize) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    let target = to.strip_prefix('#').and_then(|to| whole.pointer(to));
                    assert!(target.is_some(), "{to}");
                    *found += 1;
                }
                members.values().for_each(|member| visit(member, whole, found));
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, whole, found)),
            _ => {}
        }
    }
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut found = 0;
    visit(&description, &description, &mut found);
    assert!(found > 50);
}
