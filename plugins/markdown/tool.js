// Each export is a function of wit/world.wit, in camelCase. A thrown value is the error of its `result`.

import { htmlToMarkdown as convert } from "@mdream/js";

/** Converts HTML to Markdown. Relative links become absolute if `base`, the page's URL, is known. */
export function htmlToMarkdown(html, base) {
  if (base && !/^https?:\/\/[^/]/i.test(base)) {
    throw "`base` must begin with https:// or http:// and a host";
  }
  return convert(html, base ? { origin: base } : {}).trim();
}
