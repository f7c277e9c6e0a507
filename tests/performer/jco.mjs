// Performs calls with jco, for their values: a line of JSON asks, a line of JSON answers. Values come in a form of their own
// (see `hosts/jco.rs`) and are converted by type to what jco calls them in JavaScript, and back.
import { mkdtemp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { transpileBytes } = await import(pathToFileURL(process.argv[2]).href);
const folder = await mkdtemp(join(process.argv[3], "made-"));

// As jco spells names of WIT.
const camel = (name) => name.replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const wide = (type) => type.k === "s64" || type.k === "u64";
// jco tells a nested option apart by a tag.
const tagged = (type) => type.k === "option" && type.t.k === "option";

function toJs(type, value) {
  switch (type.k) {
    case "s8": case "u8": case "s16": case "u16": case "s32": case "u32":
      return Number(value);
    case "s64": case "u64":
      return BigInt(value);
    case "f32": case "f64": {
      const view = new DataView(new ArrayBuffer(8));
      view.setBigUint64(0, BigInt(value));
      return view.getFloat64(0);
    }
    case "bytes":
      return new Uint8Array(Buffer.from(value, "base64"));
    case "list":
      return value.map((item) => toJs(type.t, item));
    case "map":
      return new Map(value.map(([key, item]) => [toJs(type.key, key), toJs(type.t, item)]));
    case "record":
      return Object.fromEntries(type.f.map(([name, t], i) => [camel(name), toJs(t, value[i])]));
    case "tuple":
      return type.t.map((t, i) => toJs(t, value[i]));
    case "variant": {
      const [name, t] = type.c[value[0]];
      return t ? { tag: name, val: toJs(t, value[1]) } : { tag: name };
    }
    case "enum":
      return type.n[value];
    case "flags":
      return Object.fromEntries(type.n.map((name, i) => [camel(name), value[i]]));
    case "option": {
      const inner = value.length === 1 ? toJs(type.t, value[0]) : undefined;
      if (!tagged(type)) return inner;
      return value.length === 1 ? { tag: "some", val: inner } : { tag: "none" };
    }
    case "result": {
      const [tag, payload] = value;
      const t = type[tag];
      return t ? { tag, val: toJs(t, payload) } : { tag };
    }
    default:
      return value;
  }
}

function ofJs(type, value) {
  switch (type.k) {
    case "s8": case "u8": case "s16": case "u16": case "s32": case "u32": case "s64": case "u64":
      if (typeof value !== (wide(type) ? "bigint" : "number")) throw new TypeError(`${type.k}: ${typeof value}`);
      return value.toString();
    case "f32": case "f64": {
      if (typeof value !== "number") throw new TypeError(`${type.k}: ${typeof value}`);
      const view = new DataView(new ArrayBuffer(8));
      view.setFloat64(0, value);
      return view.getBigUint64(0).toString();
    }
    case "bytes":
      return Buffer.from(value).toString("base64");
    case "list":
      return Array.from(value, (item) => ofJs(type.t, item));
    case "map":
      return Array.from(value, ([key, item]) => [ofJs(type.key, key), ofJs(type.t, item)]);
    case "record":
      return type.f.map(([name, t]) => ofJs(t, value[camel(name)]));
    case "tuple":
      return type.t.map((t, i) => ofJs(t, value[i]));
    case "variant": {
      const index = type.c.findIndex(([name]) => name === value.tag);
      const t = type.c[index][1];
      return t ? [index, ofJs(t, value.val)] : [index];
    }
    case "enum":
      return type.n.indexOf(value);
    case "flags":
      return type.n.map((name) => value[camel(name)] === true);
    case "option":
      if (tagged(type)) return value.tag === "some" ? [ofJs(type.t, value.val)] : [];
      return value === undefined || value === null ? [] : [ofJs(type.t, value)];
    case "result":
      return type[value.tag] ? [value.tag, ofJs(type[value.tag], value.val)] : [value.tag];
    default:
      return value;
  }
}

let made = 0;
const known = new Map();

async function component(path) {
  if (known.has(path)) return known.get(path);
  const name = `c${made++}`;
  const { files } = await transpileBytes(await readFile(path), { name, instantiation: "async", validLiftingOptimization: false });
  const entries = files instanceof Map ? files.entries() : Array.isArray(files) ? files : Object.entries(files);
  const modules = new Map();
  for (const [file, bytes] of entries) {
    const to = join(folder, file);
    await mkdir(dirname(to), { recursive: true });
    await writeFile(to, bytes);
    if (file.endsWith(".wasm")) modules.set(file, await WebAssembly.compile(bytes));
  }
  await writeFile(join(folder, "package.json"), '{"type":"module"}');
  const { instantiate } = await import(pathToFileURL(join(folder, `${name}.js`)).href);
  const log = { log() {} };
  const imports = { "wasi:logging/logging": log, "wasi:logging/logging@0.1.0-draft": log };
  const fresh = () => instantiate((file) => modules.get(file), imports);
  known.set(path, fresh);
  return fresh;
}

async function answer({ path, func, params, result, args }) {
  let instance;
  try {
    instance = await (await component(path))();
  } catch (error) {
    return { unsupported: String(error.message ?? error) };
  }
  const [face, bare] = func.includes("#") ? func.split("#") : [null, func];
  const place = face === null ? instance : (instance[face] ?? instance[camel(face.split("/")[1].split("@")[0])]);
  const values = params.map((type, i) => toJs(type, args[i]));
  const own = result?.k === "result";
  try {
    const value = place[camel(bare)](...values);
    if (own) return { value: result.ok ? ["ok", ofJs(result.ok, value)] : ["ok"] };
    return { value: result ? ofJs(result, value) : null };
  } catch (error) {
    // An error of the function's own is thrown: within an error of jco's, or as it is. Traps are errors of the engine.
    const within = error instanceof Error;
    if (own && (!within || "payload" in error)) {
      const payload = within ? error.payload : error;
      return { value: result.err ? ["err", ofJs(result.err, payload)] : ["err"] };
    }
    return { trap: String(error?.message ?? error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
