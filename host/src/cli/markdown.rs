//! Markdown of a model on a terminal, printed as it arrives.
//!
//! A block is printed when it is complete: a paragraph, an item of a list, a table. Lines of code are printed as they end. Nothing
//! that was printed is changed afterwards, so this works on every terminal. A block that doesn't end is printed in pieces.
//!
//! The text is untrusted: whatever it contains, it is escaped after it was parsed.

mod inline;
mod table;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use self::inline::{Span, parse, wrap};
use super::format::escape;

/// The most bytes of text that wait for the end of their block.
const MAX_BLOCK_BYTES: usize = 16 * 1024;

/// How deep quotes within quotes are shown as such.
const MAX_QUOTE_DEPTH: usize = 4;

/// The deepest indentation of an item that is shown, in columns.
const MAX_INDENT: usize = 12;

/// The indentation from which on a line is code, unless it belongs to an item.
const CODE_INDENT: usize = 4;

const RULE_WIDTH: usize = 40;

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().dimmed();
const HEADING: Style = Style::new().bold();
const CODE: Style = AnsiColor::Cyan.on_default();

/// What the text is printed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// In columns.
    pub width: usize,
    /// Whether it shows colours and bold text.
    pub styled: bool,
}

impl Page {
    fn styled(self, text: &str, style: Style) -> String {
        match self.styled && style != PLAIN {
            true => format!("{style}{text}{style:#}"),
            false => text.to_owned(),
        }
    }

    fn narrower(self, columns: usize) -> Self {
        Self {
            width: self.width.saturating_sub(columns).max(1),
            ..self
        }
    }
}

/// The state between two pieces of text.
#[derive(Debug, Default)]
pub struct Markdown {
    /// The last line, which hasn't ended yet.
    line: String,
    /// The lines of the block that hasn't ended yet.
    block: String,
    fence: Option<Fence>,
    /// Whether indented lines belong to an item of a list.
    in_list: bool,
    has_begun: bool,
    has_gap: bool,
    depth: usize,
}

/// What begins and ends a block of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fence {
    mark: char,
    length: usize,
}

/// What a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blank,
    Fence(Fence),
    Heading,
    /// `===` or `---`: a heading if it stands below a paragraph.
    Underline,
    Rule,
    Item,
    Quote,
    Table,
    /// A line that must be shown as it is.
    Verbatim,
    Text,
}

impl Markdown {
    /// The end of what waits for the end of its block.
    pub fn pending(&self) -> &str {
        match self.line.trim().is_empty() {
            true => &self.block,
            false => &self.line,
        }
    }

    /// Takes more text, and returns what can be printed now: whole lines.
    pub fn push(&mut self, text: &str, page: Page) -> String {
        let mut out = String::new();
        for piece in text.split_inclusive('\n') {
            self.line.push_str(piece);
            if piece.ends_with('\n') {
                self.end_line(page, &mut out);
            } else if self.line.len() > MAX_BLOCK_BYTES {
                let cut = self.line.rfind(' ').filter(|_| self.fence.is_none());
                let rest = cut.map(|blank| self.line.split_off(blank + 1)).unwrap_or_default();
                self.end_line(page, &mut out);
                self.line = rest;
            }
        }
        out
    }

    /// The rest of the text, at its end.
    pub fn finish(&mut self, page: Page) -> String {
        let mut out = String::new();
        self.end_line(page, &mut out);
        self.flush(page, &mut out);
        *self = Self {
            depth: self.depth,
            ..Self::default()
        };
        out
    }

