"use strict";
// The page shows what /events tells, and keeps two minutes of it for the plots. Everything
// that comes from outside is put in as text.

const $ = id => document.getElementById(id);
const keep = 120; // seconds
const history = []; // {at, rate, p50, p99}
const stages = $("stages").textContent;
let actions = [], group = "", shown = "", source, heard = 0, every = 0.5, held = false, retry;

// el makes an element; put changes only what is different, so that nothing flickers and
// what is selected stays so.
function el(tag, cls, ...children) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  e.append(...children);
  return e;
}
function put(e, text) { if (e.textContent !== text) e.textContent = text; }
function attr(e, name, value) { if (e.getAttribute(name) !== value) e.setAttribute(name, value); }
function show(e, is) { if (e.hidden === is) e.hidden = !is; }

const number = n => Math.round(n).toLocaleString("en");
function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return (unit === "B" ? n.toFixed(0) : n.toFixed(1)) + " " + unit;
    n /= 1024;
  }
}
function seconds(s) {
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 100) return s.toFixed(s < 10 ? 1 : 0) + " s";
  if (s < 6000) return Math.round(s / 60) + " min";
  return (s / 3600).toFixed(1) + " h";
}
const ms = n => n < 10 ? n.toFixed(2) + " ms" : n < 1000 ? n.toFixed(0) + " ms" : (n / 1000).toFixed(1) + " s";

// The way to the server.

function connect() {
  clearTimeout(retry);
  if (source) source.close();
  group = decodeURIComponent(location.hash.slice(1));
  source = new EventSource("events" + (group ? "?group=" + encodeURIComponent(group) : ""));
  source.addEventListener("view", e => { heard = Date.now(); view(JSON.parse(e.data)); });
  source.addEventListener("lines", e => lines(JSON.parse(e.data) || []));
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, 3000); };
}

function watchdog() {
  const silent = (Date.now() - heard) / 1000, late = heard > 0 && silent > 3 * every + 1;
  document.body.classList.toggle("late", late);
  const link = $("link");
  link.className = "pill " + (late ? "late" : heard ? "live" : "");
  put(link, late ? "✕ no news for " + Math.round(silent) + " s; this is old" : heard ? "● live" : "connecting");
}

// The view.

function view(v) {
  actions = v.actions || [];
  every = v.every;
  put($("facts"), (v.hosts || []).map(h => `host ${h.id}: ${number(h.groups)} ${h.groups === 1 ? "group" : "groups"}, leads ${number(h.leads)}`).join(" · "));
  groups(v);
  const g = v.group;
  const name = shown = g ? g.name : group;
  put($("name"), name || "Castaway");
  const title = (g && g.troubles && g.troubles.some(t => t.bad) ? "✕ " : "") + (name || "no group") + " · Castaway";
  if (document.title !== title) document.title = title;
  const opening = v.opening || [];
  verdict(v, g, opening);
  show($("opening"), opening.length > 0);
  work($("opening"), opening);
  pages(g);
  members(g);
  plots(v.at, g);
  watchdog();
}

function groups(v) {
  const rows = v.groups || [];
  show($("groups"), rows.length + v.more > 1);
  const list = $("group-list"), current = (v.group || {}).name;
  while (list.children.length > rows.length) list.lastChild.remove();
  rows.forEach((r, i) => {
    if (!list.children[i]) list.append(el("li", "", el("a"), el("span")));
    const [a, span] = list.children[i].children;
    put(a, (r.trouble ? (r.bad ? "✕ " : "! ") : "✓ ") + r.name);
    attr(a, "href", "#" + encodeURIComponent(r.name));
    if (r.name === current) attr(a, "aria-current", "page"); else a.removeAttribute("aria-current");
    put(span, r.leader ? ` member ${r.leader} leads` : " no leader");
    attr(list.children[i], "title", r.trouble);
  });
  put($("more"), v.more ? `and ${number(v.more)} more, without anything worse` : "");
}

