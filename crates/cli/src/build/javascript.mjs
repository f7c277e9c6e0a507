// Makes a component of a TypeScript or JavaScript module.
//
// The types of the functions it exports, from TypeScript or JSDoc, become a WIT world. An adapter module stands between
// the world and the author's module: it turns the engine's view of values (typed arrays, kebab-case enums, options)
// into what the author's types say, gives `console` to guests as log lines, and says what was thrown.
//
// One argument, JSON: {source, work, out, wit, world, quickjs, wasi}; `wit` is the author's own world, if there is one.
// Standard output, JSON: {wit, files} with the author's files that it is made of, or {error: text}.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';

import { componentize } from '@bytecodealliance/componentize-js';
import * as esbuild from 'esbuild';
import ts from 'typescript';

const { source, work, out, wit: ownWit, world: ownWorld, quickjs, wasi } = JSON.parse(process.argv[2]);

class Mistake extends Error {}

const LOGGING = 'wasi:logging/logging';
const LOGGING_WIT = `package wasi:logging;
interface logging {
  enum level { trace, debug, info, warn, error, critical }
  log: func(level: level, context: string, message: string);
}
`;
const AMBIENT = `declare module '${LOGGING}' {
  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'critical';
  export function log(level: Level, context: string, message: string): void;
}
`;

function fail(node, text) {
  throw new Mistake(node ? `${place(node)}: ${text}` : text);
}

function place(node) {
  const file = node.getSourceFile();
  const { line, character } = file.getLineAndCharacterOfPosition(node.getStart(file));
  return `${path.basename(file.fileName)}:${line + 1}:${character + 1}`;
}

const kebab = (name) =>
  name
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1-$2')
    .replace(/_+/g, '-')
    .toLowerCase();
const camel = (name) => name.replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase());

function identifier(name, node, what) {
  const id = kebab(name);
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(id) || !/^[a-z]+[a-z0-9]*(-[a-z][a-z0-9]*)*$/.test(id)) {
    fail(node, `${what} \`${name}\` cannot be a name in WIT: use letters and digits, each word beginning with a letter`);
  }
  return id;
}

const TYPED_ARRAYS = {
  Uint8Array: 'u8', Int8Array: 's8', Uint16Array: 'u16', Int16Array: 's16', Uint32Array: 'u32', Int32Array: 's32',
  BigUint64Array: 'u64', BigInt64Array: 's64', Float32Array: 'f32', Float64Array: 'f64',
};
// Lists of these cross the boundary as typed arrays.
const ARRAY_OF = { f64: 'Float64Array', s64: 'BigInt64Array' };

/** Reads types and collects the named ones. */
class World {
  constructor(checker) {
    this.checker = checker;
    this.named = new Map();
    this.names = new Set();
    this.depth = 0;
  }

  /** {wit, into, from}: the type in WIT; code that makes the author's value of the engine's, and the reverse. */
  type(type, at, hint) {
    if (++this.depth > 30) fail(at.node, `${at.what}: the type refers to itself, or is nested too deep`);
    try {
      return this.#type(type, at, hint);
    } finally {
      this.depth--;
    }
  }

