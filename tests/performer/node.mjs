// Answers whoever started this on stdin and stdout: a length of four bytes, a byte for what is asked (0 prepare, 1 perform), the
// rest of the question. The answer is a length and bytes. `node node.mjs FOLDER`, where `cargo xtask conformance` made the host.
import { readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";

// A global that begins with 1 + 2: modules of CPython have such. node before 22 keeps them behind a flag.
const sum = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 6, 9, 1, 127, 0, 65, 1, 65, 2, 106, 11]);
if (!WebAssembly.validate(sum)) setFlagsFromString("--experimental-wasm-extended-const");

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
