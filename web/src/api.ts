// The admin API: how it is called, and the shapes that this page reads.

export const ROOT = '/admin/v1';

/** What the service refused, in its own words. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = '',
    readonly param = '',
  ) {
    super(message);
  }
}

let onSignedOut = () => {};

/** whenSignedOut names what is called as soon as any call finds that the session has ended. */
export function whenSignedOut(f: () => void) {
  onSignedOut = f;
}

interface Options {
  method?: string;
  body?: unknown;
  signal?: AbortSignal;
  /** A 401 is an answer like another: sign-in, and the question whether there is a session. */
  anonymous?: boolean;
}

/** request calls the API and gives the answer once it has a good status. */
export async function request(path: string, options: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json, text/event-stream' };
  const method = options.method ?? 'GET';
  // A page of another origin can't send this header without being asked about it.
  if (method !== 'GET') headers['X-Claude-Dashboard'] = '1';
  if (options.body !== undefined) headers['Content-Type'] = 'application/json';
  let response: Response;
  try {
    response = await fetch(ROOT + path, {
      method,
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal ?? null,
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, 'The service can’t be reached.', 'unreachable');
  }
  if (response.ok) return response;
  const failure = await failed(response);
  if (response.status === 401 && !options.anonymous) onSignedOut();
  throw failure;
}

async function failed(response: Response): Promise<ApiError> {
  try {
    const body = (await response.json()) as { error?: { message?: string; code?: string; param?: string }; detail?: string };
    const message = body.error?.message ?? body.detail ?? '';
    if (message) return new ApiError(response.status, message, body.error?.code ?? '', body.error?.param ?? '');
  } catch {
    // Not the service's own words: a proxy's, perhaps.
  }
  return new ApiError(response.status, `The answer has status ${response.status}.`);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, { signal });
  return (await response.json()) as T;
}

/** send changes something. An answer without a body gives undefined. */
export async function send<T = void>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await request(path, { method, body });
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** query writes the parameters that have a value. */
export function query(parameters: Record<string, string | number | undefined>): string {
  const list = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== '') list.set(name, String(value));
  }
  const text = list.toString();
  return text ? `?${text}` : '';
}

export const STAGES = ['auth', 'decode', 'admit', 'queue', 'bind', 'first_byte', 'generate', 'record'] as const;
export type Stage = (typeof STAGES)[number];
export type Stages = Partial<Record<Stage | 'total', number>>;

export interface Session {
  key_id: string;
  name: string;
  expires_at: string;
}

export interface Breaker {
  backend: string;
  family: string;
  state: 'closed' | 'open' | 'half_open';
  failures: number;
  until?: string;
}

export interface Pool {
  mode: string;
  idle: number;
  held: number;
  parked: number;
  busy: number;
  starting: number;
  queued: number;
  max: number;
  min: number;
  reason?: string;
}

export interface Overview {
  version: string;
  uptime_seconds: number;
  node: string;
  nodes: { id: string; address?: string; alive_at: string }[] | null;
  status: string;
  ready: { ready: boolean; reason?: string };
  services: Record<string, { status: string; detail?: string }>;
  pool: Pool | null;
  breakers: Breaker[] | null;
  rates: {
    requests_per_second: number;
    errors_per_second: number;
    error_ratio: number;
    tokens_per_second: number;
    cost_micro_usd_per_minute: number;
  };
  live: number;
  queued_jobs: number;
  running_jobs: number;
  waiting_approvals: number;
  memory: { rss_bytes: number; goroutines: number };
}

export interface Call {
  id: string;
  endpoint: string;
  key_id: string;
  key_name?: string;
  project_id: string;
  model_requested: string;
  model_routed: string;
  model_answered: string;
  backend: string;
  status: number;
  category: string;
  started_at: string;
  elapsed_ms: number;
  stages: Stages;
  stage?: string;
  input_tokens: number;
  output_tokens: number;
  cache_read_input_tokens: number;
  cache_creation_input_tokens: number;
  cost_micro_usd: number | null;
  part: boolean;
  ttft_ms: number | null;
}

export interface Calls {
  live: Call[] | null;
  recent: Call[] | null;
}

export interface Series {
  endpoint: string;
  backend: string;
  model: string;
  count: number;
  errors: number;
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
  max_ms: number;
  ttft_p50_ms: number | null;
  ttft_p95_ms: number | null;
  stages: Record<string, { p50_ms: number; p95_ms: number }>;
}

export interface Timeline {
  step_seconds: number;
  start: string;
  requests: number[];
  errors: number[];
  tokens: number[];
  cost_micro_usd: number[];
  p50_ms: (number | null)[];
  p95_ms: (number | null)[];
}

export interface Worker {
  id: string;
  pid: number;
  state: 'starting' | 'idle' | 'held' | 'parked' | 'bound' | 'busy' | 'draining';
  age_seconds: number;
  turns: number;
  rss_bytes: number;
  project_id: string;
  model: string;
  request_id: string;
  idle_seconds: number;
}

export interface Key {
  id: string;
  name: string;
  prefix: string;
  project_id: string;
  profile: string;
  admin: boolean;
  created_at: string;
  expires_at?: string | null;
  revoked_at?: string | null;
  replaced_until?: string | null;
  /** The day, at its beginning. */
  last_used_at?: string | null;
  limits: { requests_per_minute: number | null; tokens_per_minute: number | null; concurrent_requests: number | null };
  spent: { today_tokens: number; today_micro_usd: number };
}

export interface Budget {
  owner_kind: string;
  owner_id: string;
  owner_name?: string;
  project_id: string;
  period: string;
  unit: string;
  hard: number;
  soft: number;
  soft_percent: number;
  spent: number;
  held: number;
  left: number | null;
  resets_at: string | null;
}

export interface SpendRow {
  name: string;
  id?: string;
  requests: number;
  errors: number;
  input_tokens: number;
  output_tokens: number;
  cache_read_input_tokens: number;
  cache_creation_input_tokens: number;
  cost_micro_usd: number;
}

export interface AuditEvent {
  id: number;
  time: string;
  actor: string;
  address: string;
  action: string;
  target: string;
  project_id: string;
  detail: string;
  request_id: string;
}

export interface Approval {
  n: number;
  tool: string;
  tool_use_id: string;
  input?: unknown;
  agent?: string;
  expires_at: string;
}

export interface Artifact {
  path: string;
  bytes: number;
  change: string;
  kept: boolean;
  modified_at: string;
}

export interface Task {
  id: string;
  status: string;
  key_id: string;
  project_id: string;
  description?: string;
  created_at: string;
  started_at?: string;
  ended_at?: string;
  attempt: number;
  cancelling?: boolean;
  approvals?: Approval[];
  result?: string;
  artifacts?: Artifact[];
  usage?: { input_tokens: number; output_tokens: number; total_tokens: number };
  cost_usd?: number | null;
  model?: string;
  turns?: number;
  stop_reason?: string;
  session_id?: string;
  warnings?: string[];
  detail?: string;
  error?: { message: string; type: string; code: string };
}

export interface TaskEvent {
  type: string;
  content?: string;
  tool?: string;
  tool_use_id?: string;
  input?: unknown;
  output?: unknown;
  is_error?: boolean;
  agent?: string;
  status?: string;
  attempt?: number;
  model?: string;
  n?: number;
  decision?: string;
  by?: string;
  reason?: string;
  expires_at?: string;
  result?: string;
  detail?: string;
}
