// The page of `palisade ui`. What comes from the cluster was partly written by agents: it becomes text
// (textContent) and nothing else; no address, no markup and no style is ever made of it.
"use strict";

const main = document.getElementById("main");
const state = document.getElementById("state");
const kRefresh = 5000;
const kMostRows = 3000;
let asked = 0;
let timer = 0;

function make(tag, words, text) {
  const out = document.createElement(tag);
  if (words) out.className = words;
  if (text !== undefined) out.textContent = String(text);
  return out;
}

function put(parent, ...children) {
  parent.append(...children);
  return parent;
}

function row(cells) {
  const out = make("tr");
  for (const cell of cells) {
    const td = make("td", cell.words || "");
    if (cell.node) td.append(cell.node);
    else td.textContent = String(cell.text ?? "");
    out.append(td);
  }
  return out;
}

function table(titles, rows) {
  const head = make("tr");
  for (const title of titles) head.append(make("th", "", title));
  return put(make("table"), put(make("thead"), head), put(make("tbody"), ...rows));
}

function card(title, value, words) {
  return put(make("div", "card"), make("b", words || "", value), make("span", "", title));
}

function tally(phase, count) {
  return card(phase, count, count > 0 ? words(phase) : "");
}

function words(phase) {
  if (phase === "Running" || phase === "Succeeded") return "good";
  return phase === "Failed" || phase === "Expired" ? "bad" : "odd";
}

// The place within this page: the names go through encodeURIComponent, so no other address can come of it.
function sessionLink(one) {
  const out = make("a", "", one.namespace + "/" + one.name);
  out.setAttribute("href", "#session/" + encodeURIComponent(one.namespace) + "/" + encodeURIComponent(one.name));
  return out;
}

async function ask(path) {
  const reply = await fetch("api/" + path, {credentials: "omit", redirect: "error"});
  const data = await reply.json().catch(() => ({error: "the answer cannot be read (" + reply.status + ")"}));
  if (!reply.ok) throw new Error(data.error || String(reply.status));
  return data;
}

function showSessions(data) {
  const cards = make("div", "cards");
  for (const phase of ["Running", "Pending", "Succeeded", "Failed", "Expired", "Suspended"])
    cards.append(tally(phase, data.workspaces.filter((one) => one.phase === phase).length));
  const rows = data.workspaces.slice(0, kMostRows).map((one) => row([
    {node: sessionLink(one), words: "kind"}, {text: one.phase, words: "kind " + words(one.phase)}, {text: one.reason, words: "kind"}, {text: one.isolated, words: one.isolated === "True" ? "good" : "odd"},
    {text: one.repository}, {text: one.branch}, {text: one.commits, words: "number"}, {text: one.refusals, words: one.refusals > 0 ? "number bad" : "number"},
    {text: one.created, words: "time"}]));
  main.replaceChildren(cards, table(["Session", "Phase", "Why", "Isolated", "Repository", "Branch", "Commits", "Refused", "Made"], rows));
  if (data.workspaces.length === 0) main.append(make("p", "", "There is no AgentWorkspace that you may see."));
}

function showSession(data) {
  const one = data.workspace;
  const cards = put(make("div", "cards"), card("phase", one.phase, words(one.phase)), card("LLM and git requests", one.requests ?? "-"), card("commits", one.commits ?? 0),
    card("programs", data.totals.programs), card("refused", data.totals.refused, data.totals.refused > 0 ? "bad" : "good"), card("findings", data.totals.findings, data.totals.findings > 0 ? "odd" : ""));
  const facts = [["Repository", one.repository], ["Branch", one.branch], ["Model", one.model], ["Task", one.task], ["Why", one.reason + (one.message ? ": " + one.message : "")],
    ["Isolated", one.isolated + (one.isolation ? ": " + one.isolation : "")]];
  const rows = data.timeline.slice(-kMostRows).map((event) => row([
    {text: event.time, words: "time"}, {text: event.kind, words: "kind " + ({bad: "bad", odd: "odd", good: "good"}[event.tone] || "")}, {text: event.text, words: "what"}]));
  main.replaceChildren(make("h2", "", one.namespace + "/" + one.name), cards, table(["", ""], facts.map(([name, value]) => row([{text: name}, {text: value, words: "what"}]))),
    make("h2", "", "What happened"), table(["Time", "", "What"], rows));
  for (const note of data.notes) main.append(make("p", "error", note));
}

function showFindings(data) {
  const cards = put(make("div", "cards"), card("judged", data.judged), card("would be rejected", data.rejected, data.rejected > 0 ? "bad" : "good"),
    card("let through", data.tolerated, data.tolerated > 0 ? "odd" : ""));
  const controls = data.controls.map((one) => row([{text: one.id}, {text: one.title}, {text: one.objects, words: one.objects > 0 ? "number bad" : "number"}]));
  const offenders = data.offenders.slice(0, kMostRows).map((one) => row([{text: one.object}, {text: one.control}, {text: one.effect, words: one.effect === "deny" ? "bad" : "odd"},
    {text: one.path, words: "what"}, {text: one.message, words: "what"}]));
  main.replaceChildren(cards, make("h2", "", "Findings"), table(["Object", "Control", "Effect", "Field", "What"], offenders), make("h2", "", "Controls"),
    table(["Control", "Asks for", "Broken by"], controls));
  for (const note of data.notes) main.append(make("p", "error", note));
}

function view() {
  const parts = location.hash.slice(1).split("/");
  if (parts[0] === "session" && parts.length === 3) {
    const query = "session?namespace=" + encodeURIComponent(decodeURIComponent(parts[1])) + "&name=" + encodeURIComponent(decodeURIComponent(parts[2]));
    return [query, showSession];
  }
  return parts[0] === "findings" ? ["findings", showFindings] : ["workspaces", showSessions];
}

async function refresh() {
  clearTimeout(timer);
  const turn = ++asked;
  try {
    const [path, show] = view();
    const data = await ask(path);
    if (turn !== asked) return;
    show(data);
    state.textContent = "as of " + new Date().toLocaleTimeString();
  } catch (error) {
    if (turn !== asked) return;
    state.textContent = "not up to date";
    main.replaceChildren(make("p", "error", error.message));
  }
  document.documentElement.dataset.shown = String(turn);
  timer = setTimeout(refresh, kRefresh);
}

addEventListener("hashchange", refresh);
refresh();