function verdict(v, g, opening) {
  let all = g ? (g.troubles || []).map(t => [t.bad ? "trouble bad" : "trouble warn", t.text]) : [["trouble bad", group ? `no host here has the group “${group}” open` : "no group is open here"]];
  if (!g && opening.length) all = [["trouble warn", "groups are open when their hosts have read their disks"]];
  if (g && !all.length) {
    let text = g.leader ? `member ${g.leader} leads in term ${number(g.term)}` : "";
    if (g.quiet) text += "; nothing happens, and the group is silent";
    all = [["fine", "nothing is known to be wrong: " + text]];
  }
  if (g && g.autopilot) all.push(["say", "autopilot: " + g.autopilot + (g.step ? "; last: " + g.step : "")]);
  const box = $("verdict");
  while (box.children.length > all.length) box.lastChild.remove();
  all.forEach(([cls, text], i) => {
    if (!box.children[i]) box.append(el("p"));
    if (box.children[i].className !== cls) box.children[i].className = cls;
    put(box.children[i], text);
  });
  const bad = g ? (g.troubles || []).filter(t => t.bad).length : opening.length ? 0 : 1; // to be read out: no figures that change all the time
  put($("alarm"), !g && !bad ? "hosts read their disks" : bad ? `${bad} ${bad === 1 ? "trouble" : "troubles"}` : `member ${g.leader} leads, nothing is known to be wrong`);
}

// pages leads to the members that are elsewhere, to the leader first.
function pages(g) {
  const all = (g ? g.members || [] : []).filter(m => m.page);
  all.sort((a, b) => (b.id === g.leader) - (a.id === g.leader));
  const box = $("pages");
  show(box, all.length > 0);
  while (box.children.length > all.length) box.lastChild.remove();
  all.forEach((m, i) => {
    if (!box.children[i]) box.append(el("a"));
    put(box.children[i], m.id === g.leader ? `★ The leader's page: member ${m.id}` : `Member ${m.id}'s page`);
    attr(box.children[i], "href", m.page + "#" + encodeURIComponent(g.name));
  });
}

const cards = new Map();

function members(g) {
  const all = g ? g.members || [] : [];
  for (const [id, c] of cards) if (!all.some(m => m.id === id)) { c.root.remove(); cards.delete(id); }
  const most = Math.max(1000, ...all.map(m => m.lag || 0)); // what is just under way is no lag to look at
  const logs = all.filter(m => m.last > 0);
  const from = Math.min(...logs.map(m => m.seen ? m.first : m.last)), to = Math.max(...logs.map(m => m.last));
  put($("axis"), logs.length ? `The bars go from entry ${number(from)} to ${number(to)}.` : "");
  all.forEach((m, i) => {
    let c = cards.get(m.id);
    if (!c) cards.set(m.id, c = card(m.id));
    if ($("members").children[i] !== c.root) $("members").insertBefore(c.root, $("members").children[i] || null);
    member(c, m, g, from, to, most);
  });
  const add = $("group-actions");
  if (g && actions.includes("add-learner")) {
    if (!add.children.length) add.append(button("Add a learner", () => act("add-learner", 0, "Adding a learner")));
  } else add.replaceChildren();
}

function card(id) {
  const c = {root: el("article", "member")};
  const line = (cls) => { const e = el("p", cls); c.root.append(e); return e; };
  c.role = el("span", "role");
  c.kind = el("span", "kindness");
  c.root.append(el("h3", "", `Member ${id}`, c.kind, c.role));
  attr(c.root, "aria-label", `Member ${id}`);
  c.fault = line("fault");
  c.vote = line("");
  c.bar = el("div", "bar");
  c.bar.append(c.applied = el("i", "applied"), c.committed = el("i", "committed"), c.open = el("i", "open"));
  attr(c.bar, "aria-hidden", "true"); // the text below says the same
  c.root.append(c.bar);
  c.positions = line("positions");
  c.lagText = line("");
  c.lagBar = el("div", "bar", c.lag = el("i", "lag"));
  attr(c.lagBar, "aria-hidden", "true");
  c.root.append(c.lagBar);
  c.applying = line("");
  c.disk = line("");
  c.work = el("div", "work");
  c.root.append(c.work);
  c.buttons = el("p", "buttons");
  c.root.append(c.buttons);
  c.transfer = button("Make it the leader", () => act("transfer", id, `Handing the leadership to member ${id}`));
  c.snapshot = button("Take a snapshot", () => act("snapshot", id, `Having member ${id} take a snapshot`));
  c.remove = button("Remove the learner", () => act("remove-learner", id, `Removing learner ${id}`));
  c.buttons.append(c.transfer, c.snapshot, c.remove);
  return c;
}

