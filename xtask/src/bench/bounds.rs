//! What simsim must hold, whoever stands beside it: bounds of its own figures, and of its interfaces
//! against HTTP in the same run.

use super::report::{Figures, OURS, STEPS, median};

/// No row of ours may be above: what it says, and how much.
const AT_MOST: [(&str, f64); 5] = [
    ("client MiB", 96.0),
    ("device MiB", 128.0),
    ("wire ÷ stored", 1.02),
    ("unchanged sent ÷ data", 0.001),
    ("replicate again wall s", 1.0),
];
/// No row of ours may be below.
const AT_LEAST: [(&str, f64); 1] = [("replicate ÷ slower limit", 0.7)];
/// A peer that is ahead by less is level: two runs of one program differ by as much.
pub const TIE: f64 = 1.2;
/// A step that takes no longer is quick enough, whoever is quicker.
pub const AT_ONCE_S: f64 = 0.2;

/// Bounds that are not held, in words.
pub fn broken(corpus: &str, tool: &str, runs: &[Figures], http: Option<&[Figures]>) -> Vec<String> {
    let mut broken = Vec::new();
    for (row, most) in AT_MOST {
        if let Some(value) = median(runs, row).filter(|value| *value > most) {
            broken.push(format!("{corpus}, {tool}, {row}: {value:.4}, more than {most}"));
        }
    }
    for (row, least) in AT_LEAST {
        if let Some(value) = median(runs, row).filter(|value| *value < least) {
            broken.push(format!("{corpus}, {tool}, {row}: {value:.4}, less than {least}"));
        }
    }
    let Some(http) = http.filter(|_| tool != OURS) else { return broken };
    let most = if tool.contains("ftp") { 1.25 } else { 1.15 };
    for step in STEPS {
        let row = format!("{step} wall s");
        if let (Some(own), Some(http)) = (median(runs, &row), median(http, &row))
            && own > http * most
            && own > AT_ONCE_S
        {
            let ratio = own / http.max(0.001);
            broken
                .push(format!("{corpus}, {tool}, {step}: {ratio:.2}× of HTTP, more than {most}×"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rows: &[(&str, f64)]) -> Vec<Figures> {
        let mut figures = Figures::default();
        for (row, value) in rows {
            figures.value(row, *value);
        }
        vec![figures]
    }

    #[test]
    fn each_bound_is_held_at_its_edge_and_named_beyond_it() {
        for (row, most) in AT_MOST {
            assert!(broken("src", OURS, &figures(&[(row, most)]), None).is_empty(), "{row}");
            let told = broken("src", OURS, &figures(&[(row, most * 1.01)]), None);
            assert!(matches!(told.as_slice(), [one] if one.contains(row)), "{told:?}");
        }
        for (row, least) in AT_LEAST {
            assert!(broken("src", OURS, &figures(&[(row, least)]), None).is_empty(), "{row}");
            assert_eq!(broken("src", OURS, &figures(&[(row, least * 0.99)]), None).len(), 1);
        }
    }

    #[test]
    fn an_interface_is_held_against_http() {
        let http = figures(&[("first wall s", 10.0)]);
        for (tool, most) in [("simsim by https", 1.15), ("simsim by ftp", 1.25)] {
            let at = |ratio: f64| {
                broken("src", tool, &figures(&[("first wall s", 10.0 * ratio)]), Some(&http)).len()
            };
            assert_eq!((at(most - 0.01), at(most + 0.01)), (0, 1), "{tool}");
        }
        let (quick, other) =
            (figures(&[("first wall s", 0.1)]), figures(&[("first wall s", 0.19)]));
        assert!(broken("src", "simsim by https", &other, Some(&quick)).is_empty(), "at once");
    }
}
