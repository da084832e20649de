// The page of fine-tuning jobs, for admin keys. Whatever a job tells is only ever put into text nodes.
const element = (id) => document.getElementById(id);
const KEY = "housevoice.key";
const REFRESH_MS = 2000;
const ACTIONS = { queued: ["pause", "cancel"], running: ["pause", "cancel"], paused: ["resume", "cancel"] };
const shown = {};
let chosen = "";

async function request(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  if (!key) throw new Error("Enter an admin key on the chat page first, then open this page in the same tab.");
  const response = await fetch(path, { ...options, headers: { Authorization: `Bearer ${key}` } });
  if (response.ok) return response.json();
  const body = await response.json().catch(() => null);
  throw new Error(body?.error?.message || `The server answered ${response.status}.`);
}

async function refresh() {
  try {
    const listed = await request("/api/jobs");
    element("jobs").hidden = listed.data.length === 0;
    if (isNew("jobs", listed)) element("jobs").tBodies[0].replaceChildren(...listed.data.map(rowOf));
    say(listed.data.length ? "" : "No fine-tuning job was ordered yet. docs/adapters.md shows how.");
    if (chosen) await showEvents();
  } catch (error) {
    say(error.message);
  }
}

// What has not changed is left alone, with the focus and the selection in it.
function isNew(place, value) {
  const text = JSON.stringify(value);
  if (shown[place] === text) return false;
  shown[place] = text;
  return true;
}

function rowOf(job) {
  const row = document.createElement("tr");
  const { state, num_rows: rows } = job.housevoice;
  const opener = button(job.id, () => choose(job.id));
  opener.className = "id";
  const actions = (ACTIONS[state] || []).map((action) => button(action, () => act(job.id, action)));
  const cells = [opener, job.model, state, timeOf(job.created_at), job.owner, rows, outcomeOf(job)];
  row.append(...cells.map((content) => cell(content)), cell(...actions));
  row.children[2].className = `state-${state}`;
  return row;
}

function cell(...contents) {
  const made = document.createElement("td");
  made.append(...contents.map((content) => (content instanceof Node ? content : String(content))));
  return made;
}

function button(text, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", onClick);
  return made;
}

function outcomeOf(job) {
  if (job.fine_tuned_model) return job.fine_tuned_model;
  if (job.error) return job.error.message;
  return job.estimated_finish ? `until about ${timeOf(job.estimated_finish)}` : "";
}

async function act(id, action) {
  if (action === "cancel" && !confirm("Cancel this job for good?")) return;
  try {
    await request(`/api/jobs/${id}/${action}`, { method: "POST" });
    await refresh();
  } catch (error) {
    say(error.message);
  }
}

async function choose(id) {
  chosen = id;
  await refresh();
  element("details").scrollIntoView({ block: "nearest" });
}

async function showEvents() {
  const job = await request(`/api/jobs/${chosen}`);
  element("details").hidden = false;
  element("chosen").textContent = job.id;
  if (isNew("events", job.events)) element("events").replaceChildren(...job.events.map(eventOf));
}

function eventOf(event) {
  const item = document.createElement("li");
  item.className = `level-${event.level}`;
  const time = document.createElement("time");
  time.textContent = timeOf(event.created_at);
  item.append(time, event.message);
  return item;
}

function timeOf(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
}

function say(text) {
  element("message").textContent = text;
  element("message").hidden = text === "";
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, REFRESH_MS);
}

keepFresh();
