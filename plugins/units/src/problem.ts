/** The error of the functions in wit/world.wit. */
export interface Problem {
  tag: "invalid-input";
  val: string;
}

export function invalidInput(val: string): Problem {
  return { tag: "invalid-input", val };
}
