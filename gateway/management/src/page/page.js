// The status page: asks the API each second and draws what changed. Nothing comes from anywhere else.
"use strict";

const EVERY_MS = 1000;
const POINTS = 120;
/** Lists that ask the workers are asked for less often. */
const SUBSCRIBERS_EVERY = 5;

const element = (id) => document.getElementById(id);

const make = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

/** 12345678 becomes "12.3 M". */
const short = (number) => {
  const units = ["", "k", "M", "G", "T"];
  let unit = 0;
  while (Math.abs(number) >= 999.5 && unit + 1 < units.length) { number /= 1000; unit += 1; }
  const digits = unit === 0 || number >= 99.5 ? 0 : 1;
  return `${number.toFixed(digits)}${units[unit] && ` ${units[unit]}`}`;
};

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 && share > 0 ? 1 : 0)} %`;

const duration = (seconds) => {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
};

async function ask(path) {
  const answer = await fetch(`api/v1/${path}`, { signal: AbortSignal.timeout(4000) });
  if (!answer.ok) throw new Error((await answer.json()).detail ?? answer.statusText);
  return answer.json();
}

/** Counters become rates: the difference to what was seen last, by the time between. */
class Rates {
  #last = new Map();
  #time = 0;
  #elapsed = 0;

  /** Begins a new look, taken at `time` in milliseconds. */
  look(time) {
    this.#elapsed = (time - this.#time) / 1000;
    this.#time = time;
  }

  /** Of a counter, a second; 0 when it is seen for the first time or has begun anew. */
  of(key, value) {
    const last = this.#last.get(key);
    this.#last.set(key, value);
    return last === undefined || value < last || !(this.#elapsed > 0) ? 0 : (value - last) / this.#elapsed;
  }
}

/** Up to two lines over the last POINTS looks. */
class Chart {
  #lines;
  #svg;
  #label;
  #names;

  constructor(name, names) {
    this.#names = names;
    this.#lines = names.map(() => []);
    this.#svg = document.querySelector(`svg[data-chart=${name}]`);
    this.#label = document.querySelector(`b[data-chart=${name}]`);
    this.#svg.setAttribute("viewBox", `0 0 ${POINTS - 1} 100`);
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#svg.setAttribute("role", "img");
  }

  add(values) {
    values.forEach((value, index) => {
      this.#lines[index].push(value);
      if (this.#lines[index].length > POINTS) this.#lines[index].shift();
    });
    const top = Math.max(1, ...this.#lines.flat());
    const drawn = this.#lines.map((line, index) => {
      const from = POINTS - line.length;
      const points = line.map((value, at) => `${from + at},${(100 - (98 * value) / top).toFixed(1)}`).join(" ");
      return svg("polyline", { points, class: ["first", "second"][index] });
    });
    this.#svg.replaceChildren(svg("line", { x1: 0, x2: POINTS - 1, y1: 100, y2: 100 }), ...drawn);
    const words = values.map((value, index) => make("span", { class: ["first", "second"][index] }, `${short(value)} ${this.#names[index]}`));
    this.#label.replaceChildren(...words);
    this.#svg.setAttribute("aria-label", `${words.map((word) => word.textContent).join(", ")}, at most ${short(top)} in ${POINTS} s`);
  }
}

