//! Columns that line up.

use crate::style::{Styles, printable};

/// Which side of a column its cells stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// A cell, and whether it stands out.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
}

/// How a cell is coloured on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Dim,
    Good,
    Bad,
}

impl Cell {
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Cell { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::new(text, Tone::Plain)
    }
}

/// Rows under a heading. A column whose cells are all empty is left out.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Side)]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells.into_iter().map(|c| Cell { text: printable(&c.text), ..c }).collect());
    }

    /// The lines, each with its end.
    pub fn render(&self, styles: &Styles) -> String {
        let wide = |text: &str| text.chars().count();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, (name, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(i)).map(|c| wide(&c.text)).max().unwrap_or(0);
                if cells == 0 { 0 } else { cells.max(wide(name)) }
            })
            .collect();
        let mut out = String::new();
        let heading: Vec<Cell> = self.columns.iter().map(|(name, _)| Cell::new(*name, Tone::Dim)).collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = String::new();
            let mut pending = 0;
            for ((cell, width), (_, side)) in row.iter().zip(&widths).zip(&self.columns) {
                if *width == 0 {
                    continue;
                }
                let fill = width.saturating_sub(wide(&cell.text));
                let (before, after) = if *side == Side::Right { (fill, 0) } else { (0, fill) };
                if !cell.text.is_empty() {
                    line.extend(std::iter::repeat_n(' ', pending + before));
                    line.push_str(&styles.paint(cell.tone, &cell.text));
                    pending = after + 2;
                } else {
                    pending += width + 2;
                }
            }
            out.push_str(&line);
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_go() {
        let mut table =
            Table::new(&[("NAME", Side::Left), ("SIZE", Side::Right), ("NOTE", Side::Left), ("LAST", Side::Left)]);
        table.row(vec!["a".into(), "1 B".into(), "".into(), "".into()]);
        table.row(vec!["löng\n".into(), "1000 B".into(), "".into(), Cell::new("x", Tone::Bad)]);
        let text = table.render(&Styles::plain());
        assert_eq!(text, "NAME      SIZE  LAST\na          1 B\nlöng\\n  1000 B  x\n");
        assert!(table.render(&Styles::coloured()).contains("\u{1b}["));
    }
}
