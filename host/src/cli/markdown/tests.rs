#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr as _;

use super::*;

const PAGE: Page = Page {
    width: 60,
    styled: false,
};

fn render(text: &str, page: Page) -> String {
    let mut markdown = Markdown::default();
    markdown.push(text, page) + &markdown.finish(page)
}

/// Every kind of block.
const ANSWER: &str = "\
# Weather *today*

It is **sunny** in `Boston`, see [the report](https://example.com/report) or
<https://example.com>. 2 * 3 * 4 and snake_case_names stay.\u{20}\u{20}
A new line.

1. First
2. Second with a text that is far too long to stand on one line of the page
   - nested ~~not~~
- [ ] a task

> Quoted **words** that go on until the end of the line, and then further
> - with an item
---
```rust
let  answer = \"*42*\";

```
| city | sun |
|---|--:|
| Boston | **yes** |
| Köln | no |

[1]: https://example.com/definition
Done
====
";

#[test]
fn every_kind_of_block() {
    insta::assert_snapshot!(render(ANSWER, PAGE), @r#"
    # Weather *today*

    It is **sunny** in `Boston`, see the report
    (https://example.com/report) or https://example.com. 2 * 3 *
    4 and snake_case_names stay.
    A new line.

    1. First
    2. Second with a text that is far too long to stand on one
       line of the page
       • nested ~~not~~
    • [ ] a task

    │ Quoted **words** that go on until the end of the line, and
    │ then further
    │ • with an item
    ────────────────────────────────────────
    ```rust
    let  answer = "*42*";

    ```
    city    sun
    ───────────────
    Boston  **yes**
    Köln    no

    [1]: https://example.com/definition
    Done
    "#);
}

#[test]
fn a_narrow_page() {
    let page = Page { width: 24, ..PAGE };
    insta::assert_snapshot!(render(ANSWER, page), @r#"
    # Weather *today*

    It is **sunny** in
    `Boston`, see the report
    (https://example.com/report)
    or https://example.com.
    2 * 3 * 4 and
    snake_case_names stay.
    A new line.

    1. First
    2. Second with a text
       that is far too long
       to stand on one line
       of the page
       • nested ~~not~~
    • [ ] a task

    │ Quoted **words** that
    │ go on until the end of
    │ the line, and then
    │ further
    │ • with an item
    ────────────────────────
    ```rust
    let  answer = "*42*";

    ```
    city    sun
    ───────────────
    Boston  **yes**
    Köln    no

    [1]: https://example.com/definition
    Done
    "#);
}

#[test]
fn styles_are_those_of_the_terminal() {
    let page = Page { styled: true, ..PAGE };
    let text = "## A `b` c\n\n**bold words** and *i*[x](y)\n\n~~~\ncode\n~~~\n| a |\n|---|\n| b |\n";
    insta::assert_snapshot!(render(text, page).replace('\u{1b}', "^"), @"
    ^[1mA^[0m ^[1m^[36mb^[0m ^[1mc^[0m

    ^[1mbold words^[0m and ^[3mi^[0m^[4mx^[0m (y)

    ^[2m~~~^[0m
    ^[36mcode^[0m
    ^[2m~~~^[0m
    ^[1ma^[0m
    ^[2m─^[0m
    b
    ");
}

#[test]
fn a_block_is_printed_when_it_is_complete() {
    let mut markdown = Markdown::default();
    for (text, printed) in [
        ("A para", ""),
        ("graph\nof lines\n", ""),
        ("\n", "A paragraph of lines\n"),
        ("- one\n", ""),
        ("- two\n", "\n• one\n"),
        ("```\n", "• two\n```\n"),
        ("co", ""),
        ("de\n", "code\n"),
        ("more", ""),
    ] {
        assert_eq!(markdown.push(text, PAGE), printed, "{text:?}");
    }
    assert_eq!(markdown.finish(PAGE), "more\n");
    // Afterwards, nothing is left of it.
    assert_eq!(render("text", PAGE), markdown.push("text\n\n", PAGE));
}

#[test]
fn a_block_that_does_not_end_is_printed_in_pieces() {
    for text in [
        "word ",
        "word\n",
        "word",
        "> word\n",
        "| word\n",
        "```\nword",
        "- word ",
    ] {
        let mut markdown = Markdown::default();
        let mut printed = String::new();
        for _ in 0..MAX_BLOCK_BYTES {
            printed += &markdown.push(text, PAGE);
            assert!(markdown.line.len() + markdown.block.len() <= 2 * MAX_BLOCK_BYTES + text.len());
        }
        assert!(printed.len() > MAX_BLOCK_BYTES, "{text:?}");
        printed += &markdown.finish(PAGE);
        assert_eq!(printed.matches("word").count(), MAX_BLOCK_BYTES, "{text:?}");
    }
}

/// Of a formula, a name or a command, nothing may get lost. Where no style can be shown, its marks are.
#[test]
fn marks_that_are_no_style_stay() {
    let styled = Page { styled: true, ..PAGE };
    for text in [
        "2*3*4 = 24",
        "x**2 plus y**2",
        "a __init__ file",
        "snake_case_name",
        "5~3~2",
    ] {
        assert_eq!(render(text, styled), format!("{text}\n"));
        assert_eq!(render(text, PAGE), format!("{text}\n"));
    }
    for text in [
        "*i* **b** ***both*** ~~never~~ _i_ __two words__",
        "(**b**), *i*.",
        "这是**重点**内容",
    ] {
        assert_eq!(render(text, PAGE), format!("{text}\n"));
        assert!(
            !render(text, styled).contains(['*', '~', '_']),
            "{}",
            render(text, styled)
        );
    }
}

#[test]
fn what_the_parser_would_take_away_is_shown() {
    for text in [
        "[x]: https://example.com",
        "<!-- note -->",
        "<b>",
        "- ",
        "&amp;",
        "[^1]: a note",
        "1986. A great year",
    ] {
        let words = text.trim_end();
        let shown = render(text, PAGE);
        let expected = match words {
            "-" => "•\n".to_owned(),
            "&amp;" => "&\n".to_owned(),
            words => format!("{words}\n"),
        };
        assert_eq!(shown, expected);
    }
}

#[test]
fn indented_lines_are_code_unless_they_belong_to_an_item() {
    for (text, shown) in [
        ("    a  *b*\n", "    a  *b*\n"),
        ("- a\n\n    b  *c*\n", "• a\n\n    b *c*\n"),
        ("- a\n# d\n    b  *c*\n", "• a\n# d\n    b  *c*\n"),
        ("- a\n\nd\n\n    b  *c*\n", "• a\n\nd\n\n    b  *c*\n"),
        ("- a\n> d\n\n    b  *c*\n", "• a\n│ d\n\n    b  *c*\n"),
        ("- a\n\n    - b\n", "• a\n\n    • b\n"),
        ("a\n    - b\n", "a\n    • b\n"),
    ] {
        assert_eq!(render(text, PAGE), shown, "{text:?}");
    }
}

#[test]
fn indented_code_is_shown_whatever_it_begins_with() {
    for code in [
        "    # install it\n    > out\n",
        "    - name: x\n      run: y\n",
        "    1. one\n",
        "    ---\n    ===\n",
        "    ```\n    code\n    ```\n",
        "    | a |\n    |---|\n",
        "    [a]: b\n",
        "\t# tab\n",
    ] {
        let text = format!("Run:\n\n{code}\nDone *now*.\n");
        assert_eq!(render(&text, PAGE), text);
    }
}

#[test]
fn a_title_is_text_whatever_it_begins_with() {
    for (text, shown) in [
        ("## 1. Overview", "## 1. Overview\n"),
        ("## 3. Third > x", "## 3. Third > x\n"),
        ("### - dashed", "### - dashed\n"),
        ("# > quoted", "# > quoted\n"),
        ("# [a]: b", "# [a]: b\n"),
        ("# # twice", "# # twice\n"),
        ("## Closed ##", "## Closed\n"),
        ("## C# and *F#*", "## C# and *F#*\n"),
        ("1) Below\n---", "1) Below\n────────────────────────────────────────\n"),
        ("Below # the\n===", "Below # the\n"),
        // So is what follows the markers of an item.
        ("- > quoted", "• > quoted\n"),
        ("- ## 1. Title\n  more *text*", "• ## 1. Title\n  more *text*\n"),
        ("- a #", "• a #\n"),
        ("-\n  a", "• a\n"),
        ("a \\# ##", "a # ##\n"),
    ] {
        assert_eq!(render(text, PAGE), shown, "{text:?}");
    }
}

#[test]
fn markers_beyond_the_deepest_are_text() {
    let shown = render(&"12. ".repeat(20), PAGE);
    assert_eq!(shown.matches("12.").count(), 20, "{shown}");
}

#[test]
fn a_fence_can_stand_on_the_line_of_an_item() {
    for (text, shown) in [
        (
            "- ```bash\n  ls  -la\n  ```\n\nAfter the code, **bold** text",
            "• ```bash\n  ls  -la\n  ```\n\nAfter the code, **bold** text\n",
        ),
        (
            "1. - ~~~\n     *a*\n     ~~~\n   *b*",
            "1. • ~~~\n     *a*\n     ~~~\n   *b*\n",
        ),
        ("> - ```\n>   *a*\n>   ```\n> *b*", "│ • ```\n│   *a*\n│   ```\n│ *b*\n"),
    ] {
        assert_eq!(render(text, PAGE), shown, "{text:?}");
    }
}

#[test]
fn line_breaks_stay() {
    for (text, shown) in [
        ("a  \nb", "a\nb\n"),
        ("a\\\nb", "a\nb\n"),
        ("a\\\\\nb", "a\\ b\n"),
        ("**a  \nb**\nc", "**a\nb** c\n"),
        ("`a \\\nb`", "`a \\ b`\n"),
        ("a\rb", "a b\n"),
    ] {
        assert_eq!(render(text, PAGE), shown, "{text:?}");
    }
}

#[test]
fn a_definition_is_text() {
    for (text, shown) in [
        (
            "- [foo]: http://gone.example\n  more words",
            "• [foo]: http://gone.example more words\n",
        ),
        (
            "[a\nb]: http://lost.example\nkept words",
            "[a b]: http://lost.example kept words\n",
        ),
        ("a\r[b]: http://lost.example\rc", "a [b]: http://lost.example c\n"),
        ("> [a\n> b]: c", "│ [a b]: c\n"),
    ] {
        assert_eq!(render(text, PAGE), shown, "{text:?}");
    }
}

#[test]
fn no_cell_of_a_table_is_lost() {
    for (text, shown) in [
        ("| a | b |\n|---|---|\n| c |\n", "a  b\n────\nc\n"),
        ("| a\\|b | `c\\|d` |\n|:-:|--:|\n", "a|b  c|d\n────────\n"),
        ("| a |\n|---|\n| 1. b |\n", "a\n────\n1. b\n"),
        // A bar in code without a backslash.
        (
            "| a | b |\n|---|---|\n| `c || d` | e |\n",
            "a       b\n─────────\nc || d  e\n",
        ),
        (
            "| ``a`|b`` | c |\n|---|---|\n| d | e |\n",
            "a`|b  c\n───────\nd     e\n",
        ),
        ("| a | b |\n|---|---|\n| `c | d` |\n", "a   b\n──────\n`c  d`\n"),
    ] {
        assert_eq!(render(text, PAGE), shown, "{text:?}");
    }
    for text in [
        "| a |\n|---|\n| b | c |\n",
        "| a |\n|---|\n| b \\\\| c |\n",
        "| a |\n| b |\n|---|\n",
        "| a | b |\n|---|\n| c | d |\n",
    ] {
        assert_eq!(render(text, PAGE), text);
    }
    let narrow = Page { width: 3, ..PAGE };
    assert_eq!(render("| a | b |\n|---|---|\n", narrow), "a  b\n────\n");
    let shown = render("| a | b |\n|---|---|\n| c |\n", narrow);
    assert_eq!(shown, "a:\n  c\nb:\n");
}

#[test]
fn deep_nesting_is_bounded() {
    assert_eq!(render(">>>>>> a", PAGE), "│ │ │ │ │ > a\n");
    let deep = format!("- a\n{}- b", " ".repeat(100));
    assert_eq!(render(&deep, PAGE), format!("• a\n{}• b\n", " ".repeat(MAX_INDENT)));
    let deep = render(&"- ".repeat(10_000), PAGE);
    assert!(deep.lines().all(|line| line.width() <= PAGE.width), "{deep}");
}

#[test]
fn the_address_of_a_link_is_shown() {
    for (text, shown) in [
        (
            "[https://bank.example](https://evil.example)",
            "https://bank.example (https://evil.example)\n",
        ),
        (
            "![image](https://evil.example/\u{202e})",
            "image (https://evil.example/\\u{202e})\n",
        ),
        (
            "[a](https://evil.example 'A *title*')",
            "a (https://evil.example \"A *title*\")\n",
        ),
        ("<https://bank.example>", "https://bank.example\n"),
        ("<mail@bank.example>", "mail@bank.example\n"),
    ] {
        assert_eq!(render(text, PAGE), shown);
    }
}

#[test]
fn control_characters_are_escaped() {
    for text in [
        "a\u{1b}[2Jb",
        "`a\u{1b}[2Jb`",
        "```\na\u{1b}[2Jb",
        "```\u{1b}[2Jb",
        "a&#27;[2Jb",
        "| a&#27;[2Jb |\n|---|",
        "> a\u{9b}2Jb",
        "<b \u{1b}[2J>",
        "[x](<\u{1b}[2J>)",
        "    a\u{1b}[2Jb",
        ">>>>>>> a\u{1b}[2Jb",
    ] {
        let shown = render(text, PAGE);
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\r']), "{text:?}: {shown:?}");
        assert!(shown.contains('\\'), "{text:?}: {shown:?}");
    }
}

/// A piece of Markdown, where `N` stands for a number.
fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("xN".to_owned()),
        2 => prop::sample::select(vec!["N. ", "N) ", "N", "- ", "\n- ", "\nN. ", "# ", "\n## "]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["[", "]", "(", ")", ":", "]: ", "](", "\n[xN]: xN\n", "[xN](xN (xN))"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["|", "\n| xN |", "\n|---|\n", "\n| xN | xN |\n", "| xN |\n|---|\n"]).prop_map(str::to_owned),
        3 => "[ .*_`#>~=\n\n+\\-]{1,3}",
        1 => prop::sample::select(vec!["\n\n", "  \n", "    ", "\n    ", "```\n", "\n===\n", "\n---\n"]).prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn pieces_are_rendered_as_the_whole(text in "[ab1 .*_`#>|~=\n\n\\[\\]()!&;<-]{0,80}", cuts in prop::collection::vec(0_usize..80, 0..8)) {
        let whole = render(&text, PAGE);
        let mut markdown = Markdown::default();
        let mut printed = String::new();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
        cuts.sort_unstable();
        let mut start = 0;
        for cut in cuts {
            printed += &markdown.push(&text[start..cut], PAGE);
            start = cut;
        }
        printed += &markdown.push(&text[start..], PAGE);
        printed += &markdown.finish(PAGE);
        prop_assert_eq!(printed, whole);
    }

    #[test]
    fn no_word_is_lost_and_no_line_is_too_long(tokens in prop::collection::vec(token(), 0..60), width in 8_usize..40) {
        let page = Page { width, styled: false };
        // Every number is another one, so that none can stand for one that is lost.
        let numbered = tokens.iter().zip(100..).map(|(token, number)| token.replace('N', &number.to_string()));
        let text: String = numbered.collect();
        let words = |text: &str| {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        // What is between two words may be taken away, so they are compared letter by letter.
        let letters = |text: &str| words(text).concat();
        let shown = render(&text, page);
        match text.contains('|') {
            false => prop_assert_eq!(letters(&shown), letters(&text), "{}\n{}", text, shown),
            // A table in records repeats the words of its heading.
            true => for number in words(&text.replace('x', " ")) {
                prop_assert!(number.len() % 3 != 0 || shown.contains(&number[..3]), "{} of {}\n{}", number, text, shown);
            },
        }
        let is_code = text.contains("```") || text.contains("~~~") || text.contains("    ");
        let is_verbatim = text.contains('`') || text.contains('|') || text.contains("]:");
        for line in shown.lines().filter(|_| !is_code && !is_verbatim) {
            let words = line.trim_start_matches(|c: char| " │•.)#".contains(c) || c.is_ascii_digit());
            prop_assert!(line.width() <= width || !words.trim().contains(' '), "{:?}", line);
        }
    }

    #[test]
    fn nothing_but_text_reaches_the_terminal(text in "(\\PC|\\p{Cc}|[*_`#>|\n]){0,60}") {
        let shown = render(&text, PAGE);
        prop_assert_eq!(escape(&shown).into_owned(), shown);
    }
}