  #type(type, at, hint) {
    const F = ts.TypeFlags;
    const text = () => this.checker.typeToString(type);
    const plain = (wit) => ({ wit, into: null, from: null });
    if (type.flags & (F.Any | F.Unknown)) fail(at.node, `${at.what} has no type${at.remedy ?? ': declare one'}`);
    if (type.flags & F.BooleanLike) return plain('bool');
    if (type.isUnion()) {
      const empty = type.types.filter((part) => part.flags & (F.Null | F.Undefined | F.Void));
      if (empty.length) {
        const inner = this.type(this.checker.getNonNullableType(type), at, hint);
        const none = empty.some((part) => part.flags & F.Null) ? 'null' : 'undefined';
        return {
          wit: `option<${inner.wit}>`,
          into: (v) => `(${v} == null ? ${none} : ${call(inner.into, v)})`,
          from: (v) => `(${v} == null ? undefined : ${call(inner.from, v)})`,
        };
      }
      if (type.types.every((part) => part.flags & F.NumberLike)) return plain('f64');
      if (type.types.every((part) => part.isStringLiteral() || (part.flags & F.StringLiteral))) {
        return this.enumeration(type, at, hint);
      }
      fail(at.node, `${at.what}: \`${text()}\` mixes types, which WIT has no form for here: use an object with optional properties`);
    }
    if (type.flags & F.NumberLike) return plain('f64');
    if (type.flags & F.BigIntLike) return plain('s64');
    if (type.flags & F.StringLike) return plain('string');
    if (type.flags & F.Object) return this.object(type, at, hint, text);
    fail(at.node, `${at.what}: \`${text()}\` has no form in WIT: use number, bigint, string, boolean, Uint8Array, arrays, tuples or objects of these`);
  }

  object(type, at, hint, text) {
    const { checker } = this;
    const name = type.symbol?.name;
    if (TYPED_ARRAYS[name]) return { wit: `list<${TYPED_ARRAYS[name]}>`, into: null, from: null };
    if (checker.isTupleType(type)) {
      const items = checker.getTypeArguments(type).map((item, index) => this.type(item, { ...at, what: `${at.what}[${index}]` }, `${hint}-${'abcdefghijklmnop'[index] ?? 'x'}`));
      if (!items.length) fail(at.node, `${at.what}: WIT has no empty tuple`);
      const convert = (way) => items.some((item) => item[way]) && ((v) => `((t) => [${items.map((item, i) => call(item[way], `t[${i}]`)).join(', ')}])(${v})`);
      return { wit: `tuple<${items.map((item) => item.wit).join(', ')}>`, into: convert('into') || null, from: convert('from') || null };
    }
    if (checker.isArrayType(type)) {
      const item = this.type(checker.getTypeArguments(type)[0], { ...at, what: `${at.what}[]` }, `${hint}-item`);
      const typed = ARRAY_OF[item.wit];
      const map = (way, v) => (item[way] ? `Array.from(${v}, (i) => ${item[way]('i')})` : `Array.from(${v})`);
      return {
        wit: `list<${item.wit}>`,
        into: typed || item.into ? (v) => map('into', v) : null,
        from: typed ? (v) => `${typed}.from(${v})` : item.from ? (v) => map('from', v) : null,
      };
    }
    const index = checker.getIndexInfoOfType(type, ts.IndexKind.String);
    const entries = name === 'Map' ? checker.getTypeArguments(type)[1] : index?.type;
    if (entries && !checker.getPropertiesOfType(type).some((p) => name !== 'Map')) {
      if (name === 'Map' && !(checker.getTypeArguments(type)[0].flags & ts.TypeFlags.String)) fail(at.node, `${at.what}: keys of a Map must be strings`);
      const value = this.type(entries, { ...at, what: `${at.what}.*` }, `${hint}-value`);
      const pairs = (v, way) => `Array.from(${v}, ([k, i]) => [k, ${call(value[way], 'i')}])`;
      return {
        wit: `list<tuple<string, ${value.wit}>>`,
        into: (v) => (name === 'Map' ? `new Map(${pairs(v, 'into')})` : `Object.fromEntries(${pairs(v, 'into')})`),
        from: (v) => (name === 'Map' ? pairs(v, 'from') : pairs(`Object.entries(${v})`, 'from')),
      };
    }
    if (type.getCallSignatures().length) fail(at.node, `${at.what}: a function cannot be passed between components`);
    if (type.symbol?.flags & ts.SymbolFlags.Class) fail(at.node, `${at.what}: an instance of the class \`${name}\` cannot be passed: use an interface`);
    return this.record(type, at, hint, text);
  }

  /** A name for a type: its own, or one made of where it stands. */
  name(type, hint, node) {
    const own = type.aliasSymbol?.name ?? type.symbol?.name;
    const base = own && !own.startsWith('__') ? identifier(own, node, 'the type') : hint;
    let name = base;
    for (let n = 0; this.names.has(name); n++) name = `${base}-${'bcdefghijklmnopqrstuvwxyz'[n] ?? `b${n}`}`;
    this.names.add(name);
    return name;
  }

  record(type, at, hint, text) {
    const key = type.aliasSymbol ?? type.symbol;
    const known = this.named.get(key);
    if (known) {
      if (known.open) fail(at.node, `${at.what}: \`${text()}\` contains itself, which WIT has no form for`);
      return known.type;
    }
    const entry = { open: true };
    this.named.set(key, entry);
    const name = this.name(type, hint, at.node);
    const fields = this.checker.getPropertiesOfType(type).map((property) => {
      const node = property.valueDeclaration ?? at.node;
      const what = `${at.what}.${property.name}`;
      const id = identifier(property.name, node, 'the property');
      return { name: property.name, id, ...this.type(this.checker.getTypeOfSymbolAtLocation(property, node), { node, what }, `${name}-${id}`) };
    });
    if (!fields.length) fail(at.node, `${at.what}: \`${text()}\` has no properties, which WIT has no form for`);
    const same = (way) => fields.every((field) => !field[way] && camel(field.id) === field.name);
    entry.definition = `record %${name} { ${fields.map((field) => `%${field.id}: ${field.wit}`).join(', ')} }`;
    entry.type = {
      wit: `%${name}`,
      into: same('into') ? null : (v) => `((o) => ({ ${fields.map((f) => `${JSON.stringify(f.name)}: ${call(f.into, `o.${camel(f.id)}`)}`).join(', ')} }))(${v})`,
      from: same('from') ? null : (v) => `((o) => ({ ${fields.map((f) => `${camel(f.id)}: ${call(f.from, `o[${JSON.stringify(f.name)}]`)}`).join(', ')} }))(${v})`,
    };
    entry.open = false;
    return entry.type;
  }

  enumeration(type, at, hint) {
    const values = type.types.map((part) => part.value);
    const key = type.aliasSymbol ?? type.symbol ?? values.join('|');
    const known = this.named.get(key);
    if (known) return known.type;
    const ids = values.map((value) => identifier(value, at.node, `${at.what}: the value`));
    const name = this.name(type, hint, at.node);
    const same = values.every((value, index) => value === ids[index]);
    const table = (from, to) => JSON.stringify(Object.fromEntries(from.map((key, index) => [key, to[index]])));
    this.named.set(key, {
      definition: `enum %${name} { ${ids.map((id) => `%${id}`).join(', ')} }`,
      type: {
        wit: `%${name}`,
        into: same ? null : (v) => `(${table(ids, values)})[${v}]`,
        from: same ? null : (v) => `(${table(values, ids)})[${v}]`,
      },
    });
    return this.named.get(key).type;
  }
}