function member(c, m, g, from, to, most) {
  const leads = m.id === g.leader, bad = m.state === "faulted" || m.state === "does not answer" || m.stalled || !!m.class;
  const cls = "member" + (leads ? " leader" : "") + (bad ? " bad" : "");
  if (c.root.className !== cls) c.root.className = cls;
  put(c.kind, m.kind + (m.newcomer ? ", newcomer" : ""));
  const role = m.seen && m.state !== "running" ? m.state : leads ? "leader" : m.seen ? m.role : "elsewhere";
  const icons = {leader: "★ ", follower: "○ ", candidate: "◐ ", precandidate: "◔ ", "pre-candidate": "◔ ", faulted: "✕ ", pausing: "↻ ", recovering: "↻ ", elsewhere: "◌ "};
  put(c.role, (icons[role] || "") + (role === "follower" && m.kind === "learner" ? "learner" : role));
  show(c.fault, !!m.fault);
  put(c.fault, m.class === "disk full" || m.class === "quarantined" ? "✕ " + m.class : `✕ ${m.class} fault`); // what it is about stands above all
  put(c.vote, m.seen ? `Term ${number(m.term)}; ${m.vote ? m.vote === m.id ? "votes for itself" : `votes for ${m.vote}` : "has not voted in it"}` : m.sent ? "On another host; this is what the leader knows." : "On another host, and the leader is not on this one.");
  position(c, m, from, to);
  lag(c, m, most);
  const behind = m.behind > 1000 && m.applying !== null;
  show(c.applying, behind);
  if (behind) put(c.applying, `${number(m.behind)} committed entries are not applied yet; ${number(m.applying)} a second${m.applyLeft !== null ? `, ${seconds(m.applyLeft)} left` : ""}`);
  const disk = m.stalled ? `✕ The disk stalls: ${seconds(m.saving)} without a save` : m.saving > 0.1 ? `The disk has been saving for ${seconds(m.saving)}` : "";
  show(c.disk, !!disk);
  put(c.disk, disk);
  c.disk.className = m.stalled ? "fault" : "";
  work(c.work, m.snapshots || []);
  show(c.transfer, actions.includes("transfer") && m.kind === "voter" && g.leader > 0 && !leads);
  show(c.snapshot, actions.includes("snapshot") && m.seen && m.state === "running");
  show(c.remove, actions.includes("remove-learner") && m.kind === "learner");
  show(c.buttons, [...c.buttons.children].some(b => !b.hidden));
}

function position(c, m, from, to) {
  const width = Math.max(1, to - from + 1);
  const span = (e, a, b) => { // entries a to b
    e.style.left = 100 * Math.max(0, a - from) / width + "%";
    e.style.width = 100 * Math.max(0, b - Math.max(a, from) + 1) / width + "%";
  };
  show(c.bar, m.last > 0);
  if (m.seen) {
    span(c.applied, m.first, Math.min(m.applied, m.last));
    span(c.committed, Math.max(m.first, m.applied + 1), Math.min(m.commit, m.last));
    span(c.open, Math.max(m.first, m.commit + 1), m.last);
    put(c.positions, `first ${number(m.first)} · applied ${number(m.applied)} · commit ${number(m.commit)} · saved ${number(m.saved)} · last ${number(m.last)}`);
  } else {
    span(c.applied, from, m.last);
    c.committed.style.width = c.open.style.width = "0";
    put(c.positions, m.last ? `has entry ${number(m.last)} on its disk` : "nothing is known of its log");
  }
}

