// The JavaScript half of dialects.py: prints one JSON a line, {what, tool, got: [thoughts, words, args, input, output]}. A third argument
// names a real local model, which is asked for a short answer by every client: those lines have real: true.
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import { Ollama } from "ollama";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, streamText, tool as aiTool } from "ai";

const [base, models, local] = [process.argv[2], JSON.parse(process.argv[3]), process.argv[4]];
const ASK = "How is the weather in Oslo?";
const schema = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city"] };
const chatTools = [{ type: "function", function: { name: "weather", description: "d", parameters: schema } }];

const clients = {
  "openai chat": async (model, tool, stream, limit) => {
    const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "k", maxRetries: 0 });
    const ask = { model, messages: [{ role: "user", content: ASK }], ...(limit ? { max_tokens: limit } : {}), ...(tool ? { tools: chatTools } : {}) };
    if (!stream) {
      const whole = await client.chat.completions.create(ask);
      const message = whole.choices[0].message;
      const args = message.tool_calls ? JSON.parse(message.tool_calls[0].function.arguments) : null;
      return [message.reasoning_content ?? null, message.content, args, whole.usage.prompt_tokens, whole.usage.total_tokens - whole.usage.prompt_tokens];
    }
    let [words, args, usage] = ["", "", null];
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
      usage = chunk.usage ?? usage;
      words += chunk.choices[0]?.delta.content ?? "";
      args += chunk.choices[0]?.delta.tool_calls?.[0]?.function?.arguments ?? "";
    }
    return [null, words, args ? JSON.parse(args) : null, usage.prompt_tokens, usage.total_tokens - usage.prompt_tokens];
  },
  anthropic: async (model, tool, stream, limit) => {
    const client = new Anthropic({ baseURL: base, apiKey: "k", maxRetries: 0 });
    const tools = tool ? { tools: [{ name: "weather", description: "d", input_schema: schema }] } : {};
    const ask = { model, max_tokens: limit ?? 4000, messages: [{ role: "user", content: ASK }], ...tools };
    const whole = stream ? await client.messages.stream(ask).finalMessage() : await client.messages.create(ask);
    const words = whole.content.filter((b) => b.type === "text").map((b) => b.text).join("");
    const call = whole.content.find((b) => b.type === "tool_use");
    return [null, words, call?.input ?? null, whole.usage.input_tokens, whole.usage.output_tokens];
  },
  "google genai": async (model, tool, stream, limit) => {
    const client = new GoogleGenAI({ apiKey: "k", httpOptions: { baseUrl: base } });
    const config = tool ? { tools: [{ functionDeclarations: [{ name: "weather", description: "d", parametersJsonSchema: schema }] }] } : {};
    const ask = { model, contents: ASK, config: limit ? { ...config, maxOutputTokens: limit } : config };
    const answers = [];
    if (stream) for await (const answer of await client.models.generateContentStream(ask)) answers.push(answer);
    else answers.push(await client.models.generateContent(ask));
    const parts = answers.flatMap((a) => a.candidates?.[0]?.content?.parts ?? []);
    const words = parts.filter((p) => !p.thought).map((p) => p.text ?? "").join("");
    const usage = answers.at(-1).usageMetadata;
    const call = parts.find((p) => p.functionCall)?.functionCall.args ?? null;
    return [null, words, call, usage.promptTokenCount, usage.candidatesTokenCount + (usage.thoughtsTokenCount ?? 0)];
  },
  ollama: async (model, tool, stream, limit) => {
    const client = new Ollama({ host: base });
    const ask = { model, messages: [{ role: "user", content: ASK }], ...(limit ? { options: { num_predict: limit } } : {}), ...(tool ? { tools: chatTools } : {}) };
    const answers = [];
    if (stream) for await (const answer of await client.chat({ ...ask, stream: true })) answers.push(answer);
    else answers.push(await client.chat(ask));
    const words = answers.map((a) => a.message.content).join("");
    const call = answers.flatMap((a) => a.message.tool_calls ?? [])[0]?.function.arguments ?? null;
    return [null, words, call, answers.at(-1).prompt_eval_count, answers.at(-1).eval_count];
  },
  "ai (responses)": async (model, tool, stream, limit) => {
    const provider = createOpenAI({ baseURL: `${base}/v1`, apiKey: "k" });
    const tools = tool ? { tools: { weather: aiTool({ description: "d", inputSchema: jsonSchema(schema) }) } } : {};
    const ask = { model: provider(model), prompt: ASK, maxRetries: 0, ...(limit ? { maxOutputTokens: limit } : {}), ...tools };
    if (!stream) {
      const whole = await generateText(ask);
      return [null, whole.text, whole.toolCalls[0]?.input ?? null, whole.usage.inputTokens, whole.usage.outputTokens];
    }
    const streamed = streamText(ask);
    let words = "";
    for await (const piece of streamed.textStream) words += piece;
    const [calls, usage] = [await streamed.toolCalls, await streamed.usage];
    return [null, words, calls[0]?.input ?? null, usage.inputTokens, usage.outputTokens];
  },
};

const tell = async (what, tool, real, asked) => {
  try {
    console.log(JSON.stringify({ what, tool, real, got: await asked() }));
  } catch (error) {
    console.log(JSON.stringify({ what, tool, real, error: String(error.stack ?? error).slice(0, 600) }));
  }
};

for (const [name, ask] of Object.entries(clients)) {
  for (const model of models) {
    for (const tool of [false, true]) {
      for (const stream of [false, true]) {
        const what = `js ${name} to ${model}${tool ? ", tools" : ""}${stream ? ", streamed" : ""}`;
        await tell(what, tool, false, () => ask(model, tool, stream));
      }
    }
  }
  for (const stream of local ? [false, true] : []) {
    await tell(`js ${name} to llama.cpp${stream ? ", streamed" : ""}`, false, true, () => ask(local, false, stream, 24));
  }
}
