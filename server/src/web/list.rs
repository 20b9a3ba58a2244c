//! Pages of lists that lie in memory whole.
use dsg_schemas::api::Page;
use dsg_schemas::limits;

/// The rows behind the cursor, which is the key of the last one that was shown: a row that comes or goes meanwhile shifts no other.
pub fn page<T>(mut rows: Vec<T>, key: impl Fn(&T) -> String, cursor: Option<&str>, limit: Option<usize>) -> Page<T> {
    rows.sort_by_cached_key(&key);
    if let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) {
        rows.retain(|row| key(row).as_str() > cursor);
    }
    let limit = limit.unwrap_or(limits::PAGE_ROWS).clamp(1, limits::PAGE_ROWS);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(key);
    Page { rows, next }
}

/// Whether a text holds another one, upper and lower case alike; nothing is in everything.
pub fn holds(text: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| text.to_lowercase().contains(&wanted.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_shown_once_though_some_come_and_go() {
        let key = |n: &u32| format!("{n:04}");
        let first = page((0..10).collect(), key, None, Some(4));
        assert_eq!((first.rows.as_slice(), first.next.as_deref()), ([0, 1, 2, 3].as_slice(), Some("0003")));
        // The last one shown is gone, and so is one before it.
        let rest = page(vec![0, 2, 4, 5, 6, 7], key, first.next.as_deref(), Some(4));
        assert_eq!((rest.rows.as_slice(), rest.next), ([4, 5, 6, 7].as_slice(), None));
        assert!(holds("Ada", Some("AD")) && holds("Ada", None) && !holds("Ada", Some("x")));
    }
}
