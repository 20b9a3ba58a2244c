//! Walks through every row of a store: to check them, and to copy them into another one.
use redb::{ReadTransaction, ReadableTable, TableError, WriteTransaction};

use super::checked::{check, is_version};
use super::tables::{Definition, Visitor, each_table};
use super::trouble::Trouble;

/// Fails at the first row that is not what was written.
pub fn check_all(from: &ReadTransaction) -> Result<(), Trouble> {
    each_table(&mut Walk { from, to: None })
}

/// Checks on the way: nothing that is wrong is copied.
pub fn copy_all(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), Trouble> {
    each_table(&mut Walk { from, to: Some(to) })
}

struct Walk<'a> {
    from: &'a ReadTransaction,
    to: Option<&'a WriteTransaction>,
}

impl Visitor for Walk<'_> {
    type Error = Trouble;

    fn table<K: redb::Key + 'static>(&mut self, table: Definition<K>) -> Result<(), Trouble> {
        let mut to = self.to.map(|write| write.open_table(table)).transpose()?;
        let from = match self.from.open_table(table) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            from => from?,
        };
        for entry in from.iter()? {
            let (key, value) = entry?;
            if !is_version::<K>(&key.value()) {
                check(table, &key.value(), value.value())?;
            }
            if let Some(to) = &mut to {
                to.insert(key.value(), value.value())?;
            }
        }
        Ok(())
    }
}
