// A small, safe part of Markdown as DOM nodes: paragraphs, headings, lists, code, bold, italics, and citations.
// No images and no links but citations, whose targets come from the server's annotations, never from the text.

/** Replace the children of `target`. `annotations` positions count characters (code points), as the server does. */
export function renderAnswer(target, text, annotations) {
  const linked = withMarks(text, annotations);
  target.replaceChildren(...blocksOf(linked.text, linked.links));
}

// Cited spans are replaced by private-use characters, so that Markdown cannot cut through them.
const FIRST_MARK = 0xe000;
const MARK = /[\ue000-\uefff]/;

function withMarks(text, annotations) {
  const characters = Array.from(text.replace(/[\ue000-\uefff]/g, "\ufffd"));
  const links = new Map();
  for (const annotation of annotations) {
    const { url, title, start_index: start, end_index: end } = annotation.url_citation;
    if (links.has(start) || links.size > 4000) continue;
    links.set(start, { url, title, start, end, label: characters.slice(start, end).join("") });
  }
  const ordered = [...links.values()].sort((a, b) => b.start - a.start);
  ordered.forEach((link, index) => {
    link.mark = String.fromCharCode(FIRST_MARK + index);
    characters.splice(link.start, link.end - link.start, link.mark);
  });
  return { text: characters.join(""), links: new Map(ordered.map((link) => [link.mark, link])) };
}

function blocksOf(text, links) {
  const blocks = [];
  let list = null;
  let code = null;
  let paragraph = null;
  const close = () => {
    list = paragraph = null;
  };
  for (const line of text.split("\n")) {
    if (/^\s*```/.test(line)) {
      close();
      code = code ? null : append(blocks, "pre");
      continue;
    }
    if (code) {
      code.append(`${line}\n`);
      continue;
    }
    const heading = /^#{1,6}\s+(.*)$/.exec(line);
    const item = /^\s*(?:[-*+•]|(\d+)[.)])\s+(.*)$/.exec(line);
    if (!line.trim()) close();
    else if (heading) {
      close();
      append(blocks, "h3").append(...inline(heading[1], links));
    } else if (item) {
      paragraph = null;
      const tag = item[1] ? "ol" : "ul";
      if (!list || list.localName !== tag) list = startList(blocks, tag, item[1]);
      const row = document.createElement("li");
      row.append(...inline(item[2], links));
      list.append(row);
    } else {
      list = null;
      if (paragraph) paragraph.append(document.createElement("br"));
      else paragraph = append(blocks, "p");
      paragraph.append(...inline(line, links));
    }
  }
  return blocks;
}

function append(blocks, tag) {
  const made = document.createElement(tag);
  blocks.push(made);
  return made;
}

function startList(blocks, tag, first) {
  const list = append(blocks, tag);
  if (first) list.start = Number(first);
  return list;
}

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|[\ue000-\uefff])/;

function inline(text, links) {
  return text.split(INLINE).filter(Boolean).map((piece) => inlineNode(piece, links));
}

function inlineNode(piece, links) {
  if (MARK.test(piece) && piece.length === 1 && links.has(piece)) return citation(links.get(piece));
  if (piece.length > 2 && piece.startsWith("`") && piece.endsWith("`")) return wrapped("code", [piece.slice(1, -1)]);
  if (piece.length > 4 && piece.startsWith("**") && piece.endsWith("**")) {
    return wrapped("strong", inline(piece.slice(2, -2), links));
  }
  if (piece.length > 2 && /^\*[^*]+\*$/.test(piece)) return wrapped("em", inline(piece.slice(1, -1), links));
  return document.createTextNode(piece);
}

function wrapped(tag, children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

function citation(link) {
  const made = document.createElement("a");
  const target = new URL(link.url, location.origin);
  made.className = "cite";
  made.textContent = link.label;
  made.title = link.title;
  made.href = target.pathname + target.hash;
  made.target = "_blank";
  made.rel = "noopener";
  return made;
}
