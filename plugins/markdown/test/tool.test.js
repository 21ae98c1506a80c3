import assert from "node:assert/strict";
import { test } from "node:test";

import { htmlToMarkdown } from "../tool.js";

const cases = [
  ["headings and emphasis", "<h2>On <em>tea</em></h2><p>It is <strong>hot</strong>.</p>", "## On *tea*\n\nIt is **hot**."],
  ["lists", "<ul><li>a<li>b<ol><li>c</ol></ul>", "- a\n- b\n  1. c"],
  ["tables", "<table><tr><th>a<th>b<tr><td>1<td>x|y</table>", "| a | b |\n| --- | --- |\n| 1 | x\\|y |"],
  ["code", "<pre><code class='language-sh'>ls &lt;x\n</code></pre>", "```sh\nls <x\n```"],
  ["quotes and rules", "<blockquote>q</blockquote><hr>", "> q\n\n---"],
  ["scripts, styles and comments", "<style>p{}</style><!-- c --><script>alert(1)</script><p>text</p>", "text"],
  ["what Markdown would misread", "<p>1. *not* a list &amp; # no heading</p>", "1\\. \\*not\\* a list & # no heading"],
  ["entities and other scripts", "<p>caf&eacute; &mdash; 日本語 🌼</p>", "café — 日本語 🌼"],
  ["deleted text", "<del>old</del>", "~~old~~"],
  ["nothing", "", ""],
  ["mistakes", "<p><b>a<p>b</i>", "**a**\n\nb"],
];

for (const [name, html, expected] of cases) {
  test(name, () => assert.equal(htmlToMarkdown(html, null), expected));
}

test("with a base, links and images are absolute", () => {
  const html = '<a href="../b?c#d">x</a> <img src="/i.png" alt="y"> <a href="mailto:a@example.com">z</a>';
  assert.equal(
    htmlToMarkdown(html, "https://example.com/a/page.html"),
    "[x](https://example.com/b?c#d) ![y](https://example.com/i.png) [z](mailto:a@example.com)",
  );
  assert.equal(htmlToMarkdown('<a href="b">x</a>', null), "[x](b)");
});

test("a base that isn't a web address is refused", () => {
  for (const base of ["example", "file:///etc", "javascript:alert(1)"]) {
    assert.throws(() => htmlToMarkdown("", base), (error) => error.includes("`base`"));
  }
});

test("deep nesting is no crash", () => {
  assert.equal(htmlToMarkdown(`<p>text</p>${"<div>".repeat(10_000)}`, null), "text");
});
