import assert from "node:assert/strict";
import { test } from "node:test";

import { configuredRates, exchange } from "../dist/currency.js";
import { convert } from "../dist/units.js";

const isProblem = (words) => (error) => error.tag === "invalid-input" && error.val.includes(words);

test("units", () => {
  for (const [value, from, to, expected] of [
    [1, "mile", "kilometre", 1.609344],
    [100, "kilometre-per-hour", "mile-per-hour", 62.1371192237],
    [212, "fahrenheit", "celsius", 100],
    [-40, "celsius", "fahrenheit", -40],
    [0, "kelvin", "celsius", -273.15],
    [1, "us-gallon", "litre", 3.785411784],
    [8, "bit", "byte", 1],
    [180, "degree", "radian", 3.14159265359],
    [1, "kilowatt-hour", "joule", 3600000],
    [0.1, "metre", "metre", 0.1],
  ]) {
    assert.deepEqual(convert(value, from, to), { value: expected, unit: to }, `${value} ${from}`);
  }
});

test("units of different kinds are refused", () => {
  assert.throws(() => convert(1, "mile", "kilogram"), isProblem("`mile` is a unit of length, `kilogram` one of mass"));
});

test("what isn't finite is refused", () => {
  assert.throws(() => convert(1e308, "kilometre", "millimetre"), isProblem("finite"));
  assert.throws(() => exchange(Infinity, "EUR", "USD", RATES, "call"), isProblem("finite"));
});

const RATES = {
  base: "EUR",
  quotes: [
    { currency: "USD", rate: 1.25 },
    { currency: "JPY", rate: 150 },
  ],
  asOf: "2026-05-31",
};

test("currencies, from and to the base and across", () => {
  for (const [from, to, expected] of [["EUR", "USD", 12.5], ["USD", "EUR", 8], ["USD", "JPY", 1200]]) {
    assert.equal(exchange(10, from, to, RATES, "call").amount, expected, `${from} to ${to}`);
  }
  const same = exchange(10, "SEK", "SEK", null, "configuration");
  assert.deepEqual(same, { amount: 10, currency: "SEK", rate: 1, source: "none", asOf: null });
});

test("missing, doubtful and impossible rates are refused", () => {
  assert.throws(() => exchange(1, "EUR", "USD", null, "configuration"), isProblem("pass `rates`"));
  assert.throws(() => exchange(1, "EUR", "SEK", RATES, "call"), isProblem("no rate of SEK; those known are of EUR, USD, JPY"));
  for (const rate of [0, -1, NaN, Infinity]) {
    const rates = { base: "EUR", quotes: [{ currency: "USD", rate }], asOf: null };
    assert.throws(() => exchange(1, "EUR", "USD", rates, "call"), isProblem(Number.isNaN(rate) ? "rate" : "positive"));
  }
  const twice = { ...RATES, quotes: [...RATES.quotes, { currency: "USD", rate: 2 }] };
  assert.throws(() => exchange(1, "EUR", "USD", twice, "call"), isProblem("two different rates"));
});

test("an operator's settings", () => {
  const settings = [["base", "EUR"], ["as_of", "2026-05-31"], ["USD", "1.25"], ["JPY", "150"], ["colour", "blue"]];
  assert.deepEqual(configuredRates(settings), RATES);
  assert.equal(configuredRates([]), null);
  const broken = configuredRates([["base", "EUR"], ["USD", "much"]]);
  assert.throws(() => exchange(1, "EUR", "USD", broken, "configuration"), isProblem("USD"));
});
