// Each export is a function of wit/world.wit, in camelCase. A thrown value is the error of its `result`.

/** Counts how often a letter occurs in a text. Upper and lower case are the same letter. */
export function countLetter(text: string, letter: string): number {
  if ([...letter].length !== 1) {
    throw "`letter` must be one character";
  }
  const wanted = letter.toLowerCase();
  return [...text].filter((character) => character.toLowerCase() === wanted).length;
}