const call = (convert, v) => (convert ? convert(v) : v);

/** The functions that the module exports, with their types. */
function functions(program, file, world) {
  const checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(file);
  const found = [];
  for (const exported of module ? checker.getExportsOfModule(module) : []) {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    const node = symbol.valueDeclaration ?? symbol.declarations?.[0];
    if (!node || !(symbol.flags & ts.SymbolFlags.Value)) continue;
    const signatures = checker.getTypeOfSymbolAtLocation(symbol, node).getCallSignatures();
    // Constants and classes are the module's own affair.
    if (!signatures.length) continue;
    if (exported.name === 'default') fail(node, 'a default export has no name: export the function by its name');
    const id = identifier(exported.name, node, 'the function');
    if (signatures.length > 1) fail(node, `\`${exported.name}\` has overloads: export one function for each`);
    const [signature] = signatures;
    if (signature.typeParameters?.length) fail(node, `\`${exported.name}\` is generic: declare the types`);
    const isJs = /\.[cm]?js$/.test(file.fileName);
    const params = signature.parameters.map((parameter, index) => {
      const declaration = parameter.valueDeclaration ?? node;
      if (declaration.dotDotDotToken) fail(declaration, `\`${exported.name}\` takes any number of arguments: take an array`);
      const name = /^[A-Za-z_][A-Za-z0-9_]*$/.test(parameter.name) && !parameter.name.startsWith('__') ? parameter.name : `arg${index}`;
      const remedy = isJs ? `: write \`@param {number} ${name}\` above the function` : `: write \`${name}: number\``;
      const at = { node: declaration, what: `parameter \`${name}\` of \`${exported.name}\``, remedy };
      const type = checker.getTypeOfSymbolAtLocation(parameter, declaration);
      const optional = declaration.initializer || declaration.questionToken || (isJs && ts.isParameter(declaration) && checker.isOptionalParameter(declaration));
      const param = world.type(type, at, `${id}-${identifier(name, declaration, 'the parameter')}`);
      const already = param.wit.startsWith('option<');
      return {
        id: identifier(name.replace(/^_+/, ''), declaration, 'the parameter'),
        ...(optional && !already
          ? { wit: `option<${param.wit}>`, into: (v) => `(${v} == null ? undefined : ${call(param.into, v)})` }
          : param),
      };
    });
    let result = signature.getReturnType();
    const promised = checker.getPromisedTypeOfPromise?.(result) ?? (result.symbol?.name === 'Promise' ? checker.getTypeArguments(result)[0] : null);
    if (promised) result = promised;
    const none = result.flags & (ts.TypeFlags.Void | ts.TypeFlags.Undefined | ts.TypeFlags.Null | ts.TypeFlags.Never);
    const remedy = isJs ? ': write `@returns {number}` above the function' : ': declare one';
    const returned = none ? null : world.type(result, { node, what: `the result of \`${exported.name}\``, remedy }, `${id}-result`);
    const throws = ts.getJSDocTags(node).some((tag) => ['throws', 'exception'].includes(tag.tagName.text));
    found.push({ id, name: exported.name, params, returned, throws, isAsync: Boolean(promised) });
  }
  if (!found.length) fail(null, `${path.basename(file.fileName)} exports no function: write \`export function …\``);
  return found;
}

