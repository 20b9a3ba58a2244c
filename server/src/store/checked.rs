//! One table for reading: every value is checked before anybody sees it.
use std::borrow::Borrow;
use std::ops::RangeBounds;

use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, TableHandle};

use super::sealed::{HEAD, unseal};
use super::tables::{AUTH, Definition, META_VERSION};
use super::trouble::Trouble;

pub struct Checked<K: redb::Key + 'static> {
    definition: Definition<K>,
    table: ReadOnlyTable<K, &'static [u8]>,
}

/// A value that is what was once written.
pub struct Payload(AccessGuard<'static, &'static [u8]>);

impl Payload {
    pub fn bytes(&self) -> &[u8] {
        // The seal was looked at when this was made; what is left to do is to step over it.
        self.0.value().get(HEAD..).unwrap_or_default()
    }
}

pub type Entry<K> = Result<(AccessGuard<'static, K>, Payload), Trouble>;

impl<K: redb::Key + 'static> Checked<K> {
    pub fn open(transaction: &ReadTransaction, definition: Definition<K>) -> Result<Checked<K>, Trouble> {
        Ok(Checked { definition, table: transaction.open_table(definition)? })
    }

    pub fn get<'k>(&self, key: impl Borrow<K::SelfType<'k>>) -> Result<Option<Payload>, Trouble> {
        let Some(value) = self.table.get(key.borrow())? else { return Ok(None) };
        check(self.definition, key.borrow(), value.value())?;
        Ok(Some(Payload(value)))
    }

    pub fn range<'k, R: Borrow<K::SelfType<'k>>>(
        &self,
        range: impl RangeBounds<R>,
    ) -> Result<impl DoubleEndedIterator<Item = Entry<K>>, Trouble> {
        let definition = self.definition;
        Ok(self.table.range(range)?.map(move |entry| {
            let (key, value) = entry?;
            check(definition, &key.value(), value.value())?;
            Ok((key, Payload(value)))
        }))
    }
}

/// Answers what is inside.
pub fn check<'a, K: redb::Key + 'static>(
    table: Definition<K>,
    key: &K::SelfType<'_>,
    value: &'a [u8],
) -> Result<&'a [u8], Trouble> {
    unseal(table.name(), K::as_bytes(key).as_ref(), value)
        .ok_or_else(|| Trouble::Rotten { table: table.name().to_owned(), key: shown(table, key) })
}

/// A key as people see it: what opens doors is shown by its first letters only.
pub fn shown<K: redb::Key + 'static>(table: Definition<K>, key: &K::SelfType<'_>) -> String {
    let text = format!("{key:?}");
    let text = text.trim_matches('"');
    if table.name() == AUTH.name() { masked(text) } else { text.to_owned() }
}

pub fn masked(hash: &str) -> String {
    format!("{}…", hash.chars().take(8).collect::<String>())
}

/// The one value without a seal, see [`META_VERSION`].
pub fn is_version<K: redb::Key + 'static>(key: &K::SelfType<'_>) -> bool {
    K::type_name() == <&str as redb::Value>::type_name() && K::as_bytes(key).as_ref() == META_VERSION.as_bytes()
}
