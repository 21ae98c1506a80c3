//! A table: aligned where the page is wide enough, else a record per row.

use std::fmt::Write as _;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use unicode_width::UnicodeWidthStr;

use super::inline::{Span, Spans, wrap};
use super::{DIM, HEADING, Page};
use crate::cli::format::escape;

const GAP: usize = 2;

type Cell = Vec<Span>;

/// The first row is the heading.
pub fn render(block: &str, page: Page, out: &mut String) {
    let rows = rows(block);
    let Some(columns) = rows.iter().map(Vec::len).max() else {
        // It only looks like one.
        out.push_str(&escape(block));
        return;
    };
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
    match total <= page.width {
        true => aligned(&rows, &widths, total, page, out),
        false => records(&rows, page, out),
    }
}

fn rows(block: &str) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    let mut cell = Spans::default();
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    for event in Parser::new_ext(block, options) {
        match event {
            Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(Vec::new()),
            Event::Start(Tag::TableCell) => cell = Spans::default(),
            Event::End(TagEnd::TableCell) => {
                if let Some(row) = rows.last_mut() {
                    row.push(std::mem::take(&mut cell).done);
                }
            }
            event => cell.take(event),
        }
    }
    rows
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
