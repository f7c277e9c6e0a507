import { log } from "wasi:logging/logging@0.1.0-draft";

export function subtract(a: number, b: number): number {
  const difference = a - b;
  log("info", "guest:typescript:subtract", `${a} - ${b} = ${difference}`);
  return difference;
}

/** What of the language's runtime depends on its world: clocks, randomness. */
export function probe(): string {
  const seen = { now: Date.now(), random: Math.random(), stable: [3, 1, 2].sort() };
  return JSON.stringify(seen);
}

/** An error of the function's own: thrown with a payload. */
export function decline(why: string): number {
  throw Object.assign(new Error(why), { payload: why });
}

/** An exception that nobody expected. */
export function giveUp(): void {
  throw new Error("given up");
}
