// Currencies, in plain TypeScript: `npm test` runs it natively.

import { invalidInput } from "./problem.js";
import { round } from "./units.js";

export type Currency = string;

export interface Rates {
  base: Currency;
  quotes: { currency: Currency; rate: number }[];
  asOf: string | null;
}

export interface Exchange {
  amount: number;
  currency: Currency;
  rate: number;
  source: "none" | "call" | "configuration";
  asOf: string | null;
}

export function exchange(
  amount: number,
  from: Currency,
  to: Currency,
  rates: Rates | null,
  source: Exchange["source"],
): Exchange {
  if (!Number.isFinite(amount)) {
    throw invalidInput("`amount` isn't a finite number");
  }
  if (from === to) {
    return { amount, currency: to, rate: 1, source: "none", asOf: null };
  }
  if (rates === null) {
    throw invalidInput("no rates are configured: pass `rates`");
  }
  const rate = worth(to, rates) / worth(from, rates);
  const converted = amount * rate;
  if (!Number.isFinite(converted)) {
    throw invalidInput("the result isn't a finite number");
  }
  return { amount: round(converted), currency: to, rate: round(rate), source, asOf: rates.asOf };
}

/** How much of a currency one unit of the base is worth. */
function worth(currency: Currency, rates: Rates): number {
  if (currency === rates.base) {
    return 1;
  }
  const quotes = rates.quotes.filter((quote) => quote.currency === currency);
  if (quotes.length === 0) {
    const known = [rates.base, ...rates.quotes.map((quote) => quote.currency)].join(", ");
    throw invalidInput(`there is no rate of ${currency}; those known are of ${known}`);
  }
  const rate = quotes[0].rate;
  if (quotes.some((quote) => quote.rate !== rate)) {
    throw invalidInput(`there are two different rates of ${currency}`);
  }
  if (!(rate > 0 && Number.isFinite(rate))) {
    throw invalidInput(`the rate of ${currency} must be a positive number`);
  }
  return rate;
}

/** The rates in an operator's settings: `base`, `as_of`, and a rate for each currency. */
export function configuredRates(settings: [string, string][]): Rates | null {
  const texts = new Map(settings);
  const base = texts.get("base");
  if (base === undefined) {
    return null;
  }
  const quotes = settings.filter(([key]) => /^[A-Z]{3}$/.test(key));
  return {
    base,
    quotes: quotes.map(([currency, rate]) => ({ currency, rate: Number(rate) })),
    asOf: texts.get("as_of") ?? null,
  };
}