function witOf(found, world) {
  const lines = ['package local:guest;', '', 'world guest {', `  import ${LOGGING};`];
  for (const { definition } of world.named.values()) lines.push(`  ${definition}`);
  for (const { id, params, returned, throws } of found) {
    let result = returned?.wit;
    if (throws) result = `result<${result ?? '_'}, string>`;
    lines.push(`  export %${id}: func(${params.map((p) => `%${p.id}: ${p.wit}`).join(', ')})${result ? ` -> ${result}` : ''};`);
  }
  return [...lines, '}', ''].join('\n');
}

function adapterOf(found) {
  const lines = [`import { log } from '${LOGGING}';`, "import './console.mjs';", `import * as author from ${JSON.stringify(path.resolve(source))};`];
  lines.push(`const said = (name, error) => {
  const text = error instanceof Error ? \`\${error.name}: \${error.message}\` : String(error);
  log('error', \`guest:js:\${name}\`, text + (error?.stack ? \`\\n\${error.stack}\` : ''));
};`);
  for (const { id, name, params, returned, throws, isAsync } of found) {
    const names = params.map((_, index) => `a${index}`);
    const args = params.map((param, index) => call(param.into, names[index]));
    const result = call(returned?.from ?? null, `${isAsync ? 'await ' : ''}author[${JSON.stringify(name)}](${args.join(', ')})`);
    const caught = throws
      ? `throw Object.assign(new Error(), { payload: error instanceof Error ? error.message : String(error) });`
      : `said(${JSON.stringify(name)}, error); throw error;`;
    lines.push(`${isAsync ? 'async ' : ''}function f_${id.replaceAll('-', '_')}(${names.join(', ')}) {
  try { return ${result}; } catch (error) { ${caught} }
}
export { f_${id.replaceAll('-', '_')} as ${camel(id)} };`);
  }
  return lines.join('\n');
}

