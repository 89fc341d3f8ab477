import { useEffect, useState } from 'preact/hooks';

/** Store holds one value and tells those who follow it of every other one. */
export class Store<T> {
  private followers = new Set<() => void>();

  constructor(private current: T) {}

  get value(): T {
    return this.current;
  }

  set(value: T) {
    if (Object.is(value, this.current)) return;
    this.current = value;
    for (const follower of [...this.followers]) follower();
  }

  follow(f: () => void): () => void {
    this.followers.add(f);
    return () => this.followers.delete(f);
  }
}

/** useStore draws the component anew whenever the store's value is another one. */
export function useStore<T>(store: Store<T>): T {
  const [, draw] = useState({});
  useEffect(() => {
    const seen = store.value;
    const stop = store.follow(() => draw({}));
    // Between the first drawing and here it may have changed.
    if (!Object.is(seen, store.value)) draw({});
    return stop;
  }, [store]);
  return store.value;
}
