//! Tables that fit: too narrow a terminal cuts long cells first and then loses the columns that
//! matter least. Without a terminal nothing is cut, so that a script sees all of it.

use super::text::{Style, Text};

/// Columns between two cells.
const GAP: usize = 2;

/// What a column is like.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    to_the_right: bool,
    /// The highest is lost first; 0 stays.
    rank: u8,
    /// It may be cut to this width; `None`: never.
    cut_to: Option<usize>,
}

impl Column {
    pub const fn new(title: &'static str) -> Self {
        Self { title, to_the_right: false, rank: 0, cut_to: None }
    }

    /// A number.
    pub const fn right(mut self) -> Self {
        self.to_the_right = true;
        self
    }

    pub const fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    pub const fn cut_to(mut self, width: usize) -> Self {
        self.cut_to = Some(width);
        self
    }
}

/// Rows below titles.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Text>>,
}

impl Table {
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: impl Into<Vec<Text>>) {
        self.rows.push(cells.into());
    }

    /// The lines, at most `width` columns wide. Columns without any content are left out.
    pub fn lines(&self, width: Option<usize>) -> Vec<Text> {
        let natural: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = self.rows.iter().filter_map(|row| row.get(at)).map(Text::width);
                let widest = cells.max().unwrap_or(0);
                if widest == 0 { 0 } else { widest.max(column.title.len()) }
            })
            .collect();
        let widths = match width {
            Some(width) => self.fit(&natural, width),
            None => natural,
        };
        let titles = self.columns.iter().map(|column| Text::new().dim(column.title)).collect();
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = Text::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                if *width == 0 {
                    continue;
                }
                if !line.is_empty() {
                    line = line.plain(" ".repeat(GAP));
                }
                line = line.then(cell.clone().cut(*width).pad(*width, column.to_the_right));
            }
            lines.push(match width {
                Some(width) => line.cut(width),
                None => line,
            });
        }
        lines
    }

    fn fit(&self, natural: &[usize], width: usize) -> Vec<usize> {
        let mut wanted = natural.to_vec();
        loop {
            let least: Vec<usize> = wanted
                .iter()
                .zip(&self.columns)
                .map(|(wide, column)| column.cut_to.map_or(*wide, |least| least.min(*wide)))
                .collect();
            if total(&least) <= width {
                return widen(least, &wanted, width);
            }
            let lost = (0..wanted.len())
                .filter(|at| wanted[*at] > 0 && self.columns[*at].rank > 0)
                .max_by_key(|at| self.columns[*at].rank);
            match lost {
                Some(at) => wanted[at] = 0,
                // What is left is cut at the edge.
                None => return least,
            }
        }
    }
}

fn total(widths: &[usize]) -> usize {
    let shown = widths.iter().filter(|width| **width > 0);
    shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
}

/// Gives the room that is left to the columns that were cut, the leftmost first.
fn widen(mut widths: Vec<usize>, wanted: &[usize], width: usize) -> Vec<usize> {
    let mut left = width.saturating_sub(total(&widths));
    for (now, wanted) in widths.iter_mut().zip(wanted) {
        let more = wanted.saturating_sub(*now).min(left);
        *now += more;
        left -= more;
    }
    widths
}

/// Pairs of a name and what it is, aligned.
pub fn facts(pairs: &[(&str, Text)]) -> Vec<Text> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .iter()
        .filter(|(_, fact)| !fact.is_empty())
        .map(|(name, fact)| {
            Text::new()
                .plain("  ")
                .then(Text::styled(Style::Dim, name).pad(width + GAP, false))
                .then(fact.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            Column::new("NAME").cut_to(6),
            Column::new("EMPTY"),
            Column::new("SIZE").right(),
            Column::new("WHERE").rank(1),
            Column::new("NOTE").rank(2),
        ]);
        for (name, size) in [("alpha-long-name", "1.00 kB"), ("b", "999 MB")] {
            table.row([
                name.into(),
                Text::new(),
                size.into(),
                "in the cellar".into(),
                "dusty".into(),
            ]);
        }
        table
    }

    fn shown(width: Option<usize>) -> String {
        table().lines(width).iter().map(|line| line.render(false) + "\n").collect()
    }

    #[test]
    fn a_table_keeps_to_its_width() {
        let mut all = shown(None);
        for width in [40, 30, 20] {
            all.push_str(&format!("{}\n{}", "-".repeat(width), shown(Some(width))));
        }
        insta::assert_snapshot!(all);
        for width in 0..60 {
            assert!(table().lines(Some(width)).iter().all(|line| line.width() <= width), "{width}");
        }
    }
}
