// Connects the logic with the functions of wit/world.wit. A thrown value is the error of a `result`.

import store from "wasi:config/store@0.2.0-rc.1";

import { configuredRates, exchange, type Currency, type Exchange, type Rates } from "./currency.js";
import { convert } from "./units.js";

export const units = {
  convert,

  convertCurrency(amount: number, from: Currency, to: Currency, rates: Rates | null): Exchange {
    return rates === null
      ? exchange(amount, from, to, configuredRates(store.getAll()), "configuration")
      : exchange(amount, from, to, rates, "call");
  },
};
