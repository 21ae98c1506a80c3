//! What is shown of a line that is taller than the window.
//!
//! The editor prints the whole line, and then moves the cursor up by as many rows as it stands above the line's end. Where these are more
//! than the window has, the cursor stays in the window's first row, among words that it isn't at. So the line is printed up to the row for
//! which there is still room below the cursor, and that first row is the cursor's.

use rustix::termios::tcgetwinsize;
use rustyline::GraphemeClusterMode;
use unicode_segmentation::UnicodeSegmentation;

use super::PROMPT;

/// As the editor has it.
const TAB_STOP: u16 = 8;

#[derive(Clone, Copy, Debug)]
pub struct Window {
    rows: u16,
    columns: u16,
    widths: GraphemeClusterMode,
}

/// Where something stands on the screen, counted from the beginning of the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    row: usize,
    column: u16,
}

impl Window {
    /// The terminal's window; `None` if it doesn't say how large it is.
    pub fn now() -> Option<Self> {
        let size = tcgetwinsize(std::io::stdin()).ok()?;
        (size.ws_row > 1 && size.ws_col > 1).then(|| Self {
            rows: size.ws_row,
            columns: size.ws_col,
            widths: GraphemeClusterMode::from_env(),
        })
    }

    /// The beginning of the line that is to be printed so that the cursor stands where it belongs. `None`: all of it.
    pub fn beginning<'l>(&self, line: &'l str, position: usize) -> Option<&'l str> {
        let (before, after) = line.split_at_checked(position)?;
        let rows = usize::from(self.rows);
        // A byte takes a tab's columns at most. Nearly every line ends here.
        let most = line.matches('\n').count() + line.len() * usize::from(TAB_STOP) / usize::from(self.columns) + 2;
        if most <= rows {
            return None;
        }
        let start = Position {
            row: 0,
            column: u16::try_from(PROMPT.len()).unwrap_or_default(),
        };
        let cursor = self.walk(before, start, |_, _| {});
        // The offset at which each row ends.
        let mut ends = Vec::new();
        let end = self.walk(after, cursor, |row, offset| ends.push((row, offset)));
        if end.row - cursor.row < rows {
            return None;
        }
        // At the end of a row that is full, the editor begins another one itself.
        let begun = usize::from(end.column == 0 && !line.ends_with('\n'));
        let last = cursor.row + rows - 1 - begun;
        let (_, shown) = ends.into_iter().find(|(row, _)| *row == last)?;
        line.get(..position + shown)
    }

    /// Where a text ends that begins there. `row_ends` hears of each row that ends before that, with the offset of what follows it.
    fn walk(&self, text: &str, from: Position, mut row_ends: impl FnMut(usize, usize)) -> Position {
        let mut at = from;
        for (offset, cluster) in text.grapheme_indices(true) {
            if cluster == "\n" {
                row_ends(at.row, offset);
                at = Position {
                    row: at.row + 1,
                    column: 0,
                };
                continue;
            }
            let width = match cluster {
                "\t" => TAB_STOP - at.column % TAB_STOP,
                _ => self.widths.width(cluster),
            };
            at.column += width;
            if at.column > self.columns {
                row_ends(at.row, offset);
                at = Position {
                    row: at.row + 1,
                    column: width,
                };
            }
        }
        if at.column == self.columns {
            at = Position {
                row: at.row + 1,
                column: 0,
            };
        }
        at
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WINDOW: Window = Window {
        rows: 3,
        columns: 10,
        widths: GraphemeClusterMode::WcWidth,
    };

    #[test]
    fn a_line_is_printed_as_far_as_there_is_room_below_the_cursor() {
        for (line, position, shown) in [
            ("1\n2\n3", 0, None),
            ("1\n2\n3\n4", 0, Some("1\n2\n3")),
            // The last three rows are in the window anyway.
            ("1\n2\n3\n4", 2, None),
            ("1\n2\n3\n4\n5", 2, Some("1\n2\n3\n4")),
            ("1\n2\n3\n4\n5", 4, None),
            // The prompt takes two columns of the first row.
            (
                "12345678abcdefghij0123456789end",
                0,
                Some("12345678abcdefghij0123456789"),
            ),
            (
                "12345678abcdefghij0123456789end",
                7,
                Some("12345678abcdefghij0123456789"),
            ),
            ("12345678abcdefghij0123456789end", 8, None),
            // The editor begins the row after the last full one itself, which moves the rest up.
            ("1\n2\n3\n0123456789", 0, Some("1\n2")),
            // A wide character has no room in the last column.
            ("1234567字\n2\n3\n4", 0, Some("1234567字\n2")),
            ("\t\t2\n3\n4", 0, Some("\t\t2\n3")),
            ("é\n\n\n\n", 2, Some("é\n\n")),
        ] {
            assert_eq!(WINDOW.beginning(line, position), shown, "{line:?} at {position}");
        }
        assert_eq!(WINDOW.beginning("é\n\n\n\n", 1), None, "within a character");
    }
}
