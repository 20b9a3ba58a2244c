//! The names under which this machine can be reached: they stand in the certificate, and in the list of allowed `Host` headers.
use std::collections::BTreeSet;
use std::net::IpAddr;

/// `localhost`, the host's name, its addresses, and what the operator says beside them.
pub fn names(public: &[String]) -> Vec<String> {
    let mut names = BTreeSet::from(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        let host = host.trim();
        // A host name may hold characters that a certificate may not; such a name is not used by anybody's URL either.
        if !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.') {
            names.insert(host.to_owned());
        }
    }
    names.extend(std::fs::read_to_string("/proc/net/fib_trie").map(|table| addresses_v4(&table)).unwrap_or_default());
    names.extend(std::fs::read_to_string("/proc/net/if_inet6").map(|table| addresses_v6(&table)).unwrap_or_default());
    names.extend(public.iter().cloned());
    names.into_iter().collect()
}

/// The address stands on the line before its `/32 host LOCAL`.
fn addresses_v4(table: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut last = "";
    for line in table.lines() {
        if line.contains("/32 host LOCAL") && last.parse::<IpAddr>().is_ok() {
            found.push(last.to_owned());
        }
        if let Some((_, address)) = line.split_once("-- ") {
            last = address.trim();
        }
    }
    found
}

/// 32 hexadecimal digits, then index, length, scope; scope 0 is global.
fn addresses_v6(table: &str) -> Vec<String> {
    let global = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bits = u128::from_str_radix(words.first()?, 16).ok()?;
        (words.get(3) == Some(&"00")).then(|| std::net::Ipv6Addr::from_bits(bits).to_string())
    };
    table.lines().filter_map(global).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_the_kernels_tables() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(addresses_v4(table), ["192.0.2.7"]);
        let table = "fe800000000000000000000000000001 02 40 20 80     eth0\n20010db8000000000000000000000007 02 40 00 80     eth0\n";
        assert_eq!(addresses_v6(table), ["2001:db8::7"]);
        assert!(names(&["lab.example.org".to_owned()]).contains(&"lab.example.org".to_owned()));
    }
}
