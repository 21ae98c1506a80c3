//! Tables of aligned columns for the terminal.

/// A column's heading and alignment.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Column {
    const fn heading(self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }
}

/// Rows under headings. Cells must be single lines of escaped text.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

const GAP: &str = "  ";

/// The columns that a last column of text needs at least.
const MIN_LAST_WIDTH: usize = 16;

impl Table {
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Missing cells are empty; surplus cells are ignored.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table for a terminal of this width: where its columns have no room beside each other, each row is a block of lines, a
    /// value beside its heading. The last column may be cut by the edge of the terminal, for text wraps there.
    pub fn render_within(&self, width: Option<usize>) -> String {
        let aligned = self.render();
        let Some(width) = width else {
            return aligned;
        };
        let last = match self.columns.last() {
            Some(Column::Left(_)) => self.width_of(self.columns.len() - 1),
            _ => 0,
        };
        let widest = aligned.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        match widest.saturating_sub(last.saturating_sub(MIN_LAST_WIDTH)) <= width {
            true => aligned,
            false => self.blocks(),
        }
    }

    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let cells = cells.map(|cell| cell.chars().count());
        cells
            .chain(self.columns.get(column).map(|column| column.heading().len()))
            .max()
            .unwrap_or(0)
    }

    fn blocks(&self) -> String {
        let label = self
            .columns
            .iter()
            .map(|column| column.heading().len())
            .max()
            .unwrap_or(0);
        let block = |row: &Vec<String>| -> String {
            let cells = self.columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            cells
                .map(|(column, cell)| format!("{:<label$}{GAP}{cell}\n", column.heading()))
                .collect()
        };
        self.rows.iter().map(block).collect::<Vec<_>>().join("\n")
    }

    /// The table. Each line ends with a newline and has no trailing spaces.
    pub fn render(&self) -> String {
        let cell = |row: &[String], index: usize| row.get(index).cloned().unwrap_or_default();
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading().to_owned()).collect();
        let lines: Vec<&[String]> = std::iter::once(headings.as_slice())
            .chain(self.rows.iter().map(Vec::as_slice))
            .collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|index| {
                lines
                    .iter()
                    .map(|row| cell(row, index).chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();

        let mut out = String::new();
        for row in lines {
            let cells: Vec<String> = self
                .columns
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(index, (column, &width))| match column {
                    Column::Left(_) => format!("{:<width$}", cell(row, index)),
                    Column::Right(_) => format!("{:>width$}", cell(row, index)),
                })
                .collect();
            out.push_str(cells.join(GAP).trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([Column::Left("tool"), Column::Right("calls"), Column::Left("note")]);
        table.row(["calculate".into(), "1".into(), String::new()]);
        table.row(["wetter_für_köln".into(), "1,000".into(), "ok".into()]);
        assert_eq!(
            table.render(),
            "tool             calls  note\n\
             calculate            1\n\
             wetter_für_köln  1,000  ok\n"
        );
    }

    #[test]
    fn a_narrow_terminal_has_a_block_for_each_row() {
        let mut table = Table::new([Column::Left("tool"), Column::Right("calls"), Column::Left("note")]);
        table.row(["calculate".into(), "1".into(), "a note that may wrap".into()]);
        table.row(["get_weather".into(), "1,000".into(), String::new()]);
        for (width, is_aligned) in [(None, true), (Some(80), true), (Some(36), true), (Some(35), false)] {
            let aligned = table.render_within(width) == table.render();
            assert_eq!(aligned, is_aligned, "{width:?}");
        }
        assert_eq!(
            table.render_within(Some(35)),
            "tool   calculate\n\
             calls  1\n\
             note   a note that may wrap\n\
             \n\
             tool   get_weather\n\
             calls  1,000\n"
        );
    }

    #[test]
    fn a_short_row_is_filled() {
        let mut table = Table::new([Column::Left("a"), Column::Right("b")]);
        table.row(["x".into()]);
        assert_eq!(table.render(), "a  b\nx\n");
    }
}
