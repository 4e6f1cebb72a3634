#!/usr/bin/env node
// A stand-in for Prisma's query-engine binary where it cannot be downloaded: the same engine, as the WebAssembly that
// @prisma/client ships, behind the same HTTP interface.
const path = require('path'), fs = require('fs'), http = require('http');
const root = process.env.PRISMA_STAND_IN_MODULES || path.join(__dirname, 'node_modules');
const load = name => require(path.join(root, name));
const commit = load('@prisma/engines-version').enginesVersion;
if (process.argv.includes('--version')) { console.log('query-engine ' + commit); process.exit(0); }
const port = Number(process.argv[process.argv.indexOf('-p') + 1]);
const runtime = path.join(root, '@prisma/client/runtime/query_engine_bg.postgresql');
const glue = require(runtime + '.js');
const instance = new WebAssembly.Instance(new WebAssembly.Module(fs.readFileSync(runtime + '.wasm')), { './query_engine_bg.js': glue });
glue.__wbg_set_wasm(instance.exports);
const { PrismaPg } = load('@prisma/adapter-pg');
const { bindAdapter } = load('@prisma/driver-adapter-utils');
const pool = new (load('pg').Pool)({ connectionString: process.env.DATABASE_URL, max: 10 });
const engine = new glue.QueryEngine(
  { datamodel: fs.readFileSync(process.env.PRISMA_DML_PATH, 'utf8'), logLevel: 'error', logQueries: false, ignoreEnvVarErrors: true,
    engineProtocol: 'graphql', configDir: '.', env: process.env },
  log => process.env.STAND_IN_DEBUG && console.error(log), bindAdapter(new PrismaPg(pool)));
const trace = '{}';
const read = request => new Promise(done => { const parts = []; request.on('data', d => parts.push(d)).on('end', () => done(Buffer.concat(parts).toString())); });
// prisma's Python client speaks the engine's GraphQL, this build of the engine only its JSON: both say the same.
const { parse, valueFromASTUntyped } = load('graphql');
const ACTION = /^(findUniqueOrThrow|findUnique|findFirstOrThrow|findFirst|findMany|createManyAndReturn|createOne|createMany|updateOne|updateMany|upsertOne|deleteOne|deleteMany|aggregate|groupBy|queryRaw|executeRaw)(.*)$/;
// A JSON column takes the text of JSON in one language and a value that says its type in the other.
const schema = fs.readFileSync(process.env.PRISMA_DML_PATH, 'utf8');
const jsonColumns = new Map([...schema.matchAll(/^model (\w+) \{([^]*?)^\}/gm)].map(([, model, body]) =>
  [model, new Set([...body.matchAll(/^\s+(\w+)\s+Json\b/gm)].map(found => found[1]))]));
const typed = (value, columns) => Array.isArray(value) ? value.map(one => typed(one, columns))
  : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([name, inner]) =>
    [name, columns.has(name) && typeof inner === 'string' ? { $type: 'Json', value: inner } : typed(inner, columns)]))
  : value;
const selected = set => Object.fromEntries((set?.selections || []).map(field => [field.name.value,
  field.selectionSet || field.arguments.length ? { arguments: args(field), selection: selected(field.selectionSet) } : true]));
const args = field => Object.fromEntries(field.arguments.map(a => [a.name.value, valueFromASTUntyped(a.value)]));
const asJson = ({ query }) => {
  const field = parse(query).definitions[0].selectionSet.selections[0];
  const [, action, model] = ACTION.exec(field.name.value);
  return { modelName: model || undefined, action, query: { arguments: typed(args(field), jsonColumns.get(model) || new Set()), selection: selected(field.selectionSet) } };
};
const plain = value => {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  if ('$type' in value) return value.value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
};
const asGraphQl = out => out.data ? { ...out, data: { result: plain(Object.values(out.data)[0]) } } : out;
const translated = body => {
  const asked = JSON.parse(body);
  return asked.batch ? { batch: asked.batch.map(asJson), transaction: asked.transaction ? {} : undefined } : asJson(asked);
};
const answer = async (request) => {
  if (request.url === '/status') return '{"status":"ok"}';
  const body = await read(request);
  const [, what, id, end] = request.url.split('/');
  if (what === 'transaction' && id === 'start') return engine.startTransaction(body, trace);
  if (what === 'transaction') return end === 'commit' ? engine.commitTransaction(id, trace) : engine.rollbackTransaction(id, trace);
  const out = await engine.query(JSON.stringify(translated(body)), trace, request.headers['x-transaction-id']);
  if (process.env.STAND_IN_DEBUG) console.error(body.slice(0, 2000), '=>', String(out).slice(0, 2000));
  const told = JSON.parse(out);
  return JSON.stringify(told.batchResult ? { ...told, batchResult: told.batchResult.map(asGraphQl) } : asGraphQl(told));
};
engine.connect(trace).then(() => http.createServer((request, response) => {
  answer(request).then(text => response.end(text), error => { if (process.env.STAND_IN_DEBUG) console.error(error); response.statusCode = 500; response.end(String(error && error.message || error)); });
}).listen(port, '127.0.0.1'), error => { console.error(error); process.exit(1); });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
