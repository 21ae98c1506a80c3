//! A table: aligned where the page is wide enough, else a record per row.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::inline::{Span, parse, wrap};
use super::{DIM, HEADING, Page};
use crate::cli::format::escape;

const GAP: usize = 2;

type Cell = Vec<Span>;

/// The first row is the heading.
pub fn render(block: &str, page: Page, out: &mut String) {
    let Some(rows) = rows(block, page) else {
        // It only looks like one.
        out.push_str(&escape(block));
        return;
    };
    let columns = rows.first().map_or(0, Vec::len);
    let width = |cell: &Cell| cell.iter().map(|span| span.text.width()).sum::<usize>();
    let widths: Vec<usize> = (0..columns)
        .map(|index| {
            rows.iter()
                .filter_map(|row| row.get(index))
                .map(width)
                .max()
                .unwrap_or(0)
        })
        .collect();
    let total = widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1);
    // Records would show no heading without rows.
    match total <= page.width || rows.len() == 1 {
        true => aligned(&rows, &widths, total, page, out),
        false => records(&rows, page, out),
    }
}

/// Rows of the same length, or nothing if the block isn't a table, or if a cell has no column.
fn rows(block: &str, page: Page) -> Option<Vec<Vec<Cell>>> {
    let mut lines = block.lines();
    let head = lines.next()?;
    let delimiters = cells(lines.next()?, Bars::EndCells);
    let columns = delimiters.len();
    if !delimiters.iter().all(|cell| is_delimiter(cell)) {
        return None;
    }
    let head = cells_of(head, columns).filter(|head| head.len() == columns)?;
    let row = |mut cells: Vec<String>| -> Vec<Cell> {
        cells.resize(columns, String::new());
        cells.iter().map(|cell| parse(cell.trim(), page)).collect()
    };
    let rows = lines.map(|line| cells_of(line, columns));
    std::iter::once(Some(head))
        .chain(rows)
        .map(|cells| cells.map(row))
        .collect()
}

/// The cells of a row, unless they are more than the columns. A bar ends a cell even in code; but models forget the backslash there.
fn cells_of(line: &str, columns: usize) -> Option<Vec<String>> {
    let mut ways = [Bars::EndCells, Bars::AreTextInCode].into_iter();
    ways.find_map(|bars| Some(cells(line, bars)).filter(|cells| cells.len() <= columns))
}

/// What bars mean that have no backslash before them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bars {
    EndCells,
    AreTextInCode,
}

fn cells(line: &str, bars: Bars) -> Vec<String> {
    let line = line.trim();
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut rest = line.strip_prefix('|').unwrap_or(line);
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match (c, rest[taken..].chars().next()) {
            ('|', _) => cells.push(std::mem::take(&mut cell)),
            ('\\', Some(next)) => {
                taken += next.len_utf8();
                cell.push_str(if next == '|' { "|" } else { &rest[..taken] });
            }
            ('`', _) if bars == Bars::AreTextInCode => {
                taken = code(rest);
                cell.push_str(&rest[..taken].replace("\\|", "|"));
            }
            (c, _) => cell.push(c),
        }
        rest = &rest[taken..];
    }
    if !cell.is_empty() || cells.is_empty() {
        cells.push(cell);
    }
    cells
}

/// The length of the code with its marks that a text begins with, or that of the marks if the code doesn't end.
fn code(text: &str) -> usize {
    let run = |text: &str| text.len() - text.trim_start_matches('`').len();
    let marks = run(text);
    let mut end = marks;
    while let Some(found) = text[end..].find('`') {
        let start = end + found;
        let length = run(&text[start..]);
        end = start + length;
        if length == marks {
            return end;
        }
    }
    marks
}

fn is_delimiter(cell: &str) -> bool {
    let cell = cell.trim();
    let cell = cell.strip_prefix(':').unwrap_or(cell);
    let dashes = cell.strip_suffix(':').unwrap_or(cell);
    !dashes.is_empty() && dashes.bytes().all(|byte| byte == b'-')
}

fn aligned(rows: &[Vec<Cell>], widths: &[usize], total: usize, page: Page, out: &mut String) {
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let used: usize = cell.iter().map(|span| span.text.width()).sum();
            for span in cell {
                let style = match number {
                    0 => span.style | HEADING.get_effects(),
                    _ => span.style,
                };
                line.push_str(&page.styled(&span.text.replace('\n', " "), style));
            }
            line.push_str(&" ".repeat(width - used.min(*width) + GAP));
        }
        let _ = writeln!(out, "{}", line.trim_end());
        if number == 0 {
            let _ = writeln!(out, "{}", page.styled(&"─".repeat(total), DIM));
        }
    }
}

/// A line for each cell, after its column's name.
fn records(rows: &[Vec<Cell>], page: Page, out: &mut String) {
    let Some((head, rows)) = rows.split_first() else {
        return;
    };
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        for (name, cell) in head.iter().zip(row) {
            let bold = |span: &Span| Span {
                text: span.text.clone(),
                style: span.style | HEADING.get_effects(),
            };
            let mut spans: Vec<Span> = name.iter().map(bold).collect();
            spans.push(Span::plain(": ".to_owned()));
            spans.extend(cell.iter().cloned());
            wrap(&spans, "", "  ", page, out);
        }
    }
}
