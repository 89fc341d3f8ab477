import { ApiError, request, type Session, send, whenSignedOut } from './api';
import * as live from './live';
import { Store } from './store';

/** undefined: not known yet; null: nobody is signed in. */
export const session = new Store<Session | null | undefined>(undefined);
/** Why the sign-in is shown to somebody who was signed in. */
export const ended = new Store('');
/** The service can't be asked. */
export const unreachable = new Store<ApiError | null>(null);

whenSignedOut(() => {
  if (!session.value) return;
  ended.set('Your session has ended. Sign in again to go on.');
  out();
});

function out() {
  live.close();
  session.set(null);
}

/** find asks whether somebody is signed in. */
export async function find() {
  unreachable.set(null);
  try {
    const response = await request('/session', { anonymous: true });
    session.set((await response.json()) as Session);
    live.open();
  } catch (error) {
    if (error instanceof ApiError && error.status >= 400 && error.status < 500) session.set(null);
    else unreachable.set(error as ApiError);
  }
}

/** signIn opens a session; the key itself is kept nowhere in the page. */
export async function signIn(key: string) {
  await request('/session', { method: 'POST', body: { key }, anonymous: true });
  ended.set('');
  await find();
}

export async function signOut() {
  await send('DELETE', '/session');
  ended.set('');
  out();
}
