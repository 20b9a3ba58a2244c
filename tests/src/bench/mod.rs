//! The figures that `make bench` prints, one `name: value unit` each, with the spread beside it where it comes from rounds.
pub mod check;
pub mod containers;
pub mod crash;
pub mod flood;
pub mod grid;
pub mod growth;
pub mod latency;
pub mod log;
pub mod million;
pub mod pretend;
pub mod process;

/// Rounds of what is given as a ratio, where no more are needed to be sure of it.
pub const ROUNDS: usize = 7;

/// The median, and the smallest and largest beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// Of at least one value.
pub fn spread(values: &[f64]) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    // Of an even number the middle lies between two.
    Spread { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, least: at(0), most: at(last) }
}

pub fn print(name: &str, value: f64, unit: &str) {
    println!("{name}: {value:.2} {unit}");
}

pub fn print_spread(name: &str, values: &[f64], unit: &str) {
    let Spread { median, least, most } = spread(values);
    println!("{name}: {median:.3} {unit} (of {} rounds, {least:.3} to {most:.3})", values.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_between() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Spread { median: 3.0, least: 1.0, most: 9.0 });
        assert_eq!(spread(&[5.0]), Spread { median: 5.0, least: 5.0, most: 5.0 });
    }
}
