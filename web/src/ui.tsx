// The parts that the views are made of.

import type { ComponentChildren, JSX, TargetedMouseEvent } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import type { ApiError } from './api';
import * as format from './format';
import { Icon, type IconName } from './icons';
import { Store, useStore } from './store';

export type Tone = 'neutral' | 'good' | 'warn' | 'bad' | 'info' | 'accent';

type ButtonProps = Omit<JSX.IntrinsicElements['button'], 'icon'> & {
  kind?: 'primary' | 'quiet' | 'danger';
  icon?: IconName;
  small?: boolean;
};

export function Button({ kind, icon, small, children, class: more, ...rest }: ButtonProps) {
  const classes = ['button', kind, small && 'small', !children && 'square', more].filter(Boolean).join(' ');
  return (
    <button type="button" {...rest} class={classes}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

export function Badge({ tone = 'neutral', dot, children }: { tone?: Tone; dot?: boolean; children: ComponentChildren }) {
  return (
    <span class={`badge ${tone}`}>
      {dot && <i class="dot" aria-hidden="true" />}
      {children}
    </span>
  );
}

interface CardProps {
  title?: ComponentChildren;
  hint?: ComponentChildren;
  actions?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}

/** Card is one thing with its own heading. */
export function Card({ title, hint, actions, class: more, children }: CardProps) {
  const id = useId();
  return (
    <section class={`card ${more ?? ''}`} aria-labelledby={title ? id : undefined}>
      {title && (
        <header class="card-head">
          <h2 id={id}>{title}</h2>
          {hint && <p class="hint">{hint}</p>}
          {actions && <div class="actions">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** Figure is one number with its name. */
export function Figure({
  name,
  value,
  note,
  tone,
}: {
  name: string;
  value: ComponentChildren;
  note?: ComponentChildren;
  tone?: Tone;
}) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd class={`value ${tone ?? ''}`}>{value}</dd>
      <dd class="note">{note ?? '\u00a0'}</dd>
    </div>
  );
}

export interface Column<T> {
  head: string;
  cell: (row: T) => ComponentChildren;
  /** Numbers stand at the right. */
  num?: boolean;
  /** Takes the room that is left. */
  wide?: boolean;
  /** Short words that stay in one line. */
  tight?: boolean;
  /** By what the column is sorted, where it can be. */
  by?: (row: T) => number | string;
}

interface TableProps<T> {
  /** What the table shows, for who hears the page; also the name of its scrolling area. */
  caption: string;
  columns: Column<T>[];
  rows: T[];
  rowKey: (row: T) => string | number;
  /** What a click on the row does; the first cell must have a button or link that does the same. */
  onRow?: (row: T) => void;
  rowClass?: (row: T) => string;
  /** The column that the table is sorted by at first, where its order isn't that of the rows. */
  sorted?: { column: number; down: boolean };
}

/** Table shows rows; on a narrow screen each becomes a card whose lines are named by the columns. */
export function Table<T>({ caption, columns, rows, rowKey, onRow, rowClass, sorted }: TableProps<T>) {
  const [order, setOrder] = useState(sorted ?? null);
  const by = order && columns[order.column]?.by;
  const shown = by ? [...rows].sort((a, b) => compare(by(a), by(b)) * (order.down ? -1 : 1)) : rows;
  const click = (row: T) => (event: TargetedMouseEvent<HTMLTableRowElement>) => {
    const target = event.target as Element;
    // What can be used by itself does what it says, and marking text isn't a click.
    if (!onRow || target.closest('a, button, input, select, label') || String(window.getSelection())) return;
    onRow(row);
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: whoever has only a keyboard scrolls it
    <section class="table-scroll" aria-label={caption} tabIndex={0}>
      <table>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column, i) => {
              const mine = order?.column === i;
              const classes =
                [column.num && 'num', column.wide && 'wide', column.tight && 'tight'].filter(Boolean).join(' ') || undefined;
              if (!column.by) {
                return (
                  <th key={column.head} scope="col" class={classes}>
                    {column.head}
                  </th>
                );
              }
              return (
                <th
                  key={column.head}
                  scope="col"
                  class={classes}
                  aria-sort={mine ? (order.down ? 'descending' : 'ascending') : undefined}
                >
                  <button
                    type="button"
                    class="sort"
                    onClick={() => setOrder({ column: i, down: mine ? !order.down : Boolean(column.num) })}
                  >
                    {column.head}
                    <span aria-hidden="true" class="arrow">
                      {mine ? (order.down ? '↓' : '↑') : ''}
                    </span>
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            // The first cell has a button for the same.
            <tr
              key={rowKey(row)}
              onClick={click(row)}
              class={[onRow && 'opens', rowClass?.(row)].filter(Boolean).join(' ') || undefined}
            >
              {columns.map((column, i) => {
                const classes =
                  [column.num && 'num', column.wide && 'wide', column.tight && 'tight'].filter(Boolean).join(' ') || undefined;
                const content = column.cell(row);
                return i === 0 ? (
                  <th key={column.head} scope="row" class={classes}>
                    {content}
                  </th>
                ) : (
                  <td key={column.head} data-head={column.head} class={classes}>
                    {content}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function compare(a: number | string, b: number | string): number {
  return typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <p>{children}</p>}
    </div>
  );
}

export function Failure({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div class="failure" role="alert">
      <Icon name="warning" />
      <p>{error.message}</p>
      {retry && (
        <Button small onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/** Waiting keeps the room of what is still loading. */
export function Waiting({ lines = 6 }: { lines?: number }) {
  return (
    <div class="waiting" role="status">
      <span class="hidden">Loading…</span>
      {Array.from({ length: lines }, (_, i) => (
        <div key={i} class="bone" aria-hidden="true" />
      ))}
    </div>
  );
}

interface FieldProps {
  label: string;
  hint?: string;
  error?: string | undefined;
  children: (given: { id: string; 'aria-describedby': string | undefined; 'aria-invalid': boolean }) => ComponentChildren;
  class?: string;
}

/** Field is a label with what it is for, and with what is wrong with it. */
export function Field({ label, hint, error, children, class: more }: FieldProps) {
  const id = useId();
  const about = hint || error ? `${id}-about` : undefined;
  return (
    <div class={`field ${more ?? ''}`}>
      <label for={id}>{label}</label>
      {children({ id, 'aria-describedby': about, 'aria-invalid': Boolean(error) })}
      {about && (
        <p id={about} class={error ? 'about wrong' : 'about'}>
          {error || hint}
        </p>
      )}
    </div>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}

/** Choice is one of a few, all of them seen: radio buttons that look like one control. */
export function Choice<T extends string>({ label, value, options, onChange }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend class="hidden">{label}</legend>
      {options.map(([key, text]) => (
        <label key={key} class={key === value ? 'chosen' : undefined}>
          <input type="radio" name={name} value={key} checked={key === value} onChange={() => onChange(key)} />
          {text}
        </label>
      ))}
    </fieldset>
  );
}

interface DialogProps {
  title: string;
  onClose: () => void;
  /** A panel stands at the side and is for reading. */
  panel?: boolean;
  /** Escape leaves it open: what it shows can't be shown again. */
  keep?: boolean;
  children: ComponentChildren;
}

/**
 * Dialog is open for as long as it is drawn. The browser keeps the keyboard inside,
 * closes it by Escape and gives the focus back to where it was.
 */
export function Dialog({ title, onClose, panel, keep, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  const closing = useRef(onClose);
  closing.current = onClose;
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    const opener = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={panel ? 'panel' : undefined}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        if (!keep) closing.current();
      }}
      onKeyDown={(event) => {
        // A second Escape would close it without asking.
        if (keep && event.key === 'Escape') event.preventDefault();
      }}
      onClick={(event) => {
        // Outside of what it shows: on what lies behind it.
        if (panel && event.target === ref.current) closing.current();
      }}
    >
      <div class="dialog-body">
        <div class="dialog-head">
          <h2 id={id}>{title}</h2>
          <Button kind="quiet" icon="close" aria-label="Close" onClick={() => closing.current()} />
        </div>
        {children}
      </div>
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  action: string;
  onClose: () => void;
  onConfirm: () => Promise<void>;
  children: ComponentChildren;
}

/** Confirm asks before what can't be taken back. */
export function Confirm({ title, action, onClose, onConfirm, children }: ConfirmProps) {
  const work = useWork();
  return (
    <Dialog title={title} onClose={onClose}>
      <div class="prose">{children}</div>
      {work.error && <Failure error={work.error} />}
      <footer class="dialog-foot">
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="danger" disabled={work.busy} onClick={() => work.run(async () => onConfirm())}>
          {action}
        </Button>
      </footer>
    </Dialog>
  );
}

/** useWork runs one thing at a time, and keeps how it failed. */
export function useWork() {
  const [state, setState] = useState<{ busy: boolean; error: ApiError | null }>({ busy: false, error: null });
  const run = async (work: () => Promise<void>) => {
    if (state.busy) return;
    setState({ busy: true, error: null });
    try {
      await work();
      setState({ busy: false, error: null });
    } catch (error) {
      setState({ busy: false, error: error as ApiError });
    }
  };
  return { ...state, run };
}

/** Copy puts a text into the clipboard. Where the browser has none, the text can be marked. */
export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      say('Copied.');
      window.setTimeout(() => setDone(false), 2000);
    } catch {
      say('The browser doesn’t let this page copy. Mark the text and copy it yourself.', 'bad');
    }
  };
  return (
    <Button icon={done ? 'check' : 'copy'} onClick={copy}>
      {label}
    </Button>
  );
}

/** Ago is a time from now; what it is exactly, the pointer tells. */
export function Ago({ at }: { at: string | null | undefined }) {
  if (!at) return <>{format.NONE}</>;
  return (
    <time dateTime={at} title={format.moment(at)}>
      {format.ago(at)}
    </time>
  );
}

interface BarProps {
  label: string;
  /** From 0 to 1; more is drawn as full. */
  value: number;
  tone?: Tone;
  mark?: number | undefined;
}

/** Bar shows how much of something is used. */
export function Bar({ label, value, tone = 'accent', mark }: BarProps) {
  const part = Math.max(0, Math.min(1, value));
  return (
    // biome-ignore lint/a11y/useSemanticElements: a meter element can't be drawn like this everywhere
    <div
      class={`bar ${tone}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(part * 100)}
    >
      <div class="fill" style={{ width: `${part * 100}%` }} />
      {mark !== undefined && mark > 0 && mark < 1 && <div class="mark" style={{ left: `${mark * 100}%` }} />}
    </div>
  );
}

interface Word {
  id: number;
  text: string;
  tone: 'good' | 'bad';
}

const words = new Store<Word[]>([]);
let spoken = 0;

/** say shows a short word for a few seconds, and has it read out. */
export function say(text: string, tone: Word['tone'] = 'good') {
  const id = ++spoken;
  words.set([...words.value.slice(-2), { id, text, tone }]);
  window.setTimeout(() => words.set(words.value.filter((word) => word.id !== id)), 5000);
}

/** Toasts is where say shows its words; it is there from the start, or nobody would hear them. */
export function Toasts() {
  const list = useStore(words);
  return (
    <div class="toasts" role="status" aria-live="polite">
      {list.map((word) => (
        <p key={word.id} class={`toast ${word.tone}`}>
          {word.text}
        </p>
      ))}
    </div>
  );
}

/** Facts lists names and values. */
export function Facts({ list }: { list: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {list.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value === '' || value == null ? format.NONE : value}</dd>
        </div>
      ))}
    </dl>
  );
}