    fn end_line(&mut self, page: Page, out: &mut String) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some(fence) = self.fence {
            let is_end = fence.is_ended_by(line);
            let style = if is_end { DIM } else { CODE };
            let _ = writeln!(out, "{}", page.styled(&escape(line), style));
            if is_end {
                self.fence = None;
            }
            return;
        }
        self.take_line(line, page, out);
        if self.block.len() > MAX_BLOCK_BYTES {
            self.flush(page, out);
        }
    }

    fn take_line(&mut self, line: &str, page: Page, out: &mut String) {
        let kind = kind(line);
        let open = self.block.lines().next().map(self::kind);
        let indent = indent_of(line);
        let continues = kind == Kind::Text && matches!(open, Some(Kind::Text | Kind::Item | Kind::Quote));
        if kind != Kind::Blank && !continues {
            self.in_list &= indent > 0;
            if indent >= CODE_INDENT && open.is_none() && !self.in_list {
                self.begin(out);
                let _ = writeln!(out, "{}", page.styled(&escape(line), CODE));
                return;
            }
        }
        match (kind, open) {
            (Kind::Blank, _) => {
                self.flush(page, out);
                self.has_gap = true;
            }
            (Kind::Fence(fence), _) => {
                self.flush(page, out);
                self.open_fence(fence, "", line, page, out);
            }
            (Kind::Underline, Some(Kind::Text)) => {
                self.add(line);
                self.flush(page, out);
            }
            (Kind::Rule | Kind::Underline | Kind::Heading | Kind::Verbatim, _) => {
                self.in_list = false;
                self.flush(page, out);
                self.add(line);
                self.flush(page, out);
            }
            (Kind::Item, _) => {
                self.flush(page, out);
                self.in_list = true;
                let (prefix, rest) = split_item(line);
                match self::kind(rest) {
                    Kind::Fence(fence) => self.open_fence(fence, &prefix, rest, page, out),
                    _ => self.add(line),
                }
            }
            (Kind::Quote, Some(Kind::Quote)) | (Kind::Table, Some(Kind::Table)) => self.add(line),
            (Kind::Quote | Kind::Table, _) | (Kind::Text, Some(Kind::Table)) => {
                self.flush(page, out);
                self.add(line);
            }
            (Kind::Text, _) => self.add(line),
        }
    }

    fn open_fence(&mut self, fence: Fence, prefix: &str, line: &str, page: Page, out: &mut String) {
        self.begin(out);
        let _ = writeln!(out, "{prefix}{}", page.styled(&escape(line), DIM));
        self.fence = Some(fence);
    }

    fn add(&mut self, line: &str) {
        self.block.push_str(line);
        self.block.push('\n');
    }

    /// Separates a block from the one before, if the text does.
    fn begin(&mut self, out: &mut String) {
        if std::mem::take(&mut self.has_gap) && self.has_begun {
            out.push('\n');
        }
        self.has_begun = true;
    }

    fn flush(&mut self, page: Page, out: &mut String) {
        let block = std::mem::take(&mut self.block);
        let Some(first) = block.lines().next() else {
            return;
        };
        self.begin(out);
        match kind(first) {
            Kind::Rule | Kind::Underline => {
                let rule = "─".repeat(RULE_WIDTH.min(page.width));
                let _ = writeln!(out, "{}", page.styled(&rule, DIM));
            }
            Kind::Heading => heading(first, "", page, out),
            Kind::Item => item(&block, page, out),
            Kind::Quote => self.quote(&block, page, out),
            Kind::Table => table::render(&block, page, out),
            Kind::Verbatim => out.push_str(&escape(&block)),
            Kind::Blank | Kind::Fence(_) | Kind::Text => paragraph(&block, page, out),
        }
    }

    fn quote(&self, block: &str, page: Page, out: &mut String) {
        let without_mark = |line: &str| {
            let line = line.trim_start();
            let line = line.strip_prefix('>').unwrap_or(line);
            line.strip_prefix(' ').unwrap_or(line).to_owned()
        };
        let inner: Vec<String> = block.lines().map(without_mark).collect();
        let inner = inner.join("\n");
        let mut nested = Self {
            depth: self.depth + 1,
            ..Self::default()
        };
        let text = match nested.depth > MAX_QUOTE_DEPTH {
            true => format!("{}\n", escape(&inner)),
            false => {
                let page = page.narrower(2);
                nested.push(&inner, page) + &nested.finish(page)
            }
        };
        let bar = page.styled("│", DIM);
        for line in text.lines() {
            let _ = writeln!(out, "{}", format!("{bar} {line}").trim_end());
        }
    }
}

impl Fence {
    fn is_ended_by(self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.length && line.chars().all(|c| c == self.mark)
    }
}

/// The columns that a line is indented by.
fn indent_of(line: &str) -> usize {
    let blanks = line.chars().take_while(|c| matches!(c, ' ' | '\t'));
    blanks.map(|c| if c == '\t' { 4 } else { 1 }).sum()
}

