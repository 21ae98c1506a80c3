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
    let mut lines = block.lines().map(cells);
    let head = lines.next()?;
    let columns = head.len();
    let delimiters = lines.next()?;
    if delimiters.len() != columns || !delimiters.iter().all(|cell| is_delimiter(cell)) {
        return None;
    }
    let row = |mut cells: Vec<String>| {
        let has_columns = cells.len() <= columns;
        cells.resize(columns, String::new());
        has_columns.then(|| cells.iter().map(|cell| parse(cell.trim(), page)).collect())
    };
    std::iter::once(head).chain(lines).map(row).collect()
}

/// A bar ends a cell unless a backslash stands before it, even in code.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim();
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut chars = line.strip_prefix('|').unwrap_or(line).chars();
    while let Some(c) = chars.next() {
        match c {
            '|' => cells.push(std::mem::take(&mut cell)),
            '\\' => match chars.next() {
                Some('|') => cell.push('|'),
                next => cell.extend(std::iter::once('\\').chain(next)),
            },
            c => cell.push(c),
        }
    }
    if !cell.is_empty() || cells.is_empty() {
        cells.push(cell);
    }
    cells
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
