// The JavaScript half of batches.py: a batch of mixed lines by each of the official SDKs. Prints one JSON a line, {what} or {what, error}.
import OpenAI, { toFile } from "openai";
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";

const [base, models, lines] = [process.argv[2], JSON.parse(process.argv[3]), Number(process.argv[4])];
const model = (n) => models[n % models.length];
// The vendors fail every fiftieth line; the model without batches fails none.
const fails = (n) => n % 50 === 49 && model(n) !== "m-alone";
const numbers = [...Array(lines).keys()];

async function until(look, seconds = 180) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await new Promise((go) => setTimeout(go, 200))) {
    const value = await look();
    if (value) return value;
  }
  throw new Error("it does not end");
}

const works = {
  "the OpenAI SDK for JavaScript": async () => {
    const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "fb_app" });
    const asked = numbers.map((n) => ({ custom_id: `c${n}`, method: "POST", url: "/v1/chat/completions", body: { model: model(n), max_tokens: 60, messages: [{ role: "user", content: `q${n}` }] } }));
    const file = await client.files.create({ file: await toFile(Buffer.from(asked.map((line) => JSON.stringify(line)).join("\n")), "in.jsonl"), purpose: "batch" });
    const made = await client.batches.create({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h", metadata: { job: "e2e-js" } });
    const over = ["completed", "failed", "expired", "cancelled"];
    const batch = await until(async () => {
      const found = await client.batches.retrieve(made.id);
      return over.includes(found.status) && found;
    });
    assert.equal(batch.status, "completed");
    assert.equal(batch.request_counts.total, lines);
    const listed = [];
    for await (const one of client.batches.list()) listed.push(one.id);
    assert.ok(listed.includes(batch.id));
    const told = new Map();
    for (const id of [batch.output_file_id, batch.error_file_id]) {
      for (const line of (await (await client.files.content(id)).text()).trim().split("\n")) {
        const read = JSON.parse(line);
        assert.ok(!told.has(read.custom_id), `${read.custom_id} twice`);
        told.set(read.custom_id, read.response);
      }
    }
    assert.equal(told.size, lines);
    for (const n of numbers) {
      const got = told.get(`c${n}`);
      if (fails(n)) assert.ok(got.status_code >= 400, JSON.stringify(got));
      else assert.equal(got.body.choices[0].message.content, `echo q${n}`);
    }
    await assert.rejects(client.batches.retrieve("batch_fb0123"), OpenAI.NotFoundError);
  },
  "the Anthropic SDK for JavaScript": async () => {
    const client = new Anthropic({ baseURL: base, apiKey: "fb_app" });
    const requests = numbers.map((n) => ({ custom_id: `c${n}`, params: { model: model(n), max_tokens: 60, messages: [{ role: "user", content: `q${n}` }] } }));
    const made = await client.messages.batches.create({ requests });
    await until(async () => (await client.messages.batches.retrieve(made.id)).processing_status === "ended");
    const told = new Map();
    for await (const line of await client.messages.batches.results(made.id)) {
      assert.ok(!told.has(line.custom_id), `${line.custom_id} twice`);
      told.set(line.custom_id, line.result);
    }
    assert.equal(told.size, lines);
    for (const n of numbers) {
      const got = told.get(`c${n}`);
      if (fails(n)) assert.equal(got.type, "errored");
      else assert.equal(got.message.content[0].text, `echo q${n}`);
    }
    await assert.rejects(client.messages.batches.create({ requests: [requests[0], requests[0]] }), Anthropic.BadRequestError);
    await client.messages.batches.delete(made.id);
  },
};

await Promise.all(
  Object.entries(works).map(async ([what, work]) => {
    try {
      await work();
      console.log(JSON.stringify({ what }));
    } catch (error) {
      console.log(JSON.stringify({ what, error: String(error.stack ?? error).slice(0, 2000) }));
    }
  }),
);
