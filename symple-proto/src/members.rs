//! The members of a peer, made in one pass from what was written.

#[cfg(test)]
mod tests;

use alloc::{string::String, vec::Vec};
use core::{fmt, ops::Range};

use crate::{
    fields::Fields,
    json::{Entry, Json, Kind, Names, Object, Spelling, decode_to, push_string},
    record::name_text,
};

/// The members that are treated in a way of their own.
const KNOWN: [&str; 10] =
    ["id", "user", "online", "name", "host", "type", "token", "rooms", "__proto__", "extensions"];

/// The same, to be looked up.
pub(crate) const NAMES: Names = Names::new(&KNOWN);

/// How many of [`KNOWN`] become members of a peer.
const KEPT: usize = 5;

pub(crate) const ID: usize = 0;
pub(crate) const USER: usize = 1;
pub(crate) const ONLINE: usize = 2;
pub(crate) const NAME: usize = 3;
pub(crate) const HOST: usize = 4;
pub(crate) const TYPE: usize = 5;
pub(crate) const TOKEN: usize = 6;
pub(crate) const ROOMS: usize = 7;
/// A member of its own in an `auth` frame only (R-X1).
pub(crate) const EXTENSIONS: usize = 9;

/// The members of a peer as its client, its session and hooks have written them, each name once:
/// the last value at the place of the first, as in `JSON.parse` and `Object.assign`.
///
/// They are kept as one JSON text, of which most is copied at once wherever they go. There is no
/// `type`, `token`, `rooms` or `__proto__` among them (R-A8). A `name` is a string, empty where it
/// was none (R-A1). `id`, `online` and `host` only have a place: the values are the server's.
///
/// `Debug` and `==` are of that text: the seed is nobody's to see.
#[derive(Clone)]
pub struct PeerMembers {
    /// An object without space between its members.
    text: String,
    /// Where the first [`KEPT`] of [`KNOWN`] stand.
    at: [Option<Place>; KEPT],
    seed: u64,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    key: usize,
    value: usize,
    end: usize,
}

/// Where in a peer that was written out the values stand of `id`, `user`, `online` and `name`.
pub(crate) type ValuesAt = [usize; 4];

impl fmt::Debug for PeerMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerMembers").field(&self.text).finish()
    }
}

impl PartialEq for PeerMembers {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PeerMembers {}

impl PeerMembers {
    /// No members. Names are told apart by hashes; whoever may choose them must not know the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { text: String::from("{}"), at: [None; KEPT], seed }
    }

    /// Lays the members of `over` over these, as `Object.assign` does. More than 64 MiB are not
    /// taken: no record is so large.
    pub fn merge(&mut self, over: &Fields) {
        if over.is_empty() {
            return;
        }
        let mut both = core::mem::take(&mut self.text);
        let members = both.len() - 1;
        both.truncate(members);
        if both.len() > "{".len() {
            both.push(',');
        }
        // With the bracket that is there already.
        let at = both.len();
        over.push_json(&mut both);
        both.remove(at);
        if both.len() > MAX_TEXT {
            both.truncate(members);
            both.push('}');
            self.text = both;
            return;
        }
        *self = Self::of(Object::checked(&both), self.seed, |_| true);
    }

    /// These members but for those that `keep` does not keep.
    #[must_use]
    pub fn only(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut decoded = String::new();
        Self::of(Object::checked(&self.text), self.seed, |quoted| {
            decoded.clear();
            decode_to(quoted, &mut decoded).is_ok() && keep(&decoded)
        })
    }

    /// Reads an object; no name in it has half a surrogate pair.
    fn of(object: Object<'_>, seed: u64, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut collector = Collector::new(object, seed);
        object.for_each_entry(|entry| {
            let key = &object.text()[entry.key.clone()];
            if keep(key) {
                let found = NAMES.find(key, entry.escaped);
                let exact = found.filter(|(name, how)| {
                    // Where it stands in no `auth` frame it asks for nothing.
                    *how == Spelling::Exact && *name != EXTENSIONS
                });
                let exact = exact.map(|(name, _)| name);
                collector.add(exact, &entry);
            }
            true
        });
        collector.finish()
    }

