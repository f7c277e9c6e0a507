// Answers whoever started this on stdin and stdout: a length of four bytes, a byte for what is asked (0 prepare, 1 perform), the
// rest of the question. The answer is a length and bytes. `node node.mjs FOLDER`, where `cargo xtask conformance` made the host.
import { readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const { default: init, Performer } = await import(pathToFileURL(join(folder, "performer.js")).href);
await init({ module_or_path: readFileSync(join(folder, "performer_bg.wasm")) });

function read(count) {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count; ) {
    let got = 0;
    try {
      got = readSync(0, bytes, at, count - at, null);
    } catch (error) {
      if (error.code === "EAGAIN") continue;
      throw error;
    }
    if (got === 0) process.exit(0);
    at += got;
  }
  return bytes;
}

function write(bytes) {
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

const performer = new Performer();
for (;;) {
  const question = read(read(4).readUInt32LE(0));
  const answer = performer.answer(question);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(answer.length);
  write(length);
  write(answer);
}
