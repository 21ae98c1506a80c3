//! What is inside a block: bold text, code, links. And how it is wrapped.

use std::ops::Range;

use anstyle::{Effects, Style};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, TextMergeWithOffset};
use unicode_width::UnicodeWidthStr;

use super::{CODE, PLAIN, Page};
use crate::cli::format::escape;

/// Escaped text of one style. A line break is `\n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub text: String,
    pub style: Style,
}

impl Span {
    pub const fn plain(text: String) -> Self {
        Self { text, style: PLAIN }
    }
}

/// What stands for a line break in the text that the parser gets.
const LINE_SEPARATOR: char = '\u{2028}';

/// The text of a block that has no marks of its own any more. Marks that the page can't show as a style stay.
pub fn parse(text: &str, page: Page) -> Vec<Span> {
    let title = as_title(text);
    let mut spans = Spans {
        source: &title,
        keeps_marks: !page.styled,
        done: Vec::new(),
        effects: Vec::new(),
        links: Vec::new(),
    };
    let parser = Parser::new_ext(&title, Options::ENABLE_STRIKETHROUGH);
    for (event, range) in TextMergeWithOffset::new(parser.into_offset_iter()) {
        spans.take(event, range);
    }
    // Whatever the parser takes away, text isn't.
    match spans.done.iter().all(|span| span.text.trim().is_empty()) {
        true => vec![Span::plain(escape(text).into_owned())],
        false => spans.done,
    }
}

/// The text as the title of a heading: there, the parser finds no lists, quotes, or definitions, whose marks it would take away.
fn as_title(text: &str) -> String {
    let mut title = "# ".to_owned();
    let mut lines = text.split(['\n', '\r']).peekable();
    while let Some(line) = lines.next() {
        let content = line.trim_end_matches([' ', '\t']);
        title.push_str(content);
        if lines.peek().is_some() {
            let backslashes = content.len() - content.trim_end_matches('\\').len();
            let is_break = line.ends_with("  ") || backslashes % 2 == 1;
            title.push(if is_break { LINE_SEPARATOR } else { ' ' });
        }
    }
    // Marks at the end would close the heading.
    title.truncate(title.trim_end_matches([' ', '\t']).len().max(2));
    let start = title.trim_end_matches('#').len();
    if (2..title.len()).contains(&start) && title[..start].ends_with(char::is_whitespace) {
        title.insert(start, '\\');
    }
    title
}

/// Collects the text of events.
#[derive(Debug)]
struct Spans<'s> {
    source: &'s str,
    keeps_marks: bool,
    pub done: Vec<Span>,
    /// The styles that have begun, and the mark that ends each, if it is text.
    effects: Vec<(Effects, Option<&'s str>)>,
    /// Where the links that haven't ended lead to, with their titles, and where their text begins.
    links: Vec<(String, usize)>,
}

impl<'s> Spans<'s> {
    fn take(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(Tag::Strong) => self.begin(Effects::BOLD, 2, range),
            Event::Start(Tag::Emphasis) => self.begin(Effects::ITALIC, 1, range),
            Event::Start(Tag::Strikethrough) => {
                let is_double = self.source[range.clone()].starts_with("~~");
                self.begin(Effects::STRIKETHROUGH, if is_double { 2 } else { 1 }, range);
            }
            Event::Start(Tag::Link { dest_url, title, .. } | Tag::Image { dest_url, title, .. }) => {
                let title = match title.is_empty() {
                    true => String::new(),
                    false => format!(" \"{title}\""),
                };
                let target = format!("{dest_url}{title}");
                self.links.push((escape(target.trim()).into_owned(), self.done.len()));
                self.effects.push((Effects::UNDERLINE, None));
            }
            Event::End(TagEnd::Strong | TagEnd::Emphasis | TagEnd::Strikethrough) => {
                if let Some((_, Some(mark))) = self.effects.pop() {
                    self.add(mark, self.style());
                }
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                self.effects.pop();
                self.end_link();
            }
            Event::Text(text) => {
                let style = self.style();
                let text = text.replace("\\\u{2028}", "\n").replace(LINE_SEPARATOR, "\n");
                self.add(&text, style);
            }
            Event::InlineHtml(text) => {
                let style = self.style();
                self.add(&text.replace(LINE_SEPARATOR, " "), style);
            }
            Event::Code(text) => {
                let style = CODE | self.style().get_effects();
                self.add(&text.replace(LINE_SEPARATOR, " "), style);
            }
            _ => {}
        }
    }

    /// Begins a style, or shows its marks.
    fn begin(&mut self, effects: Effects, marks: usize, range: Range<usize>) {
        let text = &self.source[range.clone()];
        let (first, last) = (text.get(..marks), text.get(text.len().saturating_sub(marks)..));
        match self.keeps_marks || self.is_text(text, marks, range) {
            true => {
                self.add(first.unwrap_or_default(), self.style());
                self.effects.push((Effects::new(), last));
            }
            false => self.effects.push((effects, None)),
        }
    }

    /// Whether the marks are rather a part of what is written: of a formula such as `2*3*4`, or of a name such as `__init__`.
    fn is_text(&self, text: &str, marks: usize, range: Range<usize>) -> bool {
        // Scripts without blanks between words have marks beside letters.
        let is_letter = |c: char| c.is_ascii_alphanumeric();
        let is_inside_word =
            self.source[..range.start].ends_with(is_letter) || self.source[range.end..].starts_with(is_letter);
        let content = text.get(marks..text.len().saturating_sub(marks)).unwrap_or_default();
        let is_name = text.starts_with("__") && !content.contains(char::is_whitespace);
        is_inside_word || is_name
    }

    fn style(&self) -> Style {
        self.effects.iter().fold(PLAIN, |style, (effects, _)| style | *effects)
    }

    fn add(&mut self, text: &str, style: Style) {
        self.done.push(Span {
            text: escape(text).into_owned(),
            style,
        });
    }

    /// A link's address is always shown, because its text may name another one.
    fn end_link(&mut self) {
        let Some((address, start)) = self.links.pop() else {
            return;
        };
        let text: String = self.done.iter().skip(start).map(|span| span.text.as_str()).collect();
        if text != address && !address.is_empty() && format!("mailto:{text}") != address {
            self.done.push(Span::plain(format!(" ({address})")));
        }
    }
}

