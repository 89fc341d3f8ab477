// Numbers, times and money as the reader's language writes them.

const plain = new Intl.NumberFormat();
const one = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const two = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const compactFormat = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const percentFormat = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 });
const dollars = new Intl.NumberFormat(undefined, { style: 'currency', currency: 'USD', currencyDisplay: 'narrowSymbol' });
const cents = new Intl.NumberFormat(undefined, {
  style: 'currency',
  currency: 'USD',
  currencyDisplay: 'narrowSymbol',
  minimumFractionDigits: 4,
  maximumFractionDigits: 4,
});
const tiny = new Intl.NumberFormat(undefined, {
  style: 'currency',
  currency: 'USD',
  currencyDisplay: 'narrowSymbol',
  maximumSignificantDigits: 2,
});
const clockFormat = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hour12: false,
});
const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const momentFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium', hour12: false });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'short' });

const long = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });

/** Where there is no value. */
export const NONE = '–';

export const integer = (n: number | null | undefined) => (n == null ? NONE : plain.format(n));
export const compact = (n: number | null | undefined) =>
  n == null ? NONE : n < 10_000 ? plain.format(Math.round(n)) : compactFormat.format(n);
export const percent = (n: number | null | undefined) => (n == null ? NONE : percentFormat.format(n));
export const rate = (n: number) => (n >= 100 ? plain.format(Math.round(n)) : n >= 10 ? one.format(n) : two.format(n));

/** milliseconds writes a duration with three digits that matter, and its unit. */
export function milliseconds(ms: number | null | undefined): string {
  if (ms == null || Number.isNaN(ms)) return NONE;
  if (ms < 0.0005) return '0 ms';
  if (ms < 1) return `${two.format(ms)} ms`;
  if (ms < 99.95) return `${one.format(ms)} ms`;
  if (ms < 999.5) return `${plain.format(Math.round(ms))} ms`;
  if (ms < 60_000) return `${two.format(ms / 1000)} s`;
  return seconds(ms / 1000);
}

/** seconds writes a long duration by its two largest units. */
export function seconds(s: number | null | undefined): string {
  if (s == null) return NONE;
  if (s < 1) return '0 s';
  const units: [string, number][] = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ];
  const parts: string[] = [];
  let rest = Math.floor(s);
  for (const [name, size] of units) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n > 0) parts.push(`${n} ${name}`);
    if (parts.length === 2 || (parts.length === 1 && n === 0)) break;
  }
  return parts.join(' ');
}

export function bytes(n: number | null | undefined): string {
  if (!n) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  let value = n;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value >= 100 || unit === 0 ? plain.format(Math.round(value)) : one.format(value)} ${units[unit]}`;
}

/** money writes micro-dollars: small sums with as many digits as they need. */
export function money(micro: number | null | undefined): string {
  if (micro == null) return NONE;
  const usd = micro / 1e6;
  if (usd === 0 || Math.abs(usd) >= 1) return dollars.format(usd);
  return Math.abs(usd) >= 0.001 ? cents.format(usd) : tiny.format(usd);
}

export const time = (iso: string) => clockFormat.format(new Date(iso));
export const day = (iso: string) => dayFormat.format(new Date(iso));
export const moment = (iso: string | null | undefined) => (iso ? momentFormat.format(new Date(iso)) : NONE);

/** ago writes how far a time is from now, in either direction. */
export function ago(iso: string | null | undefined): string {
  if (!iso) return NONE;
  const s = (new Date(iso).getTime() - Date.now()) / 1000;
  const size = Math.abs(s);
  if (size < 60) return relative.format(Math.round(s), 'second');
  if (size < 3600) return relative.format(Math.round(s / 60), 'minute');
  if (size < 86_400) return relative.format(Math.round(s / 3600), 'hour');
  if (size < 60 * 86_400) return relative.format(Math.round(s / 86_400), 'day');
  return day(iso);
}

/** since writes a day as so many days ago: today, yesterday. */
export function since(iso: string | null | undefined): string {
  if (!iso) return 'never';
  const days = Math.floor((Date.now() - Date.parse(iso)) / 86_400_000);
  return days > 30 ? day(iso) : long.format(-days, 'day');
}

/** text writes a value of JSON for a person to read. */
export function text(value: unknown): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}
