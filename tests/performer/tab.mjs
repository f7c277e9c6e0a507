// A Web Worker that asks the program that served it what to do, and answers, until its page is closed.
import init, { Performer } from "/performer.js";

try {
  await init({ module_or_path: "/performer_bg.wasm" });
  const performer = new Performer();
  for (;;) {
    const question = await (await fetch("/question", { method: "POST" })).arrayBuffer();
    const answer = performer.answer(new Uint8Array(question));
    await fetch("/answer", { method: "POST", body: answer });
  }
} catch (error) {
  await fetch("/failure", { method: "POST", body: `${error}\n${error?.stack}` });
}
