import { useState } from 'preact/hooks';
import type { Series, Stages } from '../api';
import * as format from '../format';
import { useLoad } from '../load';
import { Card, Choice, type Column, Dialog, Empty, Facts, Failure, Table, Waiting } from '../ui';
import { Legend, Strip, Waterfall } from '../waterfall';

type Span = '1m' | '5m' | '15m';

const keyOf = (series: Series) => `${series.endpoint} ${series.backend} ${series.model}`;

/** medians are the stages' medians, for a picture of the usual request. */
function medians(series: Series): Stages {
  return Object.fromEntries(Object.entries(series.stages ?? {}).map(([name, stage]) => [name, stage.p50_ms]));
}

const sum = (stages: Stages) =>
  Object.entries(stages).reduce((all, [name, ms]) => (name === 'total' ? all : all + (ms ?? 0)), 0);

export function Latency() {
  const [span, setSpan] = useState<Span>('5m');
  const [open, setOpen] = useState<string | null>(null);
  const { data, error, loading, reload } = useLoad<{ series: Series[] | null }>(`/latency?window=${span}`, 3000);
  const list = data?.series ?? [];
  const longest = Math.max(...list.map((series) => sum(medians(series))), 0);
  const shown = list.find((series) => keyOf(series) === open);
  const columns: Column<Series>[] = [
    {
      head: 'Endpoint',
      by: (series) => series.endpoint,
      cell: (series) => (
        <button type="button" class="row-title" onClick={() => setOpen(keyOf(series))}>
          <span class="path">{series.endpoint || format.NONE}</span>
          <span class="sub">
            {series.backend || format.NONE}, {series.model || format.NONE}
          </span>
        </button>
      ),
    },
    {
      head: 'Usual stages',
      wide: true,
      cell: (series) => <Strip stages={medians(series)} total={sum(medians(series))} scale={longest} />,
    },
    { head: 'Count', num: true, by: (series) => series.count, cell: (series) => format.compact(series.count) },
    {
      head: 'Errors',
      num: true,
      by: (series) => series.errors / Math.max(series.count, 1),
      cell: (series) => (
        <span class={series.errors > 0 ? 'bad-text' : undefined}>
          {format.percent(series.errors / Math.max(series.count, 1))}
        </span>
      ),
    },
    {
      head: 'First token p50',
      num: true,
      by: (series) => series.ttft_p50_ms ?? 0,
      cell: (series) => format.milliseconds(series.ttft_p50_ms || null),
    },
    {
      head: 'First token p95',
      num: true,
      by: (series) => series.ttft_p95_ms ?? 0,
      cell: (series) => format.milliseconds(series.ttft_p95_ms || null),
    },
    { head: 'p50', num: true, by: (series) => series.p50_ms, cell: (series) => format.milliseconds(series.p50_ms) },
    { head: 'p95', num: true, by: (series) => series.p95_ms, cell: (series) => format.milliseconds(series.p95_ms) },
    { head: 'p99', num: true, by: (series) => series.p99_ms, cell: (series) => format.milliseconds(series.p99_ms) },
    { head: 'Longest', num: true, by: (series) => series.max_ms, cell: (series) => format.milliseconds(series.max_ms) },
  ];
  return (
    <div class="stack">
      <div class="toolbar">
        <Choice
          label="Over the last"
          value={span}
          onChange={setSpan}
          options={[
            ['1m', '1 minute'],
            ['5m', '5 minutes'],
            ['15m', '15 minutes'],
          ]}
        />
        <div class="end">
          <Legend />
        </div>
      </div>
      {error && <Failure error={error} retry={reload} />}
      <Card class="flush">
        {loading && <Waiting />}
        {data && list.length === 0 && <Empty title="No request has ended in this time.">Choose a longer one, or wait.</Empty>}
        {list.length > 0 && (
          <Table
            caption="Latency by endpoint, backend and model"
            columns={columns}
            rows={list}
            rowKey={keyOf}
            onRow={(series) => setOpen(keyOf(series))}
            sorted={{ column: 2, down: true }}
          />
        )}
      </Card>
      {shown && (
        <Dialog title={shown.endpoint} panel onClose={() => setOpen(null)}>
          <p class="hint">
            {shown.backend}, {shown.model}: {format.integer(shown.count)} requests
          </p>
          <h3>Median of each stage</h3>
          <Waterfall stages={medians(shown)} total={sum(medians(shown))} />
          <h3>95th percentile of each stage</h3>
          <Facts
            list={Object.entries(shown.stages ?? {}).map(([name, stage]) => [
              name.replace('_', ' '),
              format.milliseconds(stage.p95_ms),
            ])}
          />
        </Dialog>
      )}
    </div>
  );
}
