//! An ordered set of JSON members: what a frame or a peer carries beyond what the protocol knows.

use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use core::{cmp::Ordering, fmt};

use compact_str::CompactString;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use crate::{
    error::{DecodeError, Fault},
    json::{Json, Object, RawJson, push_string},
};

/// Members of a JSON object, in order, each name once, each value as it was written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(CompactString, RawJson)>);

impl Fields {
    /// No members.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawJson> {
        self.0.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
    }

    /// The value of that name as a string; `None` also for values that are no strings.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name)?.as_str()
    }

    /// Gives the name a value: in its place where there is one, else at the end.
    pub fn set(&mut self, name: impl AsRef<str>, value: impl Into<RawJson>) {
        let (name, value) = (name.as_ref(), value.into());
        match self.0.iter_mut().find(|(key, _)| *key == *name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// As [`set`](Self::set), for use in a chain.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<str>, value: impl Into<RawJson>) -> Self {
        self.set(name, value);
        self
    }

    /// Takes the value of that name out.
    pub fn remove(&mut self, name: &str) -> Option<RawJson> {
        let at = self.0.iter().position(|(key, _)| **key == *name)?;
        Some(self.0.remove(at).1)
    }

    /// Lays the members of `over` over these, as `Object.assign` does.
    pub fn merge(&mut self, over: Self) {
        let mut members = core::mem::take(&mut self.0);
        members.extend(over.0);
        self.0 = collect(members);
    }

    /// Takes all members out but those that `keep` keeps; the others stay in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// The members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawJson)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends the members as a JSON object.
    pub fn push_json(&self, out: &mut String) {
        out.push('{');
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            push_string(out, name);
            out.push(':');
            out.push_str(value.text());
        }
        out.push('}');
    }

    /// The members as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.push_json(&mut out);
        out
    }
}

/// Up to so many names are compared one by one.
const FEW: usize = 16;

/// Collects members that may repeat a name, as `JSON.parse` does: the last value counts, at the
/// place of the first.
///
/// A hostile text has thousands of names, so beyond a few those that are alike are found by sorting.
fn collect<V>(members: Vec<(CompactString, V)>) -> Vec<(CompactString, V)> {
    if members.len() <= FEW {
        let repeats = |at: usize| members[..at].iter().any(|(name, _)| *name == members[at].0);
        if !(1..members.len()).any(repeats) {
            return members;
        }
        let mut few: Vec<(CompactString, V)> = Vec::new();
        for (name, value) in members {
            match few.iter_mut().find(|(key, _)| *key == name) {
                Some((_, old)) => *old = value,
                None => few.push((name, value)),
            }
        }
        return few;
    }
    let mut order: Vec<(u128, usize)> =
        members.iter().enumerate().map(|(at, (name, _))| (beginning(name), at)).collect();
    let name = |at: usize| &*members[at].0;
    // Names of which the beginnings are the same are long, or nearly always the same.
    let compare = |a: &(u128, usize), b: &(u128, usize)| match a.0.cmp(&b.0) {
        Ordering::Equal => name(a.1).cmp(name(b.1)),
        order => order,
    };
    order.sort_unstable_by(|a, b| compare(a, b).then(a.1.cmp(&b.1)));
    // The place of each member, or none where a name has occurred before.
    let mut repeats: Vec<(usize, usize)> = Vec::new();
    for alike in order.chunk_by(|a, b| compare(a, b).is_eq()) {
        if let [(_, first), .., (_, last)] = alike {
            repeats.push((*first, *last));
            repeats.extend(alike[1..].iter().map(|(_, later)| (*later, *later)));
        }
    }
    if repeats.is_empty() {
        return members;
    }
    let mut members: Vec<_> = members.into_iter().map(Some).collect();
    for (at, last) in repeats {
        let value = members[last].take();
        if at != last
            && let (Some(member), Some((_, value))) = (&mut members[at], value)
        {
            member.1 = value;
        }
    }
    members.into_iter().flatten().collect()
}

/// The first 16 bytes of a name, in the order of texts.
fn beginning(name: &str) -> u128 {
    let mut bytes = [0; 16];
    let length = name.len().min(16);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

impl TryFrom<Object<'_>> for Fields {
    type Error = DecodeError;

    /// Where a name occurs several times, the last value counts, at the place of the first, as in
    /// `JSON.parse`.
    ///
    /// # Errors
    /// [`Fault::LoneSurrogate`](crate::error::Fault::LoneSurrogate): a name that no Rust string can
    /// hold. Nothing is left out silently.
    fn try_from(object: Object<'_>) -> Result<Self, DecodeError> {
        let mut members = Collector::default();
        let mut decoded = String::new();
        let mut fault = None;
        object.for_each_while(|member| {
            match member.key_in(&mut decoded) {
                Some(name) => members.add(name, member.value),
                None => fault = Some(member.at),
            }
            fault.is_none()
        });
        match fault {
            None => Ok(members.finish()),
            Some(at) => Err(DecodeError::new(Fault::LoneSurrogate, at)),
        }
    }
}

/// Makes fields of members that may repeat a name. Values are copied at the end: those that count.
#[derive(Default)]
pub(crate) struct Collector<'a> {
    members: Vec<(CompactString, Json<'a>)>,
    /// What the first names begin with, as [`head`] says.
    heads: [u64; FEW],
}