/// Appends the text to `out`, in lines of the page's width. A word that is longer has a line of its own, which the terminal wraps.
pub fn wrap(spans: &[Span], first_prefix: &str, prefix: &str, page: Page, out: &mut String) {
    let mut line = Line::new(first_prefix);
    let mut lines = Vec::new();
    for word in words(spans) {
        match word {
            Word::Break => lines.push(std::mem::replace(&mut line, Line::new(prefix))),
            Word::Text(pieces) => {
                let width: usize = pieces.iter().map(|(text, _)| text.width()).sum();
                let gap = usize::from(!line.pieces.is_empty());
                if gap > 0 && line.width + gap + width > page.width {
                    lines.push(std::mem::replace(&mut line, Line::new(prefix)));
                }
                line.add(pieces, width);
            }
        }
    }
    lines.push(line);
    // A paragraph ends with a break.
    while lines.len() > 1 && lines.last().is_some_and(|line| line.pieces.is_empty()) {
        lines.pop();
    }
    for line in lines {
        line.render(page, out);
    }
}

enum Word<'a> {
    Text(Vec<(&'a str, Style)>),
    Break,
}

/// Words can consist of several styles.
fn words(spans: &[Span]) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut word: Vec<(&str, Style)> = Vec::new();
    for span in spans {
        let mut rest = span.text.as_str();
        while let Some(end) = rest.find([' ', '\t', '\n']) {
            if end > 0 {
                word.push((&rest[..end], span.style));
            }
            if !word.is_empty() {
                words.push(Word::Text(std::mem::take(&mut word)));
            }
            if rest[end..].starts_with('\n') {
                words.push(Word::Break);
            }
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            word.push((rest, span.style));
        }
    }
    if !word.is_empty() {
        words.push(Word::Text(word));
    }
    words
}

/// A line that is being filled.
struct Line {
    prefix: String,
    pieces: Vec<(String, Style)>,
    width: usize,
}

impl Line {
    fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            pieces: Vec::new(),
            width: prefix.width(),
        }
    }

    fn add(&mut self, word: Vec<(&str, Style)>, width: usize) {
        if let Some((text, style)) = self.pieces.last_mut() {
            self.width += 1;
            // A blank within bold text is bold.
            match word.first() {
                Some((_, next)) if next == style => text.push(' '),
                _ => self.pieces.push((" ".to_owned(), PLAIN)),
            }
        }
        self.width += width;
        for (text, style) in word {
            match self.pieces.last_mut() {
                Some((last, last_style)) if *last_style == style => last.push_str(text),
                _ => self.pieces.push((text.to_owned(), style)),
            }
        }
    }

    fn render(&self, page: Page, out: &mut String) {
        match self.pieces.is_empty() {
            true => out.push_str(self.prefix.trim_end()),
            false => out.push_str(&self.prefix),
        }
        for (text, style) in &self.pieces {
            // Without colours, the marks of code are what shows it.
            match page.styled {
                false if style.get_fg_color() == CODE.get_fg_color() => {
                    out.push('`');
                    out.push_str(text);
                    out.push('`');
                }
                _ => out.push_str(&page.styled(text, *style)),
            }
        }
        out.push('\n');
    }
}
