// The built-in chat page. What a model writes is only ever put into text nodes; there is no innerHTML anywhere.
import { feedbackBar } from "/page/feedback.js";
import { renderAnswer } from "/page/render.js";

const element = (id) => document.getElementById(id);
const KEY = "housevoice.key";
const VOICE = "housevoice.voice";
let messages = [];
let running = null;
let voices = [];
let keepsFeedback = false;

const key = () => sessionStorage.getItem(KEY) || "";
const headers = () => ({ Authorization: `Bearer ${key()}`, "Content-Type": "application/json" });

async function request(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers() });
  if (!response.ok) throw new Error(await reasonOf(response));
  return response;
}

async function reasonOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

async function open() {
  const session = await (await request("/api/session", { method: "POST" })).json();
  keepsFeedback = session.keeps_feedback;
  element("training").hidden = session.role !== "admin";
  const listed = await (await request("/v1/models")).json();
  voices = listed.data.filter((model) => !model.id.includes("@"));
  voices.sort((a, b) => Number(a.parent === null) - Number(b.parent === null));
  showVoices();
  show(true);
  element("question").focus();
}

function showVoices() {
  const select = element("voice");
  select.replaceChildren(...voices.map((model) => new Option(model.name || model.id, model.id)));
  const last = sessionStorage.getItem(VOICE);
  if (voices.some((model) => model.id === last)) select.value = last;
  select.disabled = false;
  describe();
}

function describe() {
  const chosen = voices.find((model) => model.id === element("voice").value);
  element("about").textContent = chosen ? chosen.description || "" : "";
}

function show(isOpen) {
  element("entry").hidden = isOpen;
  element("ask").hidden = !isOpen;
  element("leave").hidden = !isOpen;
  element("new").hidden = !isOpen || messages.length === 0;
  element("welcome").hidden = !isOpen || messages.length > 0;
  if (!isOpen) element("key").focus();
}

function addItem(className, ...children) {
  const item = document.createElement("li");
  item.className = className;
  item.append(...children);
  element("conversation").append(item);
  return item;
}

function block(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

async function ask(question) {
  const voice = element("voice").value;
  messages.push({ role: "user", content: question });
  show(true);
  addItem("user", question);
  const body = block("div", "answer waiting");
  const item = addItem("assistant", block("p", "who", element("voice").selectedOptions[0].text), body);
  item.scrollIntoView({ block: "nearest" });
  running = new AbortController();
  setRunning(true);
  const answer = { text: "", annotations: [], sources: [], retrieved: [], requestId: "", isWhole: false };
  try {
    await stream(voice, answer, () => renderAnswer(body, answer.text, []));
  } catch (error) {
    if (error.name !== "AbortError") item.append(block("p", "error", error.message));
  }
  body.classList.remove("waiting");
  finish(item, body, answer);
  setRunning(false);
}

function finish(item, body, answer) {
  renderAnswer(body, answer.text, answer.annotations);
  if (answer.sources.length) item.append(sourceList("Sources", answer.sources));
  else if (answer.retrieved.length) item.append(sourceList("Read, but not cited", answer.retrieved));
  if (keepsFeedback && answer.isWhole && answer.text) item.append(feedbackBar(answer, giveFeedback));
  if (answer.text) messages.push({ role: "assistant", content: answer.text });
  else messages.pop();
  item.scrollIntoView({ block: "nearest" });
}

function giveFeedback(body) {
  return request("/v1/feedback", { method: "POST", body: JSON.stringify(body) });
}

async function stream(model, answer, onText) {
  const response = await request("/v1/chat/completions", {
    method: "POST",
    body: JSON.stringify({ model, messages, stream: true }),
    signal: running.signal,
  });
  answer.requestId = response.headers.get("x-request-id");
  for await (const event of eventsOf(response)) {
    if (event.error) throw new Error(event.error.message);
    const delta = event.choices[0]?.delta ?? {};
    answer.text += delta.content || delta.refusal || "";
    answer.annotations.push(...(delta.annotations || []));
    answer.sources = event.housevoice?.sources || answer.sources;
    answer.retrieved = event.housevoice?.retrieved || answer.retrieved;
    if (delta.content) onText();
  }
  answer.isWhole = true;
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (part === "data: [DONE]") return;
      if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
    }
  }
}

function sourceList(title, sources) {
  const panel = block("details", "sources");
  panel.open = title === "Sources";
  panel.append(block("summary", "", title));
  const list = document.createElement("ul");
  for (const source of sources) {
    const place = source.location ? `${source.title}, ${source.location}` : source.title;
    const row = document.createElement("li");
    const link = block("a", "", `[${source.number}] ${place}`);
    link.href = ownPath(source.url);
    link.target = "_blank";
    link.rel = "noopener";
    row.append(link);
    list.append(row);
  }
  panel.append(list);
  return panel;
}

function ownPath(url) {
  const parsed = new URL(url, location.origin);
  return parsed.pathname + parsed.hash;
}

function setRunning(isRunning) {
  element("stop").hidden = !isRunning;
  element("send").hidden = isRunning;
  element("voice").disabled = isRunning;
  if (!isRunning) element("question").focus();
}

function fitQuestion() {
  const box = element("question");
  box.rows = Math.min(8, box.value.split("\n").length);
}

element("entry").addEventListener("submit", async (event) => {
  event.preventDefault();
  element("entry-error").textContent = "";
  sessionStorage.setItem(KEY, element("key").value.trim());
  try {
    await open();
    element("key").value = "";
  } catch (error) {
    sessionStorage.removeItem(KEY);
    element("entry-error").textContent = error.message;
  }
});

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = element("question").value.trim();
  if (!question || !element("stop").hidden) return;
  element("question").value = "";
  fitQuestion();
  ask(question);
});

element("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element("ask").requestSubmit();
  }
});
element("question").addEventListener("input", fitQuestion);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !element("fault").open) running?.abort();
});
element("stop").addEventListener("click", () => running?.abort());
element("voice").addEventListener("change", () => {
  sessionStorage.setItem(VOICE, element("voice").value);
  describe();
});
element("new").addEventListener("click", () => {
  running?.abort();
  messages = [];
  element("conversation").replaceChildren();
  show(true);
  element("question").focus();
});
element("leave").addEventListener("click", async () => {
  await request("/api/session", { method: "DELETE" }).catch(() => {});
  sessionStorage.removeItem(KEY);
  location.reload();
});

if (key()) {
  open().catch((error) => {
    show(false);
    element("entry-error").textContent = error.message;
  });
} else {
  show(false);
}