/// The first bytes of a name and its length, as far as there is room.
fn head(name: &str) -> u64 {
    let mut bytes = [0; 8];
    for (byte, from) in bytes[1..].iter_mut().zip(name.bytes()) {
        *byte = from;
    }
    bytes[0] = name.len() as u8;
    u64::from_le_bytes(bytes)
}

impl<'a> Collector<'a> {
    pub(crate) fn add(&mut self, name: &str, value: Json<'a>) {
        let count = self.members.len();
        // As long as there are a few, what is repeated takes no place.
        if count <= FEW {
            let head = head(name);
            for at in 0..count {
                if self.heads[at] == head && self.members[at].0 == *name {
                    self.members[at].1 = value;
                    return;
                }
            }
            if let Some(place) = self.heads.get_mut(count) {
                *place = head;
            }
        }
        self.members.push((name.into(), value));
    }

    pub(crate) fn finish(self) -> Fields {
        let Self { mut members, .. } = self;
        if members.len() > FEW {
            members = collect(members);
        }
        Fields(members.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

impl IntoIterator for Fields {
    type Item = (Box<str>, RawJson);
    type IntoIter = alloc::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        let boxed = |(name, value): (CompactString, _)| (Box::from(&*name), value);
        self.0.into_iter().map(boxed).collect::<Vec<_>>().into_iter()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            map.key(&name);
            // What is printed ends in logs.
            if name == "token" {
                map.value(&format_args!("…"))
            } else {
                map.value(value)
            };
        }
        map.finish()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, RawJson>()? {
                    members.push((CompactString::from(name), value));
                }
                Ok(Fields(collect(members)))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, format};

    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::try_from(Json::parse(text, 8).unwrap().as_object().unwrap()).unwrap()
    }

    #[test]
    fn keep_order_and_spelling() {
        let text = r#"{"b":1.0,"a":"\u00e9","0":[ 1 ]}"#;
        assert_eq!(fields(text).to_json(), text);
        assert_eq!(serde_json::from_str::<Fields>(text).unwrap(), fields(text));
        assert_eq!(serde_json::to_string(&fields(text)).unwrap(), text);
    }

    #[test]
    fn the_last_value_counts_at_the_first_place() {
        let text = r#"{"a":1,"b":2,"\u0061":3}"#;
        assert_eq!(fields(text).to_json(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn nothing_is_left_out_silently() {
        let json = Json::parse(r#"{"b":2,"a\ud800":1}"#, 8).unwrap();
        let error = Fields::try_from(json.as_object().unwrap()).unwrap_err();
        assert_eq!(error.fault(), Fault::LoneSurrogate);
    }

    #[test]
    fn many_names_are_told_apart_too() {
        let members: Vec<_> = (0..100).map(|n| format!("\"k{}\":{n}", n % 40)).collect();
        let fields = fields(&format!("{{{}}}", members.join(",")));
        assert_eq!(fields.len(), 40);
        assert_eq!(fields.get("k0").unwrap().text(), "80");
        assert_eq!(fields.get("k39").unwrap().text(), "79");
        let order: Vec<_> = fields.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(order, (0..40).map(|n| format!("k{n}")).collect::<Vec<_>>());
    }

    #[test]
    fn tokens_are_not_printed() {
        let printed = format!("{:?}", fields(r#"{"user":"a","token":"secret"}"#));
        assert_eq!(printed, r#"{"user": "a", "token": …}"#);
    }

    #[test]
    fn merge_as_object_assign_does() {
        let mut peer = fields(r#"{"user":"a","name":"x"}"#);
        peer.merge(fields(r#"{"rooms":[],"user":"b"}"#));
        assert_eq!(peer.to_json(), r#"{"user":"b","name":"x","rooms":[]}"#);
        assert_eq!(peer.remove("name").unwrap().text(), "\"x\"");
        assert_eq!(peer.get_str("user").unwrap(), "b");
        assert!(peer.get_str("rooms").is_none());
    }

    proptest! {
        /// Few members and many are collected alike, whatever repeats.
        #[test]
        fn sorting_finds_what_comparing_finds(names in prop::collection::vec(0..30_u8, 0..80)) {
            let member = |(at, name): (usize, &u8)| {
                // Some have the same beginning.
                let name = format!("k{name}{}", &"-------------------"[..usize::from(name % 3) * 9]);
                (CompactString::from(name), RawJson::string(&format!("{at}")))
            };
            let members: Vec<_> = names.iter().enumerate().map(member).collect();
            let mut expected = Fields::new();
            for (name, value) in members.clone() {
                expected.set(name, value);
            }
            prop_assert_eq!(&Fields(collect(members.clone())), &expected);
            let mut collector = Collector::default();
            for (name, value) in &members {
                collector.add(name, value.get());
            }
            prop_assert_eq!(&collector.finish(), &expected);
            let mut merged = Fields::new();
            for half in members.chunks(members.len() / 2 + 1) {
                merged.merge(Fields(half.to_vec()));
            }
            prop_assert_eq!(&merged, &expected);
        }
    }
}
