/** One event of an event stream. */
export interface StreamEvent {
  event: string;
  data: string;
  id: string;
}

/**
 * events reads the event stream of an answer, for the calls that EventSource can't make:
 * those with a body. It ends with the stream, and with an error when the connection is
 * cut.
 */
export async function* events(response: Response): AsyncGenerator<StreamEvent> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      for (;;) {
        const end = /\r?\n\r?\n/.exec(rest);
        if (!end) break;
        const event = parse(rest.slice(0, end.index));
        rest = rest.slice(end.index + end[0].length);
        if (event) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function parse(block: string): StreamEvent | null {
  const event: StreamEvent = { event: 'message', data: '', id: '' };
  const data: string[] = [];
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon === 0) continue; // a comment: a heartbeat
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'event') event.event = value;
    else if (name === 'data') data.push(value);
    else if (name === 'id') event.id = value;
  }
  event.data = data.join('\n');
  return data.length > 0 ? event : null;
}