const svg = (name, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

/** Columns are [title, cell of a row, is a number]; a cell is text, an element, or [text, class]. */
function fill(id, columns, rows) {
  const kind = (number) => (number ? { class: "number" } : {});
  const head = make("tr", {}, ...columns.map(([title, , number]) => make("th", kind(number), title)));
  const body = rows.map((row) => make("tr", {}, ...columns.map(([, cell, number]) => {
    const [content, mark] = [cell(row)].flat();
    const made = make("td", kind(number), content);
    if (mark) made.classList.add(mark);
    return made;
  })));
  if (!body.length) body.push(make("tr", {}, make("td", { class: "note", colspan: columns.length }, "none")));
  element(id).replaceChildren(head, ...body);
}

/** Used and resting ports as a share of all. */
function bar({ used, held, total }) {
  const part = (count) => {
    const made = make("i");
    made.style.width = `${total ? (100 * count) / total : 0}%`;
    return made;
  };
  return make("span", { class: "bar", role: "img", "aria-label": `${used} used, ${held} resting, of ${total}` }, part(used), part(held));
}

const rates = new Rates();
let charts;
let looks = 0;

function showStatus(status) {
  element("version").textContent = status.version;
  const state = element("state");
  state.textContent = status.readiness.ready ? "ready" : status.readiness.reasons.join("; ");
  state.className = status.readiness.ready ? "good" : "bad";
  element("about").textContent = `up ${duration(status.uptime_s)} · DPDK ${status.dpdk} · ${status.memory} · configuration ` +
    `${status.config_generation} of ${status.config_file} · ${status.sessions} of ${status.sessions_limit} sessions, ` +
    `${status.mappings} mappings, ${status.subscribers} subscribers`;
  charts.sessions.add([status.sessions]);
  fill("workers", [
    ["worker", (row) => row.worker],
    ["CPU", (row) => row.cpu],
    ["busy", (row) => percent(rates.of(`busy ${row.worker}`, row.busy_cycles) / status.tsc_hz), true],
    ["received/s", (row) => short(rates.of(`worker rx ${row.worker}`, row.rx_packets)), true],
    ["transmitted/s", (row) => short(rates.of(`worker tx ${row.worker}`, row.tx_packets)), true],
    ["sessions", (row) => short(row.sessions), true],
  ], status.workers);
}

function showInterfaces(interfaces) {
  const sums = { inside: [0, 0], outside: [0, 0] };
  const rows = interfaces.map((row) => {
    const rate = (name, value) => rates.of(`${row.name} ${name}`, value);
    const now = {
      rxPackets: rate("rx_packets", row.rx_packets), txPackets: rate("tx_packets", row.tx_packets),
      rxBits: 8 * rate("rx_bytes", row.rx_bytes), txBits: 8 * rate("tx_bytes", row.tx_bytes),
    };
    sums[row.role][0] += now.rxPackets;
    sums[row.role][1] += now.rxBits;
    return { ...row, ...now };
  });
  charts.packets.add([sums.inside[0], sums.outside[0]]);
  charts.bits.add([sums.inside[1], sums.outside[1]]);
  fill("interfaces", [
    ["name", (row) => row.name],
    ["role", (row) => row.role],
    ["link", (row) => (row.link.up ? ["up", "good"] : ["down", "bad"])],
    ["received/s", (row) => short(row.rxPackets), true],
    ["bit/s", (row) => short(row.rxBits), true],
    ["transmitted/s", (row) => short(row.txPackets), true],
    ["bit/s", (row) => short(row.txBits), true],
    ["missed", (row) => (row.nic.rx_missed ? [short(row.nic.rx_missed), "bad"] : "0"), true],
    ["steering", (row) => row.steering],
  ], rows);
}

function showPools(pools) {
  const rows = pools.flatMap((pool) => [
    ...(pool.blocks ? [{ pool, protocol: "blocks", ...pool.blocks }] : []),
    ...pool.usage.map((usage) => ({ pool, ...usage })),
  ]);
  fill("pools", [
    ["pool", (row) => row.pool.name],
    ["protocol", (row) => row.protocol],
    ["", bar],
    ["used", (row) => short(row.used), true],
    ["resting", (row) => short(row.held), true],
    ["of", (row) => short(row.total), true],
    ["filtering", (row) => row.pool[`filtering_${row.protocol}`] ?? ""],
  ], rows);
}

function showDrops(drops) {
  const [outbound, inbound] = [rates.of("drops out", drops.outbound), rates.of("drops in", drops.inbound)];
  charts.drops.add([outbound, inbound]);
  const rows = drops.reasons.filter((row) => row.outbound + row.inbound > 0);
  rows.sort((a, b) => b.outbound + b.inbound - a.outbound - a.inbound);
  fill("drops", [
    ["reason", (row) => row.reason],
    ["outbound", (row) => short(row.outbound), true],
    ["inbound", (row) => short(row.inbound), true],
    ["a second", (row) => short(rates.of(`drop ${row.reason}`, row.outbound + row.inbound)), true],
  ], rows);
}

function showSubscribers(subscribers) {
  fill("subscribers", [
    ["inside address", (row) => row.address],
    ["outside address", (row) => row.outside ?? ""],
    ["pool", (row) => row.pool ?? ""],
    ["worker", (row) => row.worker, true],
    ["sessions", (row) => short(row.sessions), true],
    ["ports", (row) => short(row.ports), true],
  ], subscribers);
}

async function look() {
  try {
    const [status, interfaces, pools, drops] = await Promise.all(["status", "interfaces", "pools", "drops"].map(ask));
    rates.look(performance.now());
    showStatus(status);
    showInterfaces(interfaces);
    showPools(pools);
    showDrops(drops);
    if (looks % SUBSCRIBERS_EVERY === 0) showSubscribers(await ask("subscribers?top=10"));
    looks += 1;
  } catch (error) {
    const state = element("state");
    state.textContent = `the gateway does not answer: ${error.message}`;
    state.className = "bad";
  }
  // Nobody looks at a hidden page.
  setTimeout(look, document.hidden ? 10 * EVERY_MS : EVERY_MS);
}

charts = {
  packets: new Chart("packets", ["from inside", "from outside"]),
  bits: new Chart("bits", ["from inside", "from outside"]),
  sessions: new Chart("sessions", ["now"]),
  drops: new Chart("drops", ["outbound", "inbound"]),
};
look();
