// Where the time of a request went.

import { STAGES, type Stage, type Stages } from './api';
import * as format from './format';

export const stageNames: Record<Stage, string> = {
  auth: 'auth',
  decode: 'decode',
  admit: 'admit',
  queue: 'queue',
  bind: 'bind',
  first_byte: 'first byte',
  generate: 'generate',
  record: 'record',
};

/** What each stage is, as docs/architecture.md says. */
export const stageMeanings: Record<Stage, string> = {
  auth: 'the key is looked up',
  decode: 'the body is read and decoded',
  admit: 'limits are checked',
  queue: 'waits for a free worker',
  bind: 'a worker gets model, system prompt and history',
  first_byte: 'from the prompt’s departure to the upstream’s first event',
  generate: 'from the first event to the last',
  record: 'the ledger’s commit',
};

interface Piece {
  stage: Stage;
  from: number;
  took: number;
  running: boolean;
}

/** pieces lays the stages one behind the other; the one that a live request is in goes up to now. */
function pieces(stages: Stages, running: string | undefined, elapsed: number): Piece[] {
  const list: Piece[] = [];
  let from = 0;
  for (const stage of STAGES) {
    let took = stages[stage] ?? 0;
    const now = stage === running;
    if (now) took = Math.max(took, elapsed - from);
    if (took <= 0) continue;
    list.push({ stage, from, took, running: now });
    from += took;
  }
  return list;
}

/** described is the waterfall in words. */
function described(list: Piece[], total: number): string {
  const long = [...list]
    .filter((piece) => piece.took >= total / 100)
    .map((piece) => `${stageNames[piece.stage]} ${format.milliseconds(piece.took)}`);
  return `${format.milliseconds(total)} in all: ${long.join(', ') || 'no stage measured'}`;
}

interface Props {
  stages: Stages;
  /** The stage that a live request is in. */
  running?: string | undefined;
  /** How long it took, or has taken so far. */
  total: number;
  /** What the whole width stands for, where several are compared. */
  scale?: number;
}

/** Strip is the waterfall in one line, for a table. */
export function Strip({ stages, running, total, scale }: Props) {
  const list = pieces(stages, running, total);
  const whole = Math.max(scale ?? total, 0.001);
  return (
    <div class="strip" role="img" aria-label={described(list, total)} title={described(list, total)}>
      {list.map((piece) => (
        <i
          key={piece.stage}
          class={`stage-${piece.stage}${piece.running ? ' running' : ''}`}
          style={{ left: `${(piece.from / whole) * 100}%`, width: `${(piece.took / whole) * 100}%` }}
        />
      ))}
    </div>
  );
}

/** Waterfall has a line for each stage, each beginning where the one before has ended. */
export function Waterfall({ stages, running, total, scale }: Props) {
  const list = pieces(stages, running, total);
  const whole = Math.max(scale ?? total, 0.001);
  return (
    <ol class="waterfall" aria-label="Stages">
      {list.map((piece) => (
        <li key={piece.stage} title={stageMeanings[piece.stage]}>
          <span class="name">{stageNames[piece.stage]}</span>
          <span class="track" aria-hidden="true">
            <i
              class={`stage-${piece.stage}${piece.running ? ' running' : ''}`}
              style={{ left: `${(piece.from / whole) * 100}%`, width: `${(piece.took / whole) * 100}%` }}
            />
          </span>
          <span class="took">{format.milliseconds(piece.took)}</span>
        </li>
      ))}
      <li class="total">
        <span class="name">{running ? 'so far' : 'total'}</span>
        <span class="track" aria-hidden="true" />
        <span class="took">{format.milliseconds(total)}</span>
      </li>
    </ol>
  );
}

/** Legend names the colours of the stages. */
export function Legend() {
  return (
    <ul class="legend" aria-label="Colours of the stages">
      {STAGES.map((stage) => (
        <li key={stage} title={stageMeanings[stage]}>
          <i class={`stage-${stage}`} aria-hidden="true" />
          {stageNames[stage]}
        </li>
      ))}
    </ul>
  );
}
