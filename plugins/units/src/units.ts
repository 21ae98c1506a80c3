// Units, in plain TypeScript: `npm test` runs it natively.

import { invalidInput } from "./problem.js";

interface Scale {
  kind: string;
  /** How much a unit is in the first unit of its kind. */
  factor: number;
  /** Where the scale's zero is, in the first unit of its kind. */
  offset?: number;
}

const SCALES = {
  // length
  metre: { kind: "length", factor: 1 },
  kilometre: { kind: "length", factor: 1000 },
  centimetre: { kind: "length", factor: 0.01 },
  millimetre: { kind: "length", factor: 0.001 },
  micrometre: { kind: "length", factor: 1e-6 },
  inch: { kind: "length", factor: 0.0254 },
  foot: { kind: "length", factor: 0.3048 },
  yard: { kind: "length", factor: 0.9144 },
  mile: { kind: "length", factor: 1609.344 },
  "nautical-mile": { kind: "length", factor: 1852 },
  // area
  "square-metre": { kind: "area", factor: 1 },
  "square-kilometre": { kind: "area", factor: 1000000.0 },
  "square-centimetre": { kind: "area", factor: 0.0001 },
  hectare: { kind: "area", factor: 10000.0 },
  "square-foot": { kind: "area", factor: 0.09290304 },
  "square-mile": { kind: "area", factor: 2589988.110336 },
  acre: { kind: "area", factor: 4046.8564224 },
  // volume
  "cubic-metre": { kind: "volume", factor: 1 },
  litre: { kind: "volume", factor: 0.001 },
  millilitre: { kind: "volume", factor: 1e-6 },
  "cubic-foot": { kind: "volume", factor: 0.028316846592 },
  "us-gallon": { kind: "volume", factor: 0.003785411784 },
  "us-cup": { kind: "volume", factor: 0.0002365882365 },
  "us-fluid-ounce": { kind: "volume", factor: 2.95735295625e-5 },
  "us-tablespoon": { kind: "volume", factor: 1.478676478125e-5 },
  "us-teaspoon": { kind: "volume", factor: 4.92892159375e-6 },
  "imperial-gallon": { kind: "volume", factor: 0.00454609 },
  "imperial-pint": { kind: "volume", factor: 0.00056826125 },
  // mass
  kilogram: { kind: "mass", factor: 1 },
  gram: { kind: "mass", factor: 0.001 },
  milligram: { kind: "mass", factor: 1e-6 },
  tonne: { kind: "mass", factor: 1000 },
  pound: { kind: "mass", factor: 0.45359237 },
  ounce: { kind: "mass", factor: 0.028349523125 },
  stone: { kind: "mass", factor: 6.35029318 },
  "us-ton": { kind: "mass", factor: 907.18474 },
  // time
  second: { kind: "time", factor: 1 },
  millisecond: { kind: "time", factor: 0.001 },
  minute: { kind: "time", factor: 60 },
  hour: { kind: "time", factor: 3600 },
  day: { kind: "time", factor: 86400 },
  week: { kind: "time", factor: 604800 },
  // speed
  "metre-per-second": { kind: "speed", factor: 1 },
  "kilometre-per-hour": { kind: "speed", factor: 1000 / 3600 },
  "mile-per-hour": { kind: "speed", factor: 0.44704 },
  knot: { kind: "speed", factor: 1852 / 3600 },
  // temperature
  kelvin: { kind: "temperature", factor: 1 },
  celsius: { kind: "temperature", factor: 1, offset: 273.15 },
  fahrenheit: { kind: "temperature", factor: 5 / 9, offset: 273.15 - (32 * 5) / 9 },
  // pressure
  pascal: { kind: "pressure", factor: 1 },
  kilopascal: { kind: "pressure", factor: 1000 },
  bar: { kind: "pressure", factor: 100000.0 },
  atmosphere: { kind: "pressure", factor: 101325 },
  psi: { kind: "pressure", factor: 6894.757293168361 },
  mmhg: { kind: "pressure", factor: 133.322387415 },
  // energy
  joule: { kind: "energy", factor: 1 },
  kilojoule: { kind: "energy", factor: 1000 },
  calorie: { kind: "energy", factor: 4.184 },
  kilocalorie: { kind: "energy", factor: 4184 },
  "watt-hour": { kind: "energy", factor: 3600 },
  "kilowatt-hour": { kind: "energy", factor: 3600000.0 },
  btu: { kind: "energy", factor: 1055.05585262 },
  // power
  watt: { kind: "power", factor: 1 },
  kilowatt: { kind: "power", factor: 1000 },
  horsepower: { kind: "power", factor: 745.6998715822702 },
  "metric-horsepower": { kind: "power", factor: 735.49875 },
  // data
  bit: { kind: "data", factor: 0.125 },
  byte: { kind: "data", factor: 1 },
  kilobyte: { kind: "data", factor: 1000 },
  megabyte: { kind: "data", factor: 1000000.0 },
  gigabyte: { kind: "data", factor: 1000000000.0 },
  terabyte: { kind: "data", factor: 1000000000000.0 },
  kibibyte: { kind: "data", factor: 1024 },
  mebibyte: { kind: "data", factor: 1024 ** 2 },
  gibibyte: { kind: "data", factor: 1024 ** 3 },
  tebibyte: { kind: "data", factor: 1024 ** 4 },
  // angle
  radian: { kind: "angle", factor: 1 },
  degree: { kind: "angle", factor: Math.PI / 180 },
  gradian: { kind: "angle", factor: Math.PI / 200 },
  turn: { kind: "angle", factor: 2 * Math.PI },
} satisfies Record<string, Scale>;

export type Unit = keyof typeof SCALES;

export interface Quantity {
  value: number;
  unit: Unit;
}

export function convert(value: number, from: Unit, to: Unit): Quantity {
  const [source, target]: Scale[] = [SCALES[from], SCALES[to]];
  if (source.kind !== target.kind) {
    throw invalidInput(`\`${from}\` is a unit of ${source.kind}, \`${to}\` one of ${target.kind}`);
  }
  if (from === to) {
    return { value, unit: to };
  }
  const base = value * source.factor + (source.offset ?? 0);
  const converted = (base - (target.offset ?? 0)) / target.factor;
  if (!Number.isFinite(converted)) {
    throw invalidInput("the result isn't a finite number");
  }
  return { value: round(converted), unit: to };
}

/** To 12 digits: more would show how binary fractions round. */
export function round(value: number): number {
  return Number(value.toPrecision(12));
}
