// The console: one page over the API of the admin listener. It keeps nothing but the key, and that
// only for as long as its tab is open. Whatever a client has chosen (names, rooms, records) becomes text
// nodes, never markup.

const main = document.getElementById("main");
const KEY = "symple-admin-key";
/** How many rows a page of a list has. */
const ROWS = 100;
/** How often the graphs get a point, in milliseconds, and how many points they have: 15 minutes. */
const EVERY = 5000;
const POINTS = 180;
/** How many lines the lists of events and frames keep. */
const LINES = 500;

// ---------------------------------------------------------------- elements

/** An element. Its attributes are set, functions listen, and all else becomes text. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const show = (...children) => main.replaceChildren(...children);

function toast(text, bad = false) {
  const made = el("div", { class: bad ? "toast bad" : "toast" }, text);
  document.getElementById("toasts").append(made);
  setTimeout(() => made.remove(), bad ? 8000 : 4000);
}

/**
 * Asks before something is done; the reason, or null if it is not to be done. Each question has a dialog
 * of its own: the event that tells of a dialog's end comes later, and may be taken for that of the next.
 */
function ask(title, text, action, withReason) {
  return new Promise((resolve) => {
    const reason = el("input", { id: "ask-reason", maxlength: "200", autocomplete: "off" });
    let dialog = null;
    const end = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    dialog = el("dialog", { "aria-labelledby": "ask-title", cancel: () => end(null) },
      el("form", { submit: (event) => { event.preventDefault(); end(reason.value); } },
        el("h2", { id: "ask-title" }, title),
        el("p", {}, text),
        withReason ? el("label", { class: "field" }, "Reason, as the client is told", reason) : null,
        el("div", { class: "buttons" },
          el("button", { type: "button", id: "ask-no", class: "quiet", click: () => end(null) }, "Cancel"),
          el("button", { id: "ask-yes", class: "danger" }, action))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

// ---------------------------------------------------------------- numbers

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const number = (value) => whole.format(value);

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) [value, at] = [value / 1024, at + 1];
  return `${value < 10 && at > 0 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

const rate = (value) => `${value > 0 && value < 10 ? value.toFixed(1) : short.format(value)}/s`;
const count = (value, one, more) => `${number(value)} ${value === 1 ? one : more}`;
const share = (value) => `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`;

function span(seconds) {
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${Math.floor(seconds) % 60} s`;
}

const clock = (date = new Date()) => date.toTimeString().slice(0, 8);
const named = (node) => (node ? node.slice(0, 8) : "this node");

// ---------------------------------------------------------------- the API

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { authorization: `Bearer ${key}`, ...more } : more;
}

/** Asks for a path below that of the page, and gives the response if it is good. */
async function request(path, options = {}) {
  const response = await fetch(new URL(path, location.href.split(/[?#]/)[0]), {
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    ...options,
    headers: headers(options.headers),
  });
  if (response.ok) return response;
  let message = `${response.status} ${response.statusText}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // It has no reason in JSON.
  }
  if (response.status === 401) login(sessionStorage.getItem(KEY) != null);
  throw new Refused(response.status, message);
}

const get = async (path, signal) => (await request(path, { signal })).json();

async function call(method, path, body, once = false) {
  const more = body === undefined ? {} : { "content-type": "application/json" };
  if (once) {
    const random = crypto.getRandomValues(new Uint8Array(16));
    more["idempotency-key"] = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  return (await request(path, { method, headers: more, body: text })).json();
}

/** Does something, and tells what has become of it. */
async function act(does, done) {
  try {
    const answer = await does();
    toast(done(answer));
    return true;
  } catch (error) {
    if (error.status !== 401) toast(error.message, true);
    return false;
  }
}

const query = (parameters) => {
  const given = Object.entries(parameters).filter(([, value]) => value);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};
const part = encodeURIComponent;

// ---------------------------------------------------------------- what is polled

/** The last quarter of an hour, one sample each five seconds. */
const history = [];
let node = null;
let nodes = [];
let redis = null;
const watchers = new Set();

/** The metrics of a page of OpenMetrics: by name, sums over the labels; and by name with labels. */
function parseMetrics(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const space = line.lastIndexOf(" ");
    const value = Number(line.slice(space + 1));
    const full = line.slice(0, space);
    const brace = full.indexOf("{");
    const name = brace < 0 ? full : full.slice(0, brace);
    sums.set(name, (sums.get(name) ?? 0) + value);
    if (brace >= 0) {
      for (const label of full.slice(brace + 1, -1).split(",")) {
        const named = `${name}{${label}}`;
        sums.set(named, (sums.get(named) ?? 0) + value);
      }
    }
  }
  return sums;
}

/** What has been before the page was opened, as far as the server remembers. */
async function remember() {
  const { columns, samples } = await get("v1/history");
  const known = samples.map((sample) => Object.fromEntries(columns.map((name, at) => [name, sample[at]])));
  const first = history.length ? history[0].at : Infinity;
  history.unshift(...known.filter(({ at }) => at < first).slice(-POINTS));
}

async function poll() {
  try {
    const [status, members, page] = await Promise.all([get("v1/node"), get("v1/nodes"), request("metrics")]);
    const metrics = parseMetrics(await page.text());
    const of = (name) => metrics.get(name) ?? 0;
    [node, nodes] = [status, members.nodes];
    redis = metrics.has("symple_redis_up") ? of("symple_redis_up") === 1 : null;
    history.push({
      at: Date.now(),
      peers: status.peers,
      clusterPeers: status.cluster_peers,
      rooms: status.rooms,
      connections: of("symple_connections"),
      paused: of("symple_paused_connections"),
      framesIn: of('symple_frames_total{direction="in"}'),
      framesOut: of("symple_deliveries_total"),
      bytesIn: of('symple_traffic_bytes_total{direction="in"}'),
      bytesOut: of('symple_traffic_bytes_total{direction="out"}'),
      queue: of('symple_queue_bytes{queue="connections"}'),
      refusals: of("symple_refusals_total"),
      cpu: of("process_cpu_seconds_total"),
      memory: of("process_resident_memory_bytes"),
      lag: of("symple_cluster_lag_seconds"),
    });
    if (history.length > POINTS + 1) history.shift();
    setState(status.ready ? "good" : "warn", status.ready ? "up" : NOT_READY[status.reason] ?? "not ready");
  } catch (error) {
    if (error.status === 401) return;
    setState("bad", "no answer");
  }
  for (const watch of watchers) watch();
}

/** Why a node is not ready, for people. */
const NOT_READY = { draining: "draining", redis: "not ready: Redis is away", catching_up: "not ready: catching up" };

function setState(kind, text) {
  const state = document.getElementById("state");
  state.className = `pill ${kind}`;
  if (state.textContent !== text) state.textContent = text;
}

let timer = null;
function startPolling() {
  if (timer != null) return;
  timer = setInterval(poll, EVERY);
  // Without what has been, the graphs begin now.
  if (history.length === 0) remember().catch(() => {}).then(poll);
  else poll();
}

function stopPolling() {
  clearInterval(timer);
  timer = null;
}

/** Per second, between each two samples, of a counter. */
function perSecond(field) {
  return history.slice(1).map((now, at) => {
    const before = history[at];
    const seconds = (now.at - before.at) / 1000;
    return { at: now.at, value: seconds > 0 ? Math.max(0, (now[field] - before[field]) / seconds) : 0 };
  });
}

const plain = (field) => history.map((sample) => ({ at: sample.at, value: sample[field] }));

// ---------------------------------------------------------------- graphs

function chart(title, form, series) {
  const picture = svg("svg", { viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img" });
  const keys = series.map(({ label }, at) => el("span", { class: `key ${at ? "second" : "first"}` }, label));
  const top = el("span", {}, "");
  const card = el("section", { class: "card chart" }, el("h2", {}, title, ...keys), picture,
    el("div", { class: "axis" }, el("span", {}, "15 min ago"), top, el("span", {}, "now")));
  const draw = () => {
    const lines = series.map(({ values }) => values());
    const most = Math.max(...lines.flat().map((point) => point.value), 0);
    const scale = most > 0 ? most * 1.1 : 1;
    const end = Date.now();
    const x = (at) => (300 - ((end - at) / (EVERY * POINTS)) * 300).toFixed(1);
    const y = (value) => (99 - (value / scale) * 97).toFixed(1);
    const drawn = [25, 50, 75].map((at) => svg("line", { x1: 0, x2: 300, y1: at, y2: at }));
    lines.forEach((points, at) => {
      if (points.length === 0) return;
      const path = points.map((point, n) => `${n ? "L" : "M"}${x(point.at)} ${y(point.value)}`).join("");
      if (at === 0 && points.length > 1) {
        const area = `${path}L${x(points[points.length - 1].at)} 100L${x(points[0].at)} 100Z`;
        drawn.push(svg("path", { class: "area", d: area }));
      }
      drawn.push(svg("path", { class: at ? "second" : "first", d: path }));
    });
    picture.replaceChildren(...drawn);
    const last = lines.map((points) => form(points.length ? points[points.length - 1].value : 0));
    keys.forEach((key, at) => { key.textContent = `${series[at].label} ${last[at]}`.trim(); });
    picture.setAttribute("aria-label", `${title}: now ${last.join(" and ")}, at most ${form(most)}`);
    top.textContent = most > 0 ? `top ${form(most)}` : "";
  };
  return { card, draw };
}

function figure(label) {
  const value = el("div", { class: "value" }, "–");
  const note = el("div", { class: "note" }, "");
  const card = el("div", { class: "card figure" }, el("div", { class: "label" }, label), value, note);
  return { card, set: (text, more = "") => { value.textContent = text; note.textContent = more; } };
}

// ---------------------------------------------------------------- views

/** What must be ended when another view is opened. */
let leave = () => {};

function overview() {
  const figures = ["Peers", "Rooms", "Connections", "Waiting", "Refusals", "Redis"].map(figure);
  const [peers, rooms, connections, waiting, refusals, store] = figures;
  const charts = [
    chart("Peers", number, [{ label: "cluster", values: () => plain("clusterPeers") }, { label: "here", values: () => plain("peers") }]),
    chart("Frames", rate, [{ label: "in", values: () => perSecond("framesIn") }, { label: "out", values: () => perSecond("framesOut") }]),
    chart("Bytes", (value) => `${bytes(value)}/s`, [{ label: "in", values: () => perSecond("bytesIn") }, { label: "out", values: () => perSecond("bytesOut") }]),
    chart("Waiting in memory", bytes, [{ label: "", values: () => plain("queue") }]),
    chart("Processor", share, [{ label: "", values: () => perSecond("cpu") }]),
    chart("Memory", bytes, [{ label: "", values: () => plain("memory") }]),
  ];
  const about = el("p", { class: "soft" }, "");
  const rows = el("tbody");
  const watch = () => {
    const last = history[history.length - 1];
    if (!node || !last) return;
    about.textContent = `symple ${node.version}, ${node.protocol}, up ${span(node.uptime)}, listens on ${node.listen.map((one) => (one.encrypted ? "wss://" : "ws://") + one.address).join(", ") || "nothing of its own"}`;
    peers.set(number(last.clusterPeers), nodes.length > 1 ? `${number(last.peers)} on this node` : "");
    rooms.set(number(last.rooms));
    connections.set(number(last.connections), last.paused ? `${number(last.paused)} not read from` : "");
    waiting.set(bytes(last.queue), "for slow clients");
    const refused = perSecond("refusals");
    refusals.set(number(last.refusals), refused.length ? `now ${rate(refused[refused.length - 1].value)}` : "");
    store.set(redis == null ? "none" : redis ? "up" : "away", nodes.length > 1 ? `a node was last heard ${last.lag.toFixed(1)} s ago` : "");
    rows.replaceChildren(...nodes.map((one) => el("tr", {},
      el("td", { class: "mono" }, one.id ?? "this node"),
      el("td", {}, one.here && one.id ? el("span", { class: "pill" }, "this one") : ""),
      el("td", { class: "num" }, one.silence == null ? "" : `${one.silence.toFixed(1)} s ago`),
      el("td", { class: "num" }, number(one.peers)))));
    for (const { draw } of charts) draw();
  };
  show(
    el("div", { class: "head" }, el("h1", {}, "Overview")), about,
    el("div", { class: "grid" }, figures.map((one) => one.card)),
    el("section", { class: "card" }, el("h2", {}, "Nodes"), el("div", { class: "table" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", {}, "Id"), el("th", {}, ""), el("th", { class: "num" }, "Heard"), el("th", { class: "num" }, "Peers"))), rows))),
    el("div", { class: "grid charts" }, charts.map((one) => one.card)),
  );
  watchers.add(watch);
  watch();
  leave = () => watchers.delete(watch);
}

/**
 * A list in pages: only one page is ever in the document. `load` fetches a page from a cursor on;
 * pages of the API may be short, so some may make one here.
 */
function list({ columns, load, row, nothing, title, total, placeholder }) {
  const before = [];
  let cursor = null;
  let next = null;
  let typing = null;
  let asked = new AbortController();
  const rows = el("tbody");
  const empty = el("p", { class: "empty", hidden: true }, nothing);
  const where = el("span", {}, "");
  const search = el("input", {
    type: "search", placeholder, "aria-label": placeholder, autocomplete: "off", spellcheck: "false",
    input: () => { clearTimeout(typing); typing = setTimeout(() => restart(), 200); },
  });
  const previousButton = el("button", { type: "button", class: "quiet small", click: () => { cursor = before.pop(); fill(); } }, "Previous");
  const nextButton = el("button", { type: "button", class: "quiet small", click: () => { before.push(cursor); cursor = next; fill(); } }, "Next");
  const fill = async () => {
    asked.abort();
    asked = new AbortController();
    const { signal } = asked;
    try {
      let entries = [];
      next = cursor;
      do {
        const page = await load({ search: search.value.trim(), cursor: next, limit: ROWS - entries.length }, signal);
        entries = entries.concat(page.entries);
        next = page.next;
      } while (next && entries.length < ROWS);
      rows.replaceChildren(...entries.map(row));
      empty.hidden = entries.length > 0;
      const first = before.length * ROWS;
      where.textContent = entries.length ? `${number(first + 1)}–${number(first + entries.length)}` : "";
      if (entries.length && total?.() && !search.value.trim()) where.textContent += ` of ${number(total())}`;
      previousButton.disabled = before.length === 0;
      nextButton.disabled = !next;
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
      // A cursor belongs to the node that gave it.
      if (error.status === 400 && cursor) return restart();
      toast(error.message, true);
    }
  };
  const restart = () => { before.length = 0; cursor = null; return fill(); };
  const card = el("section", { class: "card" },
    el("div", { class: "table" }, el("table", { "aria-label": title },
      el("thead", {}, el("tr", {}, columns.map(({ name, kind }) => el("th", { scope: "col", class: kind }, name)))), rows)),
    empty,
    el("div", { class: "pager" }, where, el("div", { class: "buttons" }, previousButton, nextButton)));
  const refresh = el("button", { type: "button", class: "quiet", click: () => fill() }, "Refresh");
  fill();
  return { card, search: el("div", { class: "search" }, search), refresh, fill, restart, end: () => { clearTimeout(typing); asked.abort(); } };
}

const chips = (rooms, most = Infinity) => el("div", { class: "chips" },
  rooms.slice(0, most).map((room) => el("a", { class: "chip", href: `#/rooms/${part(room)}` }, el("span", { class: "clip" }, room))),
  rooms.length > most ? el("span", { class: "soft" }, `+${rooms.length - most}`) : null);

function peerRow(again) {
  return (peer) => el("tr", {},
    el("td", {}, el("a", { class: "clip", href: `#/peers/${part(peer.id)}` }, peer.user || "–"),
      typeof peer.record.name === "string" && peer.record.name !== peer.user ? el("span", { class: "soft clip" }, peer.record.name) : null),
    el("td", { class: "mono wide" }, peer.id),
    el("td", { class: "wide" }, chips(peer.rooms, 4)),
    el("td", { class: "mono wide" }, named(peer.node)),
    el("td", { class: "act" }, el("button", {
      type: "button", class: "danger small", "aria-label": `Kick ${peer.user}`, click: () => kick(peer).then((done) => done && again()),
    }, "Kick")));
}

const peerColumns = [{ name: "User" }, { name: "Id", kind: "wide" }, { name: "Rooms", kind: "wide" }, { name: "Node", kind: "wide" }, { name: "" }];

async function kick(peer) {
  const reason = await ask(`Kick ${peer.user}?`, `The connection ${peer.address} is closed with code 4409. Its client may come back.`, "Kick", true);
  if (reason == null) return false;
  return act(() => call("DELETE", `v1/peers/${part(peer.id)}`, reason ? { reason } : undefined), () => `${peer.user} was kicked`);
}

async function closeRoom(name) {
  const sure = await ask(`Close ${name}?`, "All members are taken out of the room. They stay connected, and may join again.", "Close room", false);
  if (sure == null) return false;
  return act(() => call("DELETE", `v1/rooms/${part(name)}`), (answer) => `${count(answer.removed, "peer was", "peers were")} taken out of ${name}`);
}

function peers() {
  const pages = list({
    title: "Peers", columns: peerColumns, nothing: "Nobody is here.", placeholder: "Search user, id or name",
    total: () => node?.cluster_peers,
    load: async (parameters, signal) => {
      const page = await get(`v1/peers${query(parameters)}`, signal);
      return { entries: page.peers, next: page.next };
    },
    row: peerRow(() => pages.fill()),
  });
  show(el("div", { class: "head" }, el("h1", {}, "Peers"), pages.search, el("div", { class: "buttons" }, pages.refresh)), pages.card);
  leave = pages.end;
}

async function peer(id) {
  const asked = new AbortController();
  leave = () => asked.abort();
  let found;
  try {
    found = await get(`v1/peers/${part(id)}`, asked.signal);
  } catch (error) {
    if (asked.signal.aborted || error.status === 401) return;
    return show(el("div", { class: "head" }, el("h1", {}, "Peer")), el("p", { class: "card empty" }, error.message));
  }
  const change = (body, told) => act(() => call("POST", `v1/peers/${part(found.id)}/rooms`, body, true), told).then((done) => done && peer(id));
  const room = el("input", { placeholder: "Room", "aria-label": "Room to put it in", required: true, autocomplete: "off" });
  show(
    el("div", { class: "head" },
      el("h1", {}, found.user),
      found.readonly ? el("span", { class: "pill" }, "read-only") : null,
      found.hidden ? el("span", { class: "pill" }, "hidden") : null,
      el("div", { class: "buttons" },
        el("button", { type: "button", class: "quiet", click: () => peer(id) }, "Refresh"),
        el("button", { type: "button", class: "quiet", click: () => { location.hash = `#/send/${part(found.address)}`; } }, "Send"),
        el("button", { type: "button", class: "danger", click: () => kick(found).then((done) => { if (done) location.hash = "#/peers"; }) }, "Kick"))),
    el("p", { class: "soft" }, "On ", el("span", { class: "mono" }, found.node ?? "this node"), " as ", el("span", { class: "mono" }, found.address)),
    el("div", { class: "two" },
      el("section", { class: "card" }, el("h2", {}, "Record"), el("pre", { tabindex: "0" }, JSON.stringify(found.record, null, 2))),
      el("section", { class: "card" }, el("h2", {}, `Rooms (${number(found.rooms.length)})`),
        el("div", { class: "chips" }, found.rooms.slice(0, 500).map((name) => el("span", { class: "chip" },
          el("a", { class: "clip", href: `#/rooms/${part(name)}` }, name),
          el("button", { type: "button", "aria-label": `Take out of ${name}`, click: () => change({ leave: [name] }, () => `Taken out of ${name}`) }, "×")))),
        el("form", { class: "head", submit: (event) => { event.preventDefault(); change({ join: [room.value] }, () => `Put in ${room.value}`); } },
          el("div", { class: "search" }, room), el("button", { class: "quiet" }, "Put in room")))),
  );
}

function rooms() {
  const pages = list({
    title: "Rooms", nothing: "There are no rooms.", placeholder: "Search rooms", total: () => node?.rooms,
    columns: [{ name: "Room" }, { name: "Members", kind: "num" }, { name: "" }],
    load: async (parameters, signal) => {
      const page = await get(`v1/rooms${query(parameters)}`, signal);
      return { entries: page.rooms, next: page.next };
    },
    row: (room) => el("tr", {},
      el("td", {}, el("a", { class: "clip", href: `#/rooms/${part(room.name)}` }, room.name)),
      el("td", { class: "num" }, number(room.members)),
      el("td", { class: "act" }, el("button", { type: "button", class: "danger small", "aria-label": `Close ${room.name}`, click: () => closeRoom(room.name).then((done) => done && pages.fill()) }, "Close"))),
  });
  show(el("div", { class: "head" }, el("h1", {}, "Rooms"), pages.search, el("div", { class: "buttons" }, pages.refresh)), pages.card);
  leave = pages.end;
}

function room(name) {
  const size = el("span", { class: "soft" }, "");
  const state = el("pre", { tabindex: "0", "aria-label": "State" }, "");
  const keys = el("h2", {}, "State");
  const stated = el("section", { class: "card", hidden: true }, keys, state);
  const pages = list({
    title: `Members of ${name}`, columns: peerColumns, nothing: "Nobody is in this room.", placeholder: "",
    load: async ({ cursor, limit }, signal) => {
      try {
        const page = await get(`v1/rooms/${part(name)}${query({ cursor, limit })}`, signal);
        size.textContent = count(page.count, "member", "members");
        // It comes with the first page alone.
        if (page.state) {
          keys.textContent = `State (${count(Object.keys(page.state).length, "key", "keys")}${page.pinned ? ", kept by this node" : ""})`;
          state.textContent = JSON.stringify(page.state, null, 2);
          stated.hidden = Object.keys(page.state).length === 0 && !page.pinned;
        }
        return { entries: page.members, next: page.next };
      } catch (error) {
        if (error.status !== 404) throw error;
        size.textContent = "";
        stated.hidden = true;
        return { entries: [], next: null };
      }
    },
    row: peerRow(() => pages.fill()),
  });
  show(el("div", { class: "head" }, el("h1", {}, name), size, el("div", { class: "buttons" }, pages.refresh,
    el("button", { type: "button", class: "quiet", click: () => { location.hash = `#/send/${part(JSON.stringify([name]))}`; } }, "Send"),
    el("button", { type: "button", class: "danger", click: () => closeRoom(name).then((done) => done && pages.fill()) }, "Close room"))), pages.card, stated);
  leave = pages.end;
}

// ---------------------------------------------------------------- lists of lines

/** A list of lines, the newest first, of which only so many are kept. */
function lines(label) {
  const made = el("ol", { class: "log", "aria-label": label, tabindex: "0" });
  return {
    made,
    add: (kind, sign, ...text) => {
      made.prepend(el("li", {}, el("time", {}, clock()), el("span", { class: `kind ${kind}` }, sign), el("span", {}, ...text)));
      while (made.childElementCount > LINES) made.lastElementChild.remove();
    },
    clear: () => made.replaceChildren(),
  };
}

// The server says something every 15 seconds: who has heard nothing for so long is not heard any more.
const SILENCE = 60_000;

/** The events of a stream of server-sent events. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const silence = setTimeout(() => reader.cancel(), SILENCE);
    const { value, done } = await reader.read();
    clearTimeout(silence);
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (data.length) yield JSON.parse(data.map((line) => line.slice(5).trimStart()).join("\n"));
    }
  }
}

const EVENTS = ["online", "offline", "joined", "left", "refused", "upgrade_failed", "node_joined", "node_left"];

function live() {
  const log = lines("Events");
  const state = el("span", { class: "pill" }, "connecting");
  const ended = new AbortController();
  let [paused, kept] = [false, 0];
  const wanted = new Set(EVENTS);
  const pause = el("button", { type: "button", class: "quiet", click: () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused && kept) log.add("lost", "paused", `${count(kept, "event", "events")} passed meanwhile`);
    kept = 0;
  } }, "Pause");
  const who = (event) => el("a", { href: `#/peers/${part(event.id)}` }, event.peer);
  const tell = (event) => {
    if (event.type !== "lost" && !wanted.has(event.type)) return;
    if (paused) return void (kept += 1);
    const more = {
      online: () => [who(event), ` in ${event.rooms.join(", ")}`],
      offline: () => [who(event), ` ${event.reason}`, event.close ? `, closed by the ${event.close.by}: ${event.close.code ?? "no code"} ${event.close.reason}` : ""],
      joined: () => [who(event), ` ${event.room}`],
      left: () => [who(event), ` ${event.room}`],
      refused: () => [`${event.status} ${event.message}`, event.address ? ` (${event.address})` : ""],
      upgrade_failed: () => [`${event.status ?? "dropped"} ${event.message}`, event.address ? ` (${event.address})` : "", event.missed ? `, ${event.missed} more before` : ""],
      node_joined: () => [event.node],
      node_left: () => [event.node, event.dead ? " is silent and taken for dead" : ""],
      lost: () => [`${count(event.count, "event was", "events were")} lost: this page, or the network, is too slow`],
    };
    log.add(event.type, event.type.replace("_", " "), ...(more[event.type]?.() ?? [JSON.stringify(event)]));
  };
  const follow = async () => {
    for (let wait = 1000; !ended.signal.aborted; wait = Math.min(wait * 2, 30000)) {
      try {
        const response = await request("v1/events", { signal: ended.signal });
        [state.className, state.textContent, wait] = ["pill good", "live", 1000];
        for await (const event of events(response)) tell(event);
      } catch (error) {
        if (ended.signal.aborted || error.status === 401) return;
      }
      if (ended.signal.aborted) return;
      [state.className, state.textContent] = ["pill bad", "lost, trying again"];
      await new Promise((resolve) => { setTimeout(resolve, wait); });
    }
  };
  show(
    el("div", { class: "head" }, el("h1", {}, "Events"), state,
      el("div", { class: "buttons" }, pause, el("button", { type: "button", class: "quiet", click: log.clear }, "Clear"))),
    el("div", { class: "head" }, EVENTS.map((type) => el("label", { class: "check" },
      el("input", { type: "checkbox", checked: true, change: (event) => { if (event.target.checked) wanted.add(type); else wanted.delete(type); } }), type.replace("_", " ")))),
    el("section", { class: "card" }, log.made));
  follow();
  leave = () => ended.abort();
}

// ---------------------------------------------------------------- sending

function send(to = "") {
  const field = (label, input) => el("label", { class: "field" }, label, input);
  const type = el("select", {}, ["message", "event", "command", "presence"].map((name) => el("option", {}, name)));
  const receiver = el("input", { value: to, autocomplete: "off", placeholder: "user, user|id, or [\"room\"]" });
  const from = el("input", { autocomplete: "off", placeholder: "nobody, or user|id" });
  const name = el("input", { autocomplete: "off", placeholder: "of an event" });
  const data = el("textarea", { spellcheck: "false" }, "{}");
  const everyone = el("input", { type: "checkbox" });
  const preview = el("pre", { tabindex: "0" });
  const button = el("button", {}, "Send");
  const frame = () => {
    const made = { type: type.value };
    const text = receiver.value.trim();
    if (text && !everyone.checked) made.to = text.startsWith("[") ? JSON.parse(text) : text;
    if (from.value.trim()) made.from = from.value.trim();
    if (name.value.trim()) made.name = name.value.trim();
    if (data.value.trim()) made.data = JSON.parse(data.value);
    return JSON.stringify(made, null, 2);
  };
  const draw = () => {
    receiver.disabled = everyone.checked;
    try {
      preview.textContent = frame();
      button.disabled = !everyone.checked && !receiver.value.trim();
    } catch (error) {
      preview.textContent = error.message;
      button.disabled = true;
    }
  };
  const submit = (event) => {
    event.preventDefault();
    if (button.disabled) return;
    const path = everyone.checked ? "v1/broadcast" : "v1/emit";
    button.disabled = true;
    act(() => call("POST", path, frame(), true), (answer) => `Delivered to ${count(answer.receivers, "peer", "peers")}`).then(draw);
  };
  show(
    el("div", { class: "head" }, el("h1", {}, "Send")),
    el("p", { class: "soft" }, "A frame goes to its receivers as it is, without checking who may send what: as any sender you name."),
    el("form", { class: "two", input: draw, submit },
      el("section", { class: "card" },
        el("div", { class: "fields" }, field("Type", type), field("Name", name)),
        field("To", receiver), el("p", {}, el("label", { class: "check" }, everyone, "everyone in the cluster")),
        field("From", from), field("Data (JSON)", data),
        el("div", { class: "buttons" }, button)),
      el("section", { class: "card" }, el("h2", {}, "Frame"), preview)));
  draw();
  leave = () => {};
}

// ---------------------------------------------------------------- a client to try it with

function ownAddress() {
  const one = node?.listen.find((listens) => /:\d+$/.test(listens.address));
  if (!one) return `ws://${location.hostname}:4500/`;
  const [, host, port] = /^(.*):(\d+)$/.exec(one.address);
  const any = ["0.0.0.0", "[::]"].includes(host) ? location.hostname : host;
  return `${one.encrypted ? "wss" : "ws"}://${any}:${port}/`;
}

function client() {
  const field = (label, input) => el("label", { class: "field" }, label, input);
  const url = el("input", { value: ownAddress(), type: "url", required: true });
  const user = el("input", { value: "console", autocomplete: "off" });
  const token = el("input", { type: "password", autocomplete: "off", placeholder: "none" });
  const joins = el("input", { placeholder: "lobby, team", autocomplete: "off" });
  const state = el("span", { class: "pill" }, "not connected");
  const log = lines("Frames");
  const roster = el("tbody");
  const heading = el("h2", {}, "Roster");
  const text = el("textarea", { spellcheck: "false", "aria-label": "Frame to send" }, '{"type":"message","to":["lobby"],"data":"hello"}');
  const sends = el("button", { class: "quiet", disabled: true }, "Send frame");
  const connects = el("button", {}, "Connect");
  const present = new Map();
  let socket = null;
  let drawing = false;
  const draw = () => {
    drawing = false;
    heading.textContent = `Roster (${number(present.size)})`;
    const first = [...present.entries()].slice(0, ROWS);
    roster.replaceChildren(...first.map(([id, record]) => el("tr", {}, el("td", {}, el("span", { class: "clip" }, record.name ?? record.user ?? "")), el("td", { class: "mono" }, el("span", { class: "clip" }, id)))));
  };
  const redraw = () => {
    if (!drawing) {
      drawing = true;
      requestAnimationFrame(draw);
    }
  };
  const hear = (message) => {
    const frame = JSON.parse(message);
    if (frame.type === "welcome") [state.className, state.textContent] = ["pill good", `${frame.peer.user}|${frame.peer.id}`];
    if (frame.type === "error") toast(`${frame.status} ${frame.message}`, true);
    const told = frame.type === "presence" ? frame.data : null;
    if (told && typeof told === "object" && told.id) {
      const id = `${told.user}|${told.id}`;
      if (told.online === false) present.delete(id);
      else present.set(id, told);
      redraw();
    }
  };
  const set = (connected) => {
    sends.disabled = !connected;
    connects.textContent = socket ? "Disconnect" : "Connect";
  };
  const connect = (event) => {
    event.preventDefault();
    if (socket) return socket.close();
    try {
      socket = new WebSocket(url.value);
    } catch (error) {
      return toast(error.message, true);
    }
    const own = socket;
    present.clear();
    redraw();
    [state.className, state.textContent] = ["pill", "connecting"];
    set(false);
    own.addEventListener("open", () => {
      const auth = { type: "auth", user: user.value };
      if (token.value) auth.token = token.value;
      const rooms = joins.value.split(",").map((room) => room.trim()).filter((room) => room);
      if (rooms.length) auth.rooms = rooms;
      own.send(JSON.stringify(auth));
      log.add("frame out", "↑", JSON.stringify(token.value ? { ...auth, token: "…" } : auth));
      set(true);
    });
    own.addEventListener("message", ({ data }) => {
      log.add("frame in", "↓", String(data).slice(0, 4000));
      try {
        hear(data);
      } catch {
        // What is no frame is in the list all the same.
      }
    });
    own.addEventListener("close", ({ code, reason }) => {
      log.add("frame bad", "×", `closed: ${code} ${reason}`);
      [state.className, state.textContent] = ["pill", "not connected"];
      socket = null;
      set(false);
    });
  };
  show(
    el("div", { class: "head" }, el("h1", {}, "Client"), state),
    el("div", { class: "two" },
      el("section", { class: "card" }, el("h2", {}, "Connection"),
        el("form", { submit: connect }, field("Server", url),
          el("div", { class: "fields" }, field("User", user), field("Token", token), field("Rooms", joins)),
          el("div", { class: "buttons" }, connects)),
        el("form", { class: "next", submit: (event) => { event.preventDefault(); socket.send(text.value); log.add("frame out", "↑", text.value.slice(0, 4000)); } },
          field("Frame", text), el("div", { class: "buttons" }, sends))),
      el("section", { class: "card" }, heading, el("div", { class: "table" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "Name"), el("th", {}, "Address"))), roster)))),
    el("section", { class: "card" }, el("div", { class: "head" }, el("h2", {}, "Frames"), el("div", { class: "buttons" }, el("button", { type: "button", class: "quiet small", click: log.clear }, "Clear"))), log.made));
  leave = () => socket?.close();
}

// ---------------------------------------------------------------- the key, and where one is

function login(wrong) {
  stopPolling();
  leave();
  leave = () => {};
  sessionStorage.removeItem(KEY);
  document.getElementById("forget").hidden = true;
  setState(wrong ? "bad" : "", wrong ? "wrong key" : "locked");
  const key = el("input", { type: "password", id: "key", autocomplete: "current-password", required: true });
  show(el("section", { class: "card login" }, el("h1", {}, "Symple console"),
    el("p", { class: "soft" }, wrong ? "That is not the key of this server." : "The key of this server is its SYMPLE_ADMIN_KEY. It is kept until this tab is closed."),
    el("form", { submit: (event) => { event.preventDefault(); sessionStorage.setItem(KEY, key.value); begin(); } },
      el("label", { class: "field" }, "Key", key), el("div", { class: "buttons" }, el("button", {}, "Open")))));
  key.focus();
}

const VIEWS = { overview, peers, rooms, events: live, send, client };

function route() {
  const [, view = "overview", ...rest] = location.hash.split("/");
  let name;
  try {
    name = rest.length ? decodeURIComponent(rest.join("/")) : undefined;
  } catch {
    name = undefined;
  }
  leave();
  leave = () => {};
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.getAttribute("href") === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view[0]?.toUpperCase() ?? ""}${view.slice(1)} – Symple console`;
  if (view === "peers" && name !== undefined) peer(name);
  else if (view === "rooms" && name !== undefined) room(name);
  else if (Object.hasOwn(VIEWS, view)) VIEWS[view](name);
  else overview();
}

async function begin() {
  try {
    node = await get("v1/node");
  } catch (error) {
    if (error.status === 401) return;
    setState("bad", "no answer");
  }
  document.getElementById("forget").hidden = sessionStorage.getItem(KEY) == null;
  startPolling();
  route();
}

document.getElementById("forget").addEventListener("click", () => login(false));
window.addEventListener("hashchange", () => {
  if (timer == null) return;
  route();
  main.focus();
});
begin();