function lag(c, m, most) {
  const known = m.lag !== null && m.lag !== undefined;
  show(c.lagText, known);
  show(c.lagBar, known);
  if (!known) return;
  const entries = number(m.lag) + (m.lag === 1 ? " entry" : " entries"), well = m.caughtUp && m.lag < 1000;
  let text = m.lag === 0 ? "✓ has everything" : well ? `✓ keeps up; ${entries} on the way` : `! lacks ${entries}`;
  if (m.sent === "snapshot") text += "; the leader sends a snapshot";
  else if (!well && m.closing !== null) {
    if (m.left !== null && m.left > 1) text += `; comes closer by ${number(m.closing)} a second, ${seconds(m.left)} left`;
    else if (m.closing < -1) text += `; falls behind by ${number(-m.closing)} a second`;
  }
  if (m.sent === "probe") text += "; the leader looks for where its log goes on";
  if (m.heard !== null && m.heard > 1) text += `; heard of ${seconds(m.heard)} ago`;
  put(c.lagText, text);
  c.lagBar.style.visibility = well ? "hidden" : ""; // an empty bar looks like nothing done; its place stays, so that nothing jumps
  c.lag.style.left = "0";
  c.lag.style.width = 100 * m.lag / most + "%";
}

function work(box, all) {
  while (box.children.length > all.length) box.lastChild.remove();
  all.forEach((s, i) => {
    if (!box.children[i]) box.append(el("label", "", el("span"), el("progress")));
    const [text, bar] = box.children[i].children;
    const who = {writing: "Writing a snapshot", sending: `Sending a snapshot to ${s.peer}`, receiving: `Receiving a snapshot from ${s.peer}`, restoring: "Restoring a snapshot", opening: `Host ${s.peer} reads its disk`}[s.stage] || s.stage;
    put(text, `${who}: ${bytes(s.done)}${s.size ? " of " + bytes(s.size) : ""}${s.rate !== null ? `, ${bytes(s.rate)}/s` : ""}${s.left !== null ? `, ${seconds(s.left)} left` : ""}`);
    if (s.size) { bar.max = s.size; bar.value = s.done; } else bar.removeAttribute("value");
  });
}

// The plots.

function plots(at, g) {
  const last = history[history.length - 1];
  const l = g ? g.latency : null;
  if (!last || last.at !== at) history.push({at, rate: g ? g.rate : null, p50: l ? l.p50 : null, p99: l ? l.p99 : null});
  while (history.length && history[0].at < at - keep * 1000) history.shift();
  put($("rate"), g && g.rate !== null ? number(g.rate) + " entries/s" : "–");
  put($("latency"), l ? `median ${ms(l.p50)} · p99 ${ms(l.p99)} · max ${ms(l.max)}` : !g || g.members.some(m => m.seen && m.id === g.leader) ? "no proposals" : "measured where the leader is");
  if (l) put($("stages"), `From a place in the leader's log to applied there: ${ms(l.saved)} until it is on the leader's disk, ${ms(l.committed)} until on a quorum's (medians of ${number(l.n)} heard of). A caller also waits for queues and the network.`);
  plot($("rate-plot"), at, [["main", h => h.rate]], true, n => number(n) + "/s");
  plot($("latency-plot"), at, [["main", h => h.p50], ["p99", h => h.p99]], false, ms);
}

