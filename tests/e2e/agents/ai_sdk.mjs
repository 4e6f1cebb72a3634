// A small agent of the Vercel AI SDK: node ai_sdk.mjs openai|chat|anthropic|google BASE MODEL think|plain stream|whole PROMPT. The key is in AGENT_KEY.
import { execSync } from "node:child_process";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const [as, base, name, think, stream, prompt] = process.argv.slice(2);
const apiKey = process.env.AGENT_KEY;
const model = {
  openai: () => createOpenAI({ baseURL: `${base}/v1`, apiKey })(name),
  chat: () => createOpenAI({ baseURL: `${base}/v1`, apiKey }).chat(name),
  anthropic: () => createAnthropic({ baseURL: `${base}/v1`, apiKey })(name),
  google: () => createGoogleGenerativeAI({ baseURL: `${base}/v1beta`, apiKey })(name),
}[as]();
const thinking = {
  openai: { reasoningEffort: "medium", reasoningSummary: "auto" },
  anthropic: { thinking: { type: "enabled", budgetTokens: 2000 } },
  google: { thinkingConfig: { includeThoughts: true, thinkingLevel: "high" } },
};
const bash = tool({
  description: "Runs a command",
  inputSchema: jsonSchema({ type: "object", properties: { command: { type: "string" } }, required: ["command"], additionalProperties: false }),
  execute: async ({ command }) => execSync(command, { encoding: "utf8" }),
});
const ask = {
  model,
  prompt,
  system: "You run what you are asked to run.",
  tools: { bash },
  stopWhen: stepCountIs(6),
  maxRetries: 0,
  ...(think === "think" ? { providerOptions: { openai: thinking.openai, anthropic: thinking.anthropic, google: thinking.google } } : {}),
};
if (stream === "stream") {
  let failed = null;
  const streamed = streamText({ ...ask, onError: ({ error }) => (failed = error) });
  for await (const piece of streamed.textStream) process.stdout.write(piece);
  if (failed) throw failed;
} else {
  console.log((await generateText(ask)).text);
}
