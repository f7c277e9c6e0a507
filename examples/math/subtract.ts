/** What `console` prints becomes a log line of the task. */
export function subtract(a: number, b: number): number {
  const difference = a - b;
  console.info(`${a} - ${b} = ${difference}`);
  return difference;
}
