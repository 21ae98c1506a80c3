//! What is shown of a line that is taller than the window: as many rows as the window has, with the cursor's.
//!
//! The cursor can't move above the window. The line editor prints the whole line, and then moves the cursor up by as many rows as it
//! stands above the line's end. If these were more than the window has, the cursor would stay in the window's first row, among words that
//! it isn't at. And each key would print the rows above the window once more, into what the terminal keeps of earlier output.

use std::ops::Range;

use rustix::termios::tcgetwinsize;
use rustyline::GraphemeClusterMode;
use unicode_segmentation::UnicodeSegmentation;

const TAB_STOP: u16 = 8;

/// The width of a terminal that doesn't say how wide it is.
const COLUMNS: u16 = 80;

#[derive(Clone, Copy, Debug)]
pub struct Window {
    rows: u16,
    columns: u16,
    widths: GraphemeClusterMode,
}

/// Where something stands on the screen, counted from the row in which a line begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub row: usize,
    pub column: u16,
}

impl Position {
    /// In the next row.
    const fn below(self, column: u16) -> Self {
        Self {
            row: self.row + 1,
            column,
        }
    }
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

    /// The same. A terminal that doesn't say its width has 80 columns, and one without a useful height is as tall as any text.
    pub fn now_or_any() -> Self {
        let size = tcgetwinsize(std::io::stdin()).ok();
        let more_than_one = |size: u16| (size > 1).then_some(size);
        Self {
            rows: size.and_then(|size| more_than_one(size.ws_row)).unwrap_or(u16::MAX),
            columns: size.and_then(|size| more_than_one(size.ws_col)).unwrap_or(COLUMNS),
            widths: GraphemeClusterMode::from_env(),
        }
    }

    pub const fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Where a text ends that begins at the left edge.
    pub fn end(&self, text: &str) -> Position {
        self.walk(text, Position::default(), |_, _| {})
    }

    /// The part of the line that is to be printed so that it fills the window and the cursor stands where it belongs. The line begins in
    /// this column. `None`: all of it has room. The part begins behind the cursor's byte if that is at the end of a full row and a line
    /// break follows: the cursor is shown at the beginning of the next row.
    pub fn part(&self, column: usize, line: &str, position: usize) -> Option<Range<usize>> {
        let before = line.get(..position)?;
        let rows = usize::from(self.rows);
        // A byte takes a tab's columns at most. Nearly every line ends here.
        let most = line.matches('\n').count() + line.len() * usize::from(TAB_STOP) / usize::from(self.columns) + 2;
        if most <= rows {
            return None;
        }
        let start = Position {
            row: 0,
            column: u16::try_from(column).unwrap_or_default(),
        };
        // Where each row begins, and where the one before it ends.
        let (mut begins, mut ends) = (vec![0], Vec::new());
        let end = self.walk(line, start, |end, next| {
            ends.push(end);
            begins.push(next);
        });
        if end.row < rows {
            return None;
        }
        // After a full row, this is the beginning of the next one, even if a line break follows.
        let cursor = self.walk(before, start, |_, _| {});
        if end.row - cursor.row < rows {
            // The last rows. At the end of one that is full, the editor begins another one itself.
            return Some(*begins.get(end.row + 1 - rows)?..line.len());
        }
        // The cursor's row comes first, because the editor moves the cursor up as far as that goes.
        let begun = usize::from(end.column == 0 && !line.ends_with('\n'));
        Some(*begins.get(cursor.row)?..*ends.get(cursor.row + rows - 1 - begun)?)
    }

    /// Where a text ends that begins there. `row_ends` gets the offsets at which each row before that ends, and the next one begins.
    fn walk(&self, text: &str, from: Position, mut row_ends: impl FnMut(usize, usize)) -> Position {
        let mut at = from;
        for (offset, cluster) in text.grapheme_indices(true) {
            if cluster == "\n" {
                row_ends(offset, offset + 1);
                at = at.below(0);
                continue;
            }
            let width = match cluster {
                "\t" => TAB_STOP - at.column % TAB_STOP,
                _ => self.widths.width(cluster),
            };
            at.column += width;
            if at.column > self.columns {
                row_ends(offset, offset);
                at = at.below(width);
            }
        }
        if at.column == self.columns {
            at = at.below(0);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Window = Window {
        rows: 3,
        columns: 10,
        widths: GraphemeClusterMode::WcWidth,
    };

    #[test]
    fn as_many_rows_are_printed_as_the_window_has() {
        for (line, position, shown) in [
            ("1\n2\n3", 0, None),
            ("1\n2\n3\n4", 0, Some("1\n2\n3")),
            // The last three rows.
            ("1\n2\n3\n4", 2, Some("2\n3\n4")),
            ("1\n2\n3\n4\n5", 2, Some("2\n3\n4")),
            ("1\n2\n3\n4\n5", 4, Some("3\n4\n5")),
            ("1\n2\n3\n4\n5", 9, Some("3\n4\n5")),
            ("1\n2\n3\n", 6, Some("2\n3\n")),
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
            ("12345678abcdefghij0123456789end", 8, Some("abcdefghij0123456789end")),
            ("12345678abcdefghij0123456789end", 31, Some("abcdefghij0123456789end")),
            // The editor begins the row after the last full one itself, which moves the rest up.
            ("1\n2\n3\n0123456789", 0, Some("1\n2")),
            ("1\n2\n3\n0123456789", 5, Some("3\n0123456789")),
            // A wide character has no room in the last column.
            ("1234567字\n2\n3\n4", 0, Some("1234567字\n2")),
            ("\t\t2\n3\n4", 0, Some("\t\t2\n3")),
            ("é\n\n\n\n", 2, Some("é\n\n")),
        ] {
            let part = WINDOW.part(2, line, position);
            assert_eq!(part.map(|part| &line[part]), shown, "{line:?} at {position}");
        }
        assert_eq!(WINDOW.part(2, "é\n\n\n\n", 1), None, "within a character");
    }

    proptest! {
        /// A row that is exactly full, a line break after it and a narrow window come up often with so few letters.
        #[test]
        fn any_part_has_room_and_shows_the_cursor(line in "[a字\\n]{0,50}", rows in 2_u16..5, columns in 2_u16..6) {
            let window = Window { rows, columns, ..WINDOW };
            let rows = usize::from(rows);
            for (position, _) in line.char_indices().chain([(line.len(), 'a')]) {
                let Some(part) = window.part(0, &line, position) else {
                    prop_assert!(window.end(&line).row < rows);
                    continue;
                };
                prop_assert!(part.start <= position + 1 && position <= part.end, "{part:?} at {position}");
                let shown = &line[part.clone()];
                let is_full = part.end < line.len() && window.end(shown).column == 0 && !shown.ends_with('\n');
                prop_assert!(window.end(shown).row < rows + usize::from(is_full), "{shown:?}");
                let cursor = line.get(part.start..position).map_or(0, |before| window.end(before).row);
                prop_assert!(cursor < rows, "{cursor}");
            }
        }
    }

    #[test]
    fn a_text_ends_where_its_last_letter_is_shown() {
        for (text, row, column) in [
            ("", 0, 0),
            ("abc", 0, 3),
            ("0123456789", 1, 0),
            ("0123456789a", 1, 1),
            ("ab\nc", 1, 1),
            ("字字字字字", 1, 0),
            ("012345678字", 1, 2),
            ("\ta", 0, 9),
        ] {
            assert_eq!(WINDOW.end(text), Position { row, column }, "{text:?}");
        }
    }
}
