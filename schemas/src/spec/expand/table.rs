//! Items of `rows` and `files`: JSON lines, with a mark at every 64th so that any of them is found at once.
use serde_json::Value;

use super::items::{Shape, ShapeSoFar};

const MARK_EVERY: u64 = 64;

#[derive(Clone, Debug)]
pub struct Table {
    bytes: Vec<u8>,
    marks: Vec<usize>,
    rows: u64,
    pub shape: Shape,
}

impl Table {
    /// Of lines that [`Builder`] wrote. Each line ends with a line feed.
    pub fn of(bytes: Vec<u8>, shape: Shape) -> Table {
        let mut marks = Vec::new();
        let mut rows = 0;
        let mut start = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if rows % MARK_EVERY == 0 {
                marks.push(start);
            }
            start += line.len();
            rows += 1;
        }
        Table { bytes, marks, rows, shape }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Lines from this one on.
    pub fn lines_from(&self, index: u64) -> impl Iterator<Item = &[u8]> {
        let mark = usize::try_from(index / MARK_EVERY).ok().and_then(|mark| self.marks.get(mark));
        let rest = &self.bytes[mark.copied().unwrap_or(self.bytes.len())..];
        let skip = usize::try_from(index % MARK_EVERY).unwrap_or(0);
        rest.split_inclusive(|byte| *byte == b'\n').skip(skip)
    }

    pub fn item(&self, index: u64) -> Value {
        self.lines_from(index).next().and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default()
    }
}

/// Writes a table, one item at a time.
#[derive(Default)]
pub struct Builder {
    bytes: Vec<u8>,
    shape: ShapeSoFar,
}

impl Builder {
    pub fn add(&mut self, item: &Value) {
        self.shape.add(item);
        self.bytes.extend_from_slice(item.to_string().as_bytes());
        self.bytes.push(b'\n');
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn finish(self) -> Table {
        Table::of(self.bytes, self.shape.shape())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_row_is_found() {
        let mut builder = Builder::default();
        (0..1000).for_each(|n| builder.add(&json!({"n": n, "text": "a\nb"})));
        let table = builder.finish();
        assert_eq!(table.rows(), 1000);
        for n in [0, 1, 63, 64, 65, 127, 128, 999] {
            assert_eq!(table.item(n)["n"], json!(n));
        }
        assert_eq!(table.item(1000), Value::Null);
        assert_eq!(table.item(u64::MAX), Value::Null);
    }
}