// What a guest prints is a log line: it has no standard output.
const CONSOLE = `import { log } from '${LOGGING}';
const text = (value) => {
  if (typeof value === 'string') return value;
  if (value instanceof Error) return value.stack ?? String(value);
  try { return JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v)) ?? String(value); } catch { return String(value); }
};
const at = (level) => (...values) => log(level, 'guest:js', values.map(text).join(' '));
globalThis.console = { log: at('info'), info: at('info'), debug: at('debug'), trace: at('trace'), warn: at('warn'), error: at('error') };
`;

async function withSpiderMonkey(sourcePath, witPath, worldName) {
  const disableFeatures = wasi ? ['http', 'fetch-event'] : ['stdio', 'random', 'clocks', 'http', 'fetch-event'];
  return (await componentize({ sourcePath, witPath, worldName, disableFeatures })).component;
}

async function withQuickJs(bundle, witPath, world) {
  const quickjs = await import('componentize-qjs');
  const jsSource = await readFile(bundle, 'utf8');
  return (await quickjs.componentize({ witPath, jsSource, world, sync: true })).component;
}

async function main() {
  await mkdir(path.join(work, 'wit/deps/logging'), { recursive: true });
  const ambient = path.join(work, 'logging.d.ts');
  await writeFile(ambient, AMBIENT);
  let entry = path.resolve(source);
  let witPath = ownWit ? path.resolve(ownWit) : path.join(work, 'wit');
  let wit = null;
  const files = new Set([entry]);
  if (!ownWit) {
    const program = ts.createProgram([entry, ambient], {
      allowJs: true, checkJs: true, strict: true, noEmit: true, skipLibCheck: true, types: [], allowImportingTsExtensions: true,
      target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
    });
    const file = program.getSourceFile(entry);
    const broken = program.getSyntacticDiagnostics(file);
    if (broken.length) {
      throw new Mistake(broken.slice(0, 20).map((one) => {
        const { line, character } = file.getLineAndCharacterOfPosition(one.start);
        return `${path.basename(entry)}:${line + 1}:${character + 1}: ${ts.flattenDiagnosticMessageText(one.messageText, ' ')}`;
      }).join('; '));
    }
    for (const read of program.getSourceFiles()) {
      if (!program.isSourceFileDefaultLibrary(read)) files.add(path.resolve(read.fileName));
    }
    const world = new World(program.getTypeChecker());
    const found = functions(program, file, world);
    wit = witOf(found, world);
    await writeFile(path.join(work, 'wit/guest.wit'), wit);
    await writeFile(path.join(work, 'wit/deps/logging/logging.wit'), LOGGING_WIT);
    await writeFile(path.join(work, 'console.mjs'), CONSOLE);
    entry = path.join(work, 'adapter.mjs');
    await writeFile(entry, adapterOf(found));
  }
  const bundle = path.join(work, 'bundle.mjs');
  try {
    const { metafile } = await esbuild.build({
      metafile: true, entryPoints: [entry], bundle: true, format: 'esm', target: 'es2022', platform: 'neutral', outfile: bundle,
      external: ['wasi:*', 'local:*'], logLevel: 'silent', mainFields: ['module', 'main'], conditions: ['import'],
    });
    for (const read of Object.keys(metafile.inputs)) files.add(path.resolve(read));
  } catch (error) {
    const errors = error.errors ?? [];
    if (!errors.length) throw error;
    throw new Mistake(errors.slice(0, 20).map(({ text, location }) =>
      (location ? `${path.basename(location.file)}:${location.line}:${location.column + 1}: ${text}` : text)).join('; '));
  }
  const worldName = ownWit ? ownWorld ?? undefined : 'guest';
  await writeFile(out, quickjs ? await withQuickJs(bundle, witPath, worldName) : await withSpiderMonkey(bundle, witPath, worldName));
  const own = path.dirname(process.argv[1]);
  return { wit, files: [...files].filter((file) => !file.startsWith(own + path.sep)) };
}

try {
  process.stdout.write(JSON.stringify(await main()));
} catch (error) {
  const text = error instanceof Mistake ? error.message : String(error?.message ?? error);
  process.stdout.write(JSON.stringify({ error: text }));
}
