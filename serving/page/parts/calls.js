// The calls that run, as the events of /v1/live tell them. Knows nothing of the page.

import { Rolling } from "../draw/rolling.js";

export const RANK = { critical: 3, warning: 2, info: 1 };
const GONE_MS = 60_000; // a call that is over stays so long

class Call {
  constructor(id, take) { Object.assign(this, { id, take, name: take ? `${id} (${take})` : id, position: 0, tracks: new Map(), alerts: new Map(), episode: null, closed: 0, rung: 0, fresh: true }); }
  get open() { let best = null; for (const a of this.alerts.values()) if (!a.is_final || a.until > Date.now()) if (!best || (RANK[a.severity] ?? 0) >= (RANK[best.severity] ?? 0)) best = a; return best; }
  // The side whose emotions are told, or the first.
  get heard() { let first = null; for (const t of this.tracks.values()) { if (t.told) return t; first ??= t; } return first; }
}

export class Calls {
  constructor() { this.all = new Map(); this.rang = []; }
  clear() { this.all.clear(); }
  of(id, take = 0) {
    const key = `${take}\n${id}`;
    if (!this.all.has(key)) { this.all.set(key, new Call(id, take)); this.reorder = true; }
    return this.all.get(key);
  }
  // One event; calls that changed are returned, alerts that are new lie in `rang`.
  put(event, { quiet = false } = {}) {
    const changed = new Set(), now = Date.now();
    for (const told of event.calls ?? []) {
      const call = this.of(told.media_id, told.take);
      call.position = Math.max(call.position, told.position_ms ?? 0); changed.add(call);
      for (const c of told.channels) {
        if (!call.tracks.has(c.channel)) call.tracks.set(c.channel, new Rolling(c.channel, c.role, c.modality));
        const track = call.tracks.get(c.channel);
        for (const row of c.rows) track.put(row);
        call.position = Math.max(call.position, (track.last + 1) * 500);
      }
    }
    for (const e of event.episodes ?? []) { const call = this.of(e.media_id, e.take); if (!call.episode || e.start_ms >= call.episode.start_ms) call.episode = e; changed.add(call); }
    for (const a of event.alerts ?? []) {
      const call = this.of(a.media_id, a.take), key = `${a.rule}\n${a.channel}\n${a.start_ms}`, fresh = !call.alerts.has(key);
      call.alerts.set(key, { ...a, until: fresh ? now + GONE_MS : call.alerts.get(key).until });
      if (fresh) { call.rung = now; this.reorder = true; if (!quiet) this.rang.push({ ...a, call }); }
      changed.add(call);
    }
    for (const [id, take] of event.closed ?? []) { const call = this.all.get(`${take}\n${id}`); if (call) { call.closed ||= now; changed.add(call); this.reorder = true; } }
    return changed;
  }
  // Alerts first, the gravest and newest on top; then by name, those that are over at the end.
  sorted(wanted = () => true) {
    const now = Date.now();
    for (const [key, call] of this.all) if (call.closed && now - call.closed > GONE_MS) this.all.delete(key);
    const rank = call => { const a = call.open; return a ? 10 + (RANK[a.severity] ?? 0) : call.closed ? 0 : 1; };
    const all = [...this.all.values()].filter(wanted).map(call => [rank(call), call]);
    all.sort(([r, a], [s, b]) => s - r || (r >= 10 ? b.rung - a.rung : 0) || (a.id < b.id ? -1 : a.id > b.id ? 1 : a.take - b.take));
    return all.map(([, call]) => call);
  }
}
