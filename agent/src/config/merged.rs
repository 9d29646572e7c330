//! Stage two: *merged*, one tree from all files. Each key and value keeps the span that it was written at.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What all files say together.
#[derive(Debug, Default)]
pub(super) struct Merged<'a> {
    pub(super) root: DeTable<'a>,
}

/// A value and the span of the key that it stands at. Elements of arrays have no key: it is the span of the value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t, 'a> {
    pub(super) key: Range<usize>,
    pub(super) value: &'t Spanned<DeValue<'a>>,
}

impl<'a> Merged<'a> {
    /// Merges trees of rising priority.
    pub(super) fn of(trees: Vec<DeTable<'a>>) -> Self {
        let mut root = DeTable::new();
        for tree in trees {
            merge(&mut root, tree);
        }
        Self { root }
    }

    /// What stands at a path of keys and, in arrays, positions.
    pub(super) fn get(&self, path: &[&str]) -> Option<Entry<'_, 'a>> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(entry(&self.root, first)?, |entry, step| child(entry.value.get_ref(), step))
    }

    /// Where the thing at `path` was written: its value or, when it was not written, the nearest thing around it.
    pub(super) fn span(&self, path: &[&str]) -> Range<usize> {
        match (self.get(path), path.split_last()) {
            (Some(Entry { key, value }), _) if value.get_ref().is_table() => key,
            (Some(Entry { value, .. }), _) => value.span(),
            (None, Some((_, around))) => self.span(around),
            (None, None) => 0..0,
        }
    }

    /// The names in a table of the root, such as those of the hooks.
    pub(super) fn names(&self, table: &str) -> Vec<&str> {
        let table = self.root.get(table).and_then(|value| value.get_ref().as_table());
        table.into_iter().flat_map(|table| table.keys().map(|key| key.get_ref().as_ref())).collect()
    }
}

fn child<'t, 'a>(value: &'t DeValue<'a>, step: &str) -> Option<Entry<'t, 'a>> {
    match value {
        DeValue::Table(table) => entry(table, step),
        DeValue::Array(array) => {
            let value = array.get(step.parse::<usize>().ok()?)?;
            Some(Entry { key: value.span(), value })
        }
        _ => None,
    }
}

fn entry<'t, 'a>(table: &'t DeTable<'a>, name: &str) -> Option<Entry<'t, 'a>> {
    table.get_key_value(name).map(|(key, value)| Entry { key: key.span(), value })
}

/// Tables are merged key by key; everything else is replaced.
fn merge<'a>(into: &mut DeTable<'a>, from: DeTable<'a>) {
    for (key, later) in from {
        // Removed first: inserting would keep the old key, whose span is the earlier file's.
        let value = match into.remove(key.get_ref().as_ref()) {
            Some(earlier) => {
                Spanned::new(later.span(), merge_values(earlier.into_inner(), later.into_inner()))
            }
            None => later,
        };
        into.insert(key, value);
    }
}

fn merge_values<'a>(earlier: DeValue<'a>, later: DeValue<'a>) -> DeValue<'a> {
    match (earlier, later) {
        (DeValue::Table(mut table), DeValue::Table(from)) => {
            merge(&mut table, from);
            DeValue::Table(table)
        }
        (_, later) => later,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Documents in which a name is always a table or never: otherwise the order of merging must matter.
    fn documents() -> impl Strategy<Value = String> {
        prop::collection::btree_map("[ab]\\.[ab]\\.[xy]", 0..9_i64, 0..6)
            .prop_map(|keys| keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect())
    }

    fn parse(text: &str) -> DeTable<'_> {
        DeTable::parse(text).unwrap().into_inner()
    }

    fn values(table: DeTable<'_>) -> Value {
        let root = Spanned::new(0..0, DeValue::Table(table));
        serde::Deserialize::deserialize(toml::de::ValueDeserializer::from(root)).unwrap()
    }

    fn merged<'a>(first: DeTable<'a>, second: DeTable<'a>) -> DeTable<'a> {
        Merged::of(vec![first, second]).root
    }

    proptest! {
        #[test]
        fn merging_is_associative(a in documents(), b in documents(), c in documents()) {
            let left = merged(merged(parse(&a), parse(&b)), parse(&c));
            let right = merged(parse(&a), merged(parse(&b), parse(&c)));
            prop_assert_eq!(values(left), values(right));
        }

        #[test]
        fn the_last_document_wins(a in documents(), b in documents()) {
            let both = Merged::of(vec![parse(&a), parse(&b)]);
            let last = Merged::of(vec![parse(&b)]);
            for line in b.lines() {
                let path: Vec<&str> = line[..5].split('.').collect();
                prop_assert_eq!(both.get(&path).unwrap().key, last.get(&path).unwrap().key);
            }
        }
    }

    #[test]
    fn a_list_is_replaced_and_not_lengthened() {
        let merged = merged(parse("a = [1, 2]"), parse("a = [3]"));
        assert_eq!(values(merged), serde_json::json!({ "a": [3] }));
    }
}
