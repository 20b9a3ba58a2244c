//! Stores of earlier versions, brought to the present form in the transaction that opens them: all of it or nothing.
use redb::{ReadTransaction, ReadableDatabase, TableHandle, WriteTransaction};

use super::checked::is_version;
use super::sealed::seal;
use super::tables::{Definition, META, META_VERSION, VERSION, Visitor, each_table};
use super::trouble::Trouble;

/// From version 1: every value gets its seal.
pub fn seal_all(database: &redb::Database, write: &WriteTransaction) -> Result<(), Trouble> {
    each_table(&mut Sealing { old: database.begin_read()?, write })?;
    write.open_table(META)?.insert(META_VERSION, VERSION.to_string().as_bytes())?;
    Ok(())
}

struct Sealing<'w> {
    /// The rows as they were: a table cannot be changed while it is walked through.
    old: ReadTransaction,
    write: &'w WriteTransaction,
}

impl Visitor for Sealing<'_> {
    type Error = Trouble;

    fn table<K: redb::Key + 'static>(&mut self, table: Definition<K>) -> Result<(), Trouble> {
        let old = match self.old.open_table(table) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            old => old?,
        };
        let mut new = self.write.open_table(table)?;
        for entry in redb::ReadableTable::iter(&old)? {
            let (key, value) = entry?;
            let key = key.value();
            if !is_version::<K>(&key) {
                let value = seal(table.name(), K::as_bytes(&key).as_ref(), value.value());
                new.insert(key, value.as_slice())?;
            }
        }
        Ok(())
    }
}
