import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, get } from './api';

export interface Loaded<T> {
  data: T | null;
  error: ApiError | null;
  /** Nothing has come yet. */
  loading: boolean;
  reload: () => void;
}

/**
 * useLoad fetches a path when it is first drawn and when the path changes, and again
 * every so many milliseconds where that is given. What was there stays until the new
 * answer comes, and also when it fails.
 */
export function useLoad<T>(path: string | null, every = 0): Loaded<T> {
  const [state, setState] = useState<{ path: string | null; data: T | null; error: ApiError | null }>({
    path,
    data: null,
    error: null,
  });
  const load = useRef<() => void>(() => {});
  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    let timer = 0;
    const run = async () => {
      window.clearTimeout(timer);
      try {
        const data = await get<T>(path, abort.signal);
        if (abort.signal.aborted) return;
        setState({ path, data, error: null });
      } catch (error) {
        if (abort.signal.aborted) return;
        const failure = error instanceof ApiError ? error : new ApiError(0, String(error));
        setState((old) => ({ path, data: old.path === path ? old.data : null, error: failure }));
      }
      if (every > 0) timer = window.setTimeout(run, every);
    };
    load.current = run;
    void run();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [path, every]);
  const reload = useCallback(() => load.current(), []);
  return { data: state.data, error: state.error, loading: path !== null && !state.data && !state.error, reload };
}
