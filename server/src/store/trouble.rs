//! What can go wrong with rows, before it is said in which file.
use std::io;

/// [`StoreError`](super::StoreError) adds the place and what to do.
#[derive(Debug)]
pub enum Trouble {
    Redb(redb::Error),
    /// A value is not what was once written under its key.
    Rotten {
        table: String,
        key: String,
    },
    Row {
        row: String,
        source: serde_json::Error,
    },
    /// It is whole, but makes no sense.
    Garbled(&'static str),
    Io(io::Error),
}

macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for Trouble {
            fn from(error: redb::$error) -> Trouble {
                Trouble::Redb(error.into())
            }
        }
    )*};
}
from_redb!(StorageError TableError TransactionError CommitError SetDurabilityError DatabaseError);

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}
