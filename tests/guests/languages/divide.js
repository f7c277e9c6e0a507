import { log } from "wasi:logging/logging@0.1.0-draft";

export function divide(a, b) {
  const quotient = a / b;
  log("info", "guest:javascript:divide", `${a} / ${b} = ${quotient}`);
  return quotient;
}

/** What of the language's runtime depends on its world: clocks, randomness. */
export function probe() {
  const seen = { now: Date.now(), random: Math.random(), stable: [3, 1, 2].sort() };
  return JSON.stringify(seen);
}

/** An error of the function's own: thrown with a payload. */
export function decline(why) {
  throw Object.assign(new Error(why), { payload: why });
}

/** An exception that nobody expected. */
export function giveUp() {
  throw new Error("given up");
}
