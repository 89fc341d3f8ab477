// What the service tells of itself while somebody looks: one stream for the whole page.

import { type Call, type Calls, get, type Overview, ROOT } from './api';
import { Store } from './store';

export type Connection = 'connecting' | 'open' | 'lost';

/** How many ended requests the page keeps, as many as the service does. */
const KEPT = 500;
/** The service speaks each second; after this the connection is dead, whatever TCP says. */
const SILENCE = 6000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;

/** A request with the moment at which it was told, and what no other one has: a caller may use an id twice. */
export interface Seen extends Call {
  at: number;
  key: string;
}

export const connection = new Store<Connection>('connecting');
export const overview = new Store<Overview | null>(null);
export const calls = new Store<{ live: Seen[]; recent: Seen[] }>({ live: [], recent: [] });
/** Whether calls holds all that the service remembers, and not only what came by. */
export const callsLoaded = new Store(false);

let source: EventSource | null = null;
let timer = 0;
let wait = FIRST_WAIT;

/** open follows the stream until close; a connection that is lost is made anew. */
export function open() {
  close();
  connect();
}

export function close() {
  window.clearTimeout(timer);
  source?.close();
  source = null;
  overview.set(null);
  calls.set({ live: [], recent: [] });
  callsLoaded.set(false);
  connection.set('connecting');
}

/** again tries at once, for somebody who won't wait. */
export function again() {
  wait = FIRST_WAIT;
  connect();
}

/** A page that nobody sees for so long gives its connection back: a browser has few to one server. */
const HIDDEN = 30_000;
let hidden = 0;

document.addEventListener('visibilitychange', () => {
  window.clearTimeout(hidden);
  if (document.hidden) {
    hidden = window.setTimeout(() => {
      if (!source) return;
      window.clearTimeout(timer);
      source.close();
      connection.set('connecting');
    }, HIDDEN);
  } else if (source?.readyState === EventSource.CLOSED) {
    again();
  }
});

function connect() {
  window.clearTimeout(timer);
  source?.close();
  const current = new EventSource(`${ROOT}/stream`);
  source = current;
  const heard = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(lost, SILENCE);
  };
  heard();
  current.onopen = () => {
    if (source !== current) return;
    wait = FIRST_WAIT;
    connection.set('open');
    void load();
  };
  current.onerror = () => {
    if (source === current) lost();
  };
  // The service says that it is over: the session has ended, perhaps.
  current.addEventListener('end', () => {
    if (source === current) lost();
  });
  current.addEventListener('overview', (event) => {
    heard();
    overview.set(JSON.parse((event as MessageEvent<string>).data) as Overview);
  });
  current.addEventListener('requests', (event) => {
    heard();
    merge(JSON.parse((event as MessageEvent<string>).data) as Calls);
  });
}

/** lost waits, a little longer each time, and asks first whether the session is still there. */
function lost() {
  window.clearTimeout(timer);
  source?.close();
  const current = source;
  connection.set('lost');
  timer = window.setTimeout(async () => {
    // A stream that is refused doesn't tell why; this does, and signs out where it must.
    await get('/session').catch(() => {});
    if (source === current && source !== null) connect();
  }, wait);
  wait = Math.min(wait * 2, LONGEST_WAIT);
}

/** load fetches what was there before the stream began. */
async function load() {
  try {
    merge(await get<Calls>(`/requests?limit=${KEPT}`));
    callsLoaded.set(true);
  } catch {
    // The banner says that the connection is lost; the stream comes back by itself.
  }
}

function merge(news: Calls) {
  const at = performance.now();
  const tell = (call: Call): Seen => ({ ...call, at, key: `${call.id} ${call.started_at}` });
  const seen = new Map(calls.value.recent.map((call) => [call.key, call]));
  for (const call of (news.recent ?? []).map(tell)) seen.set(call.key, call);
  const recent = [...seen.values()].sort((a, b) => Date.parse(b.started_at) - Date.parse(a.started_at));
  recent.length = Math.min(recent.length, KEPT);
  const live = (news.live ?? []).map(tell).filter((call) => !seen.has(call.key));
  calls.set({ live, recent });
}