fn kind(line: &str) -> Kind {
    let text = line.trim();
    let Some(first) = text.chars().next() else {
        return Kind::Blank;
    };
    let run = text.chars().take_while(|c| *c == first).count();
    let is_run_of = |marks: &[char]| marks.contains(&first) && text.chars().all(|c| c == first || c == ' ');
    match first {
        '`' | '~' if run >= 3 && !(first == '`' && text[run..].contains('`')) => Kind::Fence(Fence {
            mark: first,
            length: run,
        }),
        '#' if run <= 6 && text[run..].chars().next().is_none_or(|c| c == ' ') => Kind::Heading,
        '=' if run == text.len() => Kind::Underline,
        '-' if run == text.len() && run >= 3 => Kind::Underline,
        '-' | '*' | '_' if is_run_of(&['-', '*', '_']) && text.matches(first).count() >= 3 => Kind::Rule,
        '>' => Kind::Quote,
        '|' => Kind::Table,
        // Each definition stays on its own line.
        '[' if text.contains("]:") => Kind::Verbatim,
        _ if marker(text).is_some() => Kind::Item,
        _ => Kind::Text,
    }
}

/// The marker of an item, and what follows it.
fn marker(text: &str) -> Option<(&str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let length = match text.as_bytes().get(digits)? {
        b'-' | b'*' | b'+' if digits == 0 => 1,
        b'.' | b')' if (1..=9).contains(&digits) => digits + 1,
        _ => return None,
    };
    let rest = &text[length..];
    (rest.is_empty() || rest.starts_with([' ', '\t'])).then(|| (&text[..length], rest.trim_start()))
}

fn heading(line: &str, prefix: &str, page: Page, out: &mut String) {
    let text = line.trim();
    let marks = text.len() - text.trim_start_matches('#').len();
    let title = text[marks..].trim();
    // Marks at the end close the heading.
    let title = match title.trim_end_matches('#') {
        closed if closed.is_empty() || closed.ends_with([' ', '\t']) => closed,
        _ => title,
    };
    let mut spans = bold(parse(title, page));
    if !page.styled {
        spans.insert(0, Span::plain(format!("{} ", &text[..marks])));
    }
    wrap(&spans, prefix, &hanging(prefix), page, out);
}

fn bold(mut spans: Vec<Span>) -> Vec<Span> {
    for span in &mut spans {
        span.style |= HEADING.get_effects();
    }
    spans
}

/// The markers of an item as they are shown, and what follows them.
fn split_item(line: &str) -> (String, &str) {
    let mut prefix = " ".repeat(indent_of(line).min(MAX_INDENT));
    let mut rest = line.trim_start();
    while let Some((marker, after)) = marker(rest) {
        match marker {
            "-" | "*" | "+" => prefix.push('•'),
            number => prefix.push_str(number),
        }
        prefix.push(' ');
        rest = after;
        if prefix.chars().count() > 2 * MAX_INDENT {
            break;
        }
    }
    (prefix, rest)
}

fn hanging(prefix: &str) -> String {
    " ".repeat(prefix.chars().count())
}

fn item(block: &str, page: Page, out: &mut String) {
    let (first, more) = block.split_once('\n').unwrap_or((block, ""));
    let (prefix, rest) = split_item(first);
    let hanging = hanging(&prefix);
    if kind(rest) != Kind::Heading {
        let text = unindented(&format!("{rest}\n{more}"));
        wrap(&parse(&text, page), &prefix, &hanging, page, out);
        return;
    }
    heading(rest, &prefix, page, out);
    if !more.is_empty() {
        wrap(&parse(&unindented(more), page), &hanging, &hanging, page, out);
    }
}

fn paragraph(block: &str, page: Page, out: &mut String) {
    let indent = " ".repeat(indent_of(block).min(MAX_INDENT));
    let text = unindented(block);
    let spans = match text.rsplit_once('\n') {
        Some((title, last)) if kind(last) == Kind::Underline => bold(parse(title, page)),
        _ => parse(&text, page),
    };
    wrap(&spans, &indent, &indent, page, out);
}

/// The lines of a block that has an indentation of its own.
fn unindented(text: &str) -> String {
    // Two blanks at the end of a line are a line break.
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