    /// Appends the peer as it is told to its own client (R-A8), as a JSON object.
    pub fn push_peer(&self, user: &str, id: &str, host: Option<&str>, out: &mut String) {
        // It is spelled as it was written where it is right.
        let same = self.at[USER].is_some_and(|at| {
            let value = &self.text[at.value..at.end];
            let mut decoded = String::new();
            value.starts_with('"') && decode_to(value, &mut decoded).is_ok() && decoded == user
        });
        self.push(user, same, id, host, out);
    }

    /// Appends the peer as others are told of it, secrets included that are not at its top level.
    pub(crate) fn push_record(&self, user: &str, id: &str, out: &mut String) -> ValuesAt {
        self.push(user, false, id, None, out)
    }

    fn push(
        &self,
        user: &str,
        as_written: bool,
        id: &str,
        host: Option<&str>,
        out: &mut String,
    ) -> ValuesAt {
        let text = |member: usize, out: &mut String| match member {
            ID => push_string(out, id),
            ONLINE => out.push_str("true"),
            HOST => push_string(out, host.unwrap_or_default()),
            _ => push_string(out, user),
        };
        out.reserve(self.text.len() + user.len() + id.len() + 100);
        let start = out.len();
        let mut values = [0; 4];
        let mut order = [ID, USER, ONLINE, NAME, HOST];
        order.sort_unstable_by_key(|member| self.at[*member].map(|at| at.key));
        let mut copied = 0;
        for member in order {
            let Some(at) = self.at[member] else { continue };
            if member == HOST && host.is_none() {
                // With the comma behind it, or else the one before.
                let last = self.text.as_bytes()[at.end] != b',';
                let before = at.key - usize::from(last && at.key > 1);
                // What is before may have gone already.
                out.push_str(&self.text[copied..before]);
                copied = if last { at.end } else { at.end + 1 };
                continue;
            }
            out.push_str(&self.text[copied..at.value]);
            copied = at.value;
            if let Some(value) = values.get_mut(member) {
                *value = out.len();
            }
            let kept = match member {
                USER => as_written,
                NAME => &self.text[at.value..at.end] != "\"\"",
                _ => false,
            };
            if !kept {
                text(member, out);
                copied = at.end;
            }
        }
        out.push_str(&self.text[copied..self.text.len() - 1]);
        for member in [USER, ID, ONLINE, NAME, HOST] {
            if self.at[member].is_some() || member == HOST && host.is_none() {
                continue;
            }
            if out.len() > start + 1 {
                out.push(',');
            }
            push_string(out, KNOWN[member]);
            out.push(':');
            if let Some(value) = values.get_mut(member) {
                *value = out.len();
            }
            text(member, out);
        }
        out.push('}');
        values.map(|at| at.saturating_sub(start))
    }
}

impl From<&Fields> for PeerMembers {
    fn from(fields: &Fields) -> Self {
        let mut members = Self::new(0);
        members.merge(fields);
        members
    }
}

/// Collects members that may repeat a name, and writes those that count.
///
/// Each costs a few bytes here: where it stands, and a hash of its name. Those that are alike are
/// found by sorting the hashes at the end, so nothing is looked through for each of them.
pub(crate) struct Collector<'a> {
    source: &'a str,
    /// Names that were written with escapes, as they are written without.
    spelled: String,
    /// The last of them, without quotes.
    decoded: String,
    members: Vec<Span>,
    /// For each member with a name that is not known: 40 bits of the hash, and its index.
    hashes: Vec<u64>,
    /// Where the known ones are among the members.
    places: [Option<usize>; KNOWN.len()],
    /// The last values of the known ones.
    values: [Option<(Range<usize>, Kind)>; KNOWN.len()],
    seed: u64,
}

/// Where a member stands in the source; a key behind the end of it is one in
/// [`spelled`](Collector::spelled).
#[derive(Clone, Copy)]
struct Span {
    key: u32,
    key_end: u32,
    value: u32,
    end: u32,
}

impl Span {
    /// A member that does not count.
    const NONE: Self = Self { key: u32::MAX, key_end: u32::MAX, value: 0, end: 0 };
}

/// How many bits of a hash of a name are the index of its member.
const INDEX_BITS: u32 = 24;

/// The longest text that members are collected from: it has fewer members than there are indices.
pub(crate) const MAX_TEXT: usize = 64 << 20;

