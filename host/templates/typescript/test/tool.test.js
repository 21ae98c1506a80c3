import assert from "node:assert/strict";
import { test } from "node:test";

import { countLetter } from "../dist/tool.js";

test("case makes no difference", () => {
  assert.equal(countLetter("Strawberry R", "r"), 4);
});

test("two letters are refused", () => {
  for (const letter of ["", "ab"]) {
    assert.throws(() => countLetter("text", letter), (error) => error === "`letter` must be one character");
  }
});
