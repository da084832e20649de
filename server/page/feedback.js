// Thumbs under an answer, and the dialog that asks what is wrong. Only where the operator keeps texts.

const SVG = "http://www.w3.org/2000/svg";
const THUMB = "M7 11v9H4v-9h3zm0 0 4.2-8c1.5 0 2.6 1.1 2.6 2.6V9h4.9c1.3 0 2.2 1.1 2 2.4l-1.2 6.8c-.2 1-1 1.8-2.1 1.8H7";
const element = (id) => document.getElementById(id);
let pending = null;

/** A bar with two thumbs. `send(body)` posts to /v1/feedback and throws an Error that a person can read. */
export function feedbackBar(answer, send) {
  const bar = document.createElement("p");
  bar.className = "feedback";
  const up = thumb("up", "This answer is good");
  const down = thumb("down", "Something is wrong with this answer");
  const told = document.createElement("span");
  told.setAttribute("role", "status");
  bar.append(up, down, told);
  const rate = async (chosen, body) => {
    up.disabled = down.disabled = true;
    try {
      await send({ request_id: answer.requestId, ...body });
      chosen.classList.add("chosen");
      told.className = "";
      told.textContent = "Thank you.";
    } catch (error) {
      up.disabled = down.disabled = false;
      told.className = "error";
      told.textContent = error.message;
    }
  };
  up.addEventListener("click", () => rate(up, { rating: "up" }));
  down.addEventListener("click", () => ask(answer.text, (body) => rate(down, { rating: "down", ...body })));
  return bar;
}

function thumb(way, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `thumb ${way}`;
  button.title = label;
  button.setAttribute("aria-label", label);
  const icon = document.createElementNS(SVG, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", THUMB);
  icon.append(path);
  button.append(icon);
  return button;
}

function ask(text, onSend) {
  pending = { text, onSend };
  element("fault-form").reset();
  element("edited").value = text;
  element("fault").showModal();
}

element("fault-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const body = {};
  if (form.get("fault")) body.fault = form.get("fault");
  if (form.get("comment").trim()) body.comment = form.get("comment").trim();
  const edited = form.get("edited").replace(/\r\n/g, "\n").trim();
  if (edited && edited !== pending.text.trim()) body.edited_answer = edited;
  element("fault").close();
  pending.onSend(body);
});
element("fault-cancel").addEventListener("click", () => element("fault").close());