impl<'a> Collector<'a> {
    pub(crate) fn new(object: Object<'a>, seed: u64) -> Self {
        Self {
            source: object.text(),
            spelled: String::new(),
            decoded: String::new(),
            members: Vec::new(),
            hashes: Vec::new(),
            places: [None; KNOWN.len()],
            values: [const { None }; KNOWN.len()],
            seed,
        }
    }

    /// Adds a member; `exact` is which of [`KNOWN`] its key spells, if any.
    #[inline]
    pub(crate) fn add(&mut self, exact: Option<usize>, entry: &Entry) {
        // No text is as long as 4 GiB: see `MAX_TEXT`.
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        if let Some(name) = exact {
            self.values[name] = Some((entry.value.clone(), entry.kind));
            if name >= KEPT || self.places[name].is_some() {
                return;
            }
            self.places[name] = Some(self.members.len());
            let known = self.source.len() + self.spelled.len();
            push_string(&mut self.spelled, KNOWN[name]);
            self.members.push(Span {
                key: narrow(known),
                key_end: narrow(self.source.len() + self.spelled.len()),
                value: 0,
                end: 0,
            });
            return;
        }
        let mut key = entry.key.clone();
        if entry.escaped {
            key.start = self.source.len() + self.spelled.len();
            self.decoded.clear();
            // No key has half a surrogate pair.
            let _ = decode_to(&self.source[entry.key.clone()], &mut self.decoded);
            push_string(&mut self.spelled, &self.decoded);
            key.end = self.source.len() + self.spelled.len();
        }
        let span = Span {
            key: narrow(key.start),
            key_end: narrow(key.end),
            value: narrow(entry.value.start),
            end: narrow(entry.value.end),
        };
        // Most names are short, and stand in a text that goes on.
        let hash = match self.source.as_bytes().get(key.start..).and_then(<[u8]>::first_chunk) {
            Some(chunk) if key.len() < 8 => short_hash(chunk, key.len(), self.seed),
            _ => hash(self.key(span).as_bytes(), self.seed),
        };
        self.hashes.push(hash << INDEX_BITS | self.members.len() as u64);
        self.members.push(span);
    }

    /// The last value of a known member.
    pub(crate) fn value(&self, name: usize) -> Option<Json<'a>> {
        let (range, kind) = self.values[name].clone()?;
        Some(Json::checked(&self.source[range], kind))
    }

    fn key(&self, span: Span) -> &str {
        let range = span.key as usize..span.key_end as usize;
        match range.start.checked_sub(self.source.len()) {
            None => &self.source[range],
            Some(start) => &self.spelled[start..range.end - self.source.len()],
        }
    }

    /// Of members that are alike the first gets the value of the last, and the others go.
    fn settle_repeated(&mut self) {
        let mut hashes = core::mem::take(&mut self.hashes);
        hashes.sort_unstable();
        let index = |hash: &u64| (hash & ((1 << INDEX_BITS) - 1)) as usize;
        let same = |a: &u64, b: &u64| a >> INDEX_BITS == b >> INDEX_BITS;
        if !hashes.windows(2).any(|pair| same(&pair[0], &pair[1])) {
            return;
        }
        for alike in hashes.chunk_by_mut(same) {
            let name = |hash: &u64| self.key(self.members[index(hash)]);
            // Nearly always they are, unless there is only one.
            let first = name(&alike[0]);
            if !alike[1..].iter().all(|other| name(other) == first) {
                alike.sort_unstable_by(|a, b| name(a).cmp(name(b)).then(a.cmp(b)));
            }
            let mut rest = &*alike;
            while let [first, others @ ..] = rest {
                let name = self.key(self.members[index(first)]);
                let count =
                    others.iter().take_while(|other| self.key(self.members[index(other)]) == name);
                let (repeated, next) = others.split_at(count.count());
                if let Some(last) = repeated.last() {
                    let Span { value, end, .. } = self.members[index(last)];
                    let first = &mut self.members[index(first)];
                    (first.value, first.end) = (value, end);
                }
                for other in repeated {
                    self.members[index(other)] = Span::NONE;
                }
                rest = next;
            }
        }
    }

    pub(crate) fn finish(mut self) -> PeerMembers {
        self.settle_repeated();
        let mut at = [None; KEPT];
        let mut writer = Writer::new(self.source);
        writer.out.reserve(self.source.len().min(self.members.len() * 16));
        let mut known: [usize; KEPT] =
            core::array::from_fn(|name| self.places[name].unwrap_or(usize::MAX));
        let mut names: [usize; KEPT] = [0, 1, 2, 3, 4];
        names.sort_unstable_by_key(|name| known[*name]);
        known.sort_unstable();
        let mut next = known.into_iter().zip(names).peekable();
        for (index, member) in self.members.iter().enumerate() {
            if let Some((_, name)) = next.next_if(|(place, _)| *place == index) {
                let key = writer.key(self.key(*member));
                let value = writer.out.len();
                match (name, self.value(name)) {
                    (USER, Some(user)) => writer.out.push_str(user.text()),
                    (NAME, Some(name)) => {
                        writer.out.push_str(name_text(name).as_deref().unwrap_or("\"\""));
                    }
                    _ => writer.out.push('0'),
                }
                at[name] = Some(Place { key, value, end: writer.out.len() });
            } else if member.key == u32::MAX {
                continue;
            } else if member.key as usize >= self.source.len() {
                writer.key(self.key(*member));
                writer.out.push_str(&self.source[member.value as usize..member.end as usize]);
            } else {
                writer.member(
                    member.key as usize..member.key_end as usize,
                    member.value as usize..member.end as usize,
                );
            }
        }
        PeerMembers { text: writer.finish(), at, seed: self.seed }
    }
}