function plot(svg, at, series, area, unit) {
  let top = 0;
  for (const h of history) for (const [, of] of series) top = Math.max(top, of(h) || 0);
  const scale = nice(top), x = h => 240 * (1 - (at - h.at) / (keep * 1000)), y = n => 78 - 74 * n / scale;
  const need = series.length + (area ? 1 : 0);
  while (svg.children.length < need) svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  series.forEach(([cls, of], i) => {
    let d = "", pen = false, fill = "", from = 0;
    for (const h of history) {
      const n = of(h);
      if (n === null) { if (pen && area) fill += `L${from} 80Z`; pen = false; continue; } // a gap is a gap
      const p = `${x(h).toFixed(1)} ${y(n).toFixed(1)}`;
      if (!pen) { fill += `M${x(h).toFixed(1)} 80L${p}`; d += `M${p}h.01`; } else { fill += "L" + p; d += "L" + p; }
      from = x(h).toFixed(1);
      pen = true;
    }
    if (pen) fill += `L${from} 80Z`;
    attr(svg.children[i], "class", cls);
    attr(svg.children[i], "d", d);
    if (area) { attr(svg.children[need - 1], "class", "area"); attr(svg.children[need - 1], "d", fill); }
  });
  const text = top > 0 ? `the last two minutes; the highest is ${unit(top)}` : "nothing yet";
  attr(svg, "aria-label", text);
  let cap = svg.nextElementSibling;
  if (!cap.classList.contains("scale")) svg.after(cap = el("p", "note scale"));
  put(cap, top > 0 ? `two minutes; the top is ${unit(scale)}` : "nothing yet");
}

function nice(n) {
  if (n <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].map(f => f * power).find(s => s >= n);
}

// Events.

const waiting = [];

function lines(all) {
  waiting.push(...all);
  if (waiting.length > 400) { const gone = waiting.splice(0, waiting.length - 399); waiting.unshift({kind: "missed", n: gone.reduce((n, e) => n + (e.n || 1), 0)}); }
  if (held) return put($("pause"), `Go on (${waiting.length})`);
  const list = $("events");
  for (const e of waiting.splice(0)) {
    const li = el("li");
    if (e.kind === "missed" || e.kind === "more") {
      let n = e.n;
      li.className = e.kind === "more" ? "routine gap" : "gap";
      const top = list.firstChild;
      if (top && top.className === li.className) { n += +top.dataset.n; top.remove(); } // gaps that touch are one
      li.dataset.n = n;
      li.append(e.kind === "more" ? `⋯ ${number(n)} more about proposals ⋯` : `⋯ ${number(n)} events are missing here ⋯`);
    } else {
      const at = new Date(e.at);
      li.className = ["queued", "saved", "committed", "applied"].includes(e.kind) ? "routine" : e.kind === "abandoned" ? "abandoned" : "";
      li.append(at.toLocaleTimeString("en-GB") + "." + String(at.getMilliseconds()).padStart(3, "0"), ` host ${e.host} `, el("b", "", e.kind), " " + e.text);
    }
    list.prepend(li);
  }
  trim(list.querySelectorAll(".routine"), 200);
  trim(list.querySelectorAll(":not(.routine):not(b)"), 200);
  show($("no-events"), !list.querySelector(":not(.routine):not(b)") && !(list.classList.contains("all") && list.children.length));
}

// trim keeps the first so many: what is frequent does not push out what is rare.
function trim(all, most) { for (let i = all.length - 1; i >= most; i--) all[i].remove(); }

// Actions.

function button(text, f) {
  const b = el("button", "", text);
  b.type = "button";
  b.addEventListener("click", async () => { b.disabled = true; try { await f(); } finally { b.disabled = false; } });
  return b;
}

async function act(name, member, what) {
  const result = $("result");
  show(result, true);
  put(result, what + " …");
  try {
    const r = await fetch("actions/" + name, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({group: shown, member})});
    put(result, r.ok ? `${what}: done.` : `${what}: ${(await r.text()).trim()}`);
  } catch (e) {
    put(result, `${what}: the outcome is not known: ${e.message}`);
  }
}

$("proposals").addEventListener("change", e => $("events").classList.toggle("all", e.target.checked));
$("pause").addEventListener("click", () => {
  held = !held;
  attr($("pause"), "aria-pressed", String(held));
  put($("pause"), held ? "Go on" : "Hold");
  if (!held) lines([]);
});
$("find").addEventListener("submit", e => { e.preventDefault(); location.hash = encodeURIComponent($("find-name").value); });
addEventListener("hashchange", () => {
  history.length = 0;
  $("events").replaceChildren();
  put($("stages"), stages);
  show($("result"), false);
  connect();
});
setInterval(watchdog, 1000);
connect();