/// The golden ratio, and as many bits of pi.
const ODD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0x243f_6a88_85a3_08d3];

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The [`hash`] of a name of less than eight bytes, which are the first of these.
#[inline]
fn short_hash(chunk: &[u8; 8], length: usize, seed: u64) -> u64 {
    let name = u64::from_le_bytes(*chunk) & ((1 << (8 * length)) - 1);
    fold(name ^ seed, ODD[0] ^ seed) >> INDEX_BITS
}

/// A hash of a name, of 40 bits in its low ones; who does not know the seed finds no two names
/// with the same.
#[inline]
fn hash(name: &[u8], seed: u64) -> u64 {
    if let Some(short) = name.len().checked_sub(1).filter(|_| name.len() < 8) {
        let mut chunk = [0; 8];
        chunk[..=short].copy_from_slice(name);
        return short_hash(&chunk, name.len(), seed);
    }
    let mut state = seed ^ name.len() as u64;
    let (pairs, rest) = name.as_chunks::<8>();
    for word in pairs {
        state = fold(state ^ u64::from_le_bytes(*word), ODD[0] ^ seed);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    state = fold(state ^ u64::from_le_bytes(last), ODD[1] ^ seed);
    fold(state, ODD[0]) >> INDEX_BITS
}

/// Writes an object of members of another one. Those that follow each other there without space
/// are copied together.
pub(crate) struct Writer<'a> {
    pub(crate) out: String,
    source: &'a str,
    /// Members that have not been copied yet.
    run: Range<usize>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        Self { out: String::from("{"), source, run: 0..0 }
    }

    /// How long the text is, what is still to be copied included, but for a comma.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.out.len() + self.run.len()
    }

    /// A member as it stands in the source.
    #[inline]
    pub(crate) fn member(&mut self, key: Range<usize>, value: Range<usize>) {
        // One byte before the value is the colon, and one before the key the comma.
        let dense = value.start == key.end + 1;
        if dense && self.run.end + 1 == key.start && !self.run.is_empty() {
            self.run.end = value.end;
        } else if dense {
            self.copy();
            self.run = key.start..value.end;
        } else {
            self.key(&self.source[key]);
            self.out.push_str(&self.source[value]);
        }
    }

    /// The key of a member whose value is written behind it; where it begins.
    pub(crate) fn key(&mut self, quoted: &str) -> usize {
        self.copy();
        self.comma();
        let at = self.out.len();
        self.out.push_str(quoted);
        self.out.push(':');
        at
    }

    fn comma(&mut self) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
    }

    fn copy(&mut self) {
        if !self.run.is_empty() {
            self.comma();
            self.out.push_str(&self.source[core::mem::take(&mut self.run)]);
        }
    }

    pub(crate) fn finish(mut self) -> String {
        self.copy();
        self.out.push('}');
        self.out
    }
}
