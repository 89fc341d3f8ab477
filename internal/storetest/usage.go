package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/usage"
)

func sampleRow(n int) usage.Row {
	cost := int64(1000 + n)
	row := usage.Row{
		RequestID: fmt.Sprintf("req-%d", n), Time: start.Add(time.Duration(n) * time.Second), Endpoint: "/v1/messages",
		KeyID: "key_1", ProjectID: "alpha", Backend: "cli", Requested: "haiku", Routed: "model-routed", Answered: "model-answered",
		Usage:        message.Usage{InputTokens: 10, OutputTokens: 20, CacheReadInputTokens: 30, CacheCreationInputTokens: 40},
		CostMicroUSD: &cost, StopReason: "end_turn", Status: 200,
	}
	for s := range row.Micros {
		row.Micros[s] = int64(100*n + s)
	}
	row.Micros[latency.Record] = usage.NotMeasured // by the contract of Row
	return row
}

func mustAppend(t *testing.T, s usage.Store, rows ...usage.Row) {
	t.Helper()
	if err := s.AppendUsage(t.Context(), rows, nil); err != nil {
		t.Fatalf("AppendUsage: %v", err)
	}
}

func list(t *testing.T, s usage.Store, after int64, limit int) []usage.Row {
	t.Helper()
	return listChosen(t, s, after, limit, usage.Filter{})
}

func listChosen(t *testing.T, s usage.Store, after int64, limit int, filter usage.Filter) []usage.Row {
	t.Helper()
	rows, err := s.ListUsage(t.Context(), after, limit, filter)
	if err != nil {
		t.Fatalf("ListUsage: %v", err)
	}
	return rows
}

// TestUsage checks a usage.Store. open gives a new, empty store each time and
// sees to its end.
func TestUsage(t *testing.T, open func(t *testing.T) usage.Store) {
	t.Run("rows come back as they were stored", func(t *testing.T) {
		s := open(t)
		failed := sampleRow(2)
		failed.CostMicroUSD, failed.Answered, failed.StopReason = nil, "", ""
		failed.Status, failed.Category, failed.Usage = 502, "upstream_error", message.Usage{}
		for stage := range failed.Micros {
			failed.Micros[stage] = usage.NotMeasured
		}
		failed.Micros[0] = 0 // measured, and under a microsecond
		want := []usage.Row{sampleRow(1), failed, sampleRow(1)}
		mustAppend(t, s, want...)
		got := list(t, s, 0, 10)
		if len(got) != len(want) {
			t.Fatalf("%d rows, want %d: a request id may come twice", len(got), len(want))
		}
		for i := range want {
			want[i].ID = got[i].ID
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("row %d is\n%+v, want\n%+v", i, got[i], want[i])
			}
		}
	})

	t.Run("pages", func(t *testing.T) {
		s := open(t)
		for n := range 5 {
			mustAppend(t, s, sampleRow(n))
		}
		var seen []string
		var after int64
		for {
			page := list(t, s, after, 2)
			if len(page) == 0 {
				break
			}
			for _, row := range page {
				if row.ID <= after {
					t.Fatalf("id %d after %d", row.ID, after)
				}
				after = row.ID
				seen = append(seen, row.RequestID)
			}
		}
		if want := []string{"req-0", "req-1", "req-2", "req-3", "req-4"}; !reflect.DeepEqual(seen, want) {
			t.Errorf("pages held %v, want %v", seen, want)
		}
	})

	t.Run("no rows", func(t *testing.T) {
		s := open(t)
		mustAppend(t, s)
		if got := list(t, s, 0, 10); len(got) != 0 {
			t.Errorf("%d rows", len(got))
		}
		if got, err := s.SumUsage(t.Context(), usage.Filter{}); err != nil || len(got) != 0 {
			t.Errorf("SumUsage = %v, %v", got, err)
		}
	})

	t.Run("what a filter chooses", func(t *testing.T) {
		s := open(t)
		var rows []usage.Row
		for n, owner := range [][2]string{{"alpha", "key_1"}, {"alpha", "key_2"}, {"beta", "key_3"}, {"alpha", "key_1"}} {
			row := sampleRow(n)
			row.ProjectID, row.KeyID = owner[0], owner[1]
			rows = append(rows, row)
		}
		mustAppend(t, s, rows...)
		for _, tt := range []struct {
			name   string
			filter usage.Filter
			want   []string
		}{
			{"all", usage.Filter{}, []string{"req-0", "req-1", "req-2", "req-3"}},
			{"a project", usage.Filter{ProjectID: "alpha"}, []string{"req-0", "req-1", "req-3"}},
			{"a key", usage.Filter{KeyID: "key_1"}, []string{"req-0", "req-3"}},
			{"a key of another project", usage.Filter{ProjectID: "beta", KeyID: "key_1"}, nil},
			{"from a moment on", usage.Filter{Since: rows[2].Time}, []string{"req-2", "req-3"}},
			{"before a moment", usage.Filter{Until: rows[2].Time}, []string{"req-0", "req-1"}},
			{"all together", usage.Filter{Since: rows[1].Time, Until: rows[3].Time, ProjectID: "alpha", KeyID: "key_2"}, []string{"req-1"}},
		} {
			var listed []string
			for after := int64(0); ; {
				page := listChosen(t, s, after, 2, tt.filter)
				if len(page) == 0 {
					break
				}
				for _, row := range page {
					listed, after = append(listed, row.RequestID), row.ID
				}
			}
			if !reflect.DeepEqual(listed, tt.want) {
				t.Errorf("%s: listed %v, want %v", tt.name, listed, tt.want)
			}
		}
	})

	t.Run("rows are counted", func(t *testing.T) {
		s := open(t)
		if got, err := s.CountUsage(t.Context(), usage.Filter{}, usage.ByKey); err != nil || len(got) != 0 {
			t.Errorf("nothing is %+v, %v", got, err)
		}
		early := sampleRow(0)
		early.Time = start.AddDate(0, 0, -40)
		first, failed, refused, other := sampleRow(1), sampleRow(2), sampleRow(3), sampleRow(4)
		failed.CostMicroUSD, failed.Answered, failed.Status, failed.Category, failed.KeyID = nil, "", 502, "upstream_error", "key_2"
		refused.CostMicroUSD, refused.Answered, refused.Routed, refused.Backend, refused.Usage = nil, "", "", "", message.Usage{}
		refused.Status, refused.Category, refused.Time = 400, "bad_request", start.Add(usage.Quarter)
		other.ProjectID, other.KeyID, other.Backend = "beta", "key_3", "direct"
		mustAppend(t, s, early, first, failed, refused, other)
		count := func(project, name string, rows, errors, tokens, cost, unpriced int64) usage.Count {
			return usage.Count{
				ProjectID: project, Name: name, Rows: rows, Errors: errors, CostMicroUSD: cost, Unpriced: unpriced,
				Usage: message.Usage{InputTokens: 10 * tokens, OutputTokens: 20 * tokens, CacheReadInputTokens: 30 * tokens, CacheCreationInputTokens: 40 * tokens},
			}
		}
		at := func(c usage.Count, quarter time.Time) usage.Count { c.Quarter = quarter; return c }
		quarter := start.UTC().Truncate(usage.Quarter)
		for _, tt := range []struct {
			by     usage.Dimension
			filter usage.Filter
			want   []usage.Count
		}{
			{usage.ByProject, usage.Filter{Since: start}, []usage.Count{count("alpha", "", 3, 2, 2, 1001, 1), count("beta", "", 1, 0, 1, 1004, 0)}},
			{usage.ByProject, usage.Filter{}, []usage.Count{count("alpha", "", 4, 2, 3, 2001, 1), count("beta", "", 1, 0, 1, 1004, 0)}},
			{usage.ByProject, usage.Filter{Until: start}, []usage.Count{count("alpha", "", 1, 0, 1, 1000, 0)}},
			{usage.ByKey, usage.Filter{Since: start, ProjectID: "alpha"}, []usage.Count{count("alpha", "key_1", 2, 1, 1, 1001, 0), count("alpha", "key_2", 1, 1, 1, 0, 1)}},
			{usage.ByKey, usage.Filter{Since: start, KeyID: "key_3"}, []usage.Count{count("beta", "key_3", 1, 0, 1, 1004, 0)}},
			{usage.ByModel, usage.Filter{Since: start, ProjectID: "alpha"}, []usage.Count{
				count("alpha", "haiku", 1, 1, 0, 0, 0), count("alpha", "model-answered", 1, 0, 1, 1001, 0), count("alpha", "model-routed", 1, 1, 1, 0, 1),
			}},
			{usage.ByBackend, usage.Filter{Since: start}, []usage.Count{
				count("alpha", "", 1, 1, 0, 0, 0), count("alpha", "cli", 2, 1, 2, 1001, 1), count("beta", "direct", 1, 0, 1, 1004, 0),
			}},
			{usage.ByDay, usage.Filter{Since: start, ProjectID: "alpha"}, []usage.Count{
				at(count("alpha", "", 2, 1, 2, 1001, 1), quarter), at(count("alpha", "", 1, 1, 0, 0, 0), quarter.Add(usage.Quarter)),
			}},
			{usage.ByKey, usage.Filter{ProjectID: "gamma"}, nil},
		} {
			got, err := s.CountUsage(t.Context(), tt.filter, tt.by)
			slices.SortFunc(got, func(a, b usage.Count) int {
				return cmp.Or(cmp.Compare(a.ProjectID, b.ProjectID), cmp.Compare(a.Name, b.Name), a.Quarter.Compare(b.Quarter))
			})
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("by %s, %+v:\n%+v, %v; want\n%+v", tt.by, tt.filter, got, err, tt.want)
			}
		}
	})

	t.Run("an ended context stores nothing", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.AppendUsage(ctx, []usage.Row{sampleRow(1)}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("AppendUsage = %v, want context.Canceled", err)
		}
		if got := list(t, s, 0, 10); len(got) != 0 {
			t.Errorf("%d rows", len(got))
		}
	})

	t.Run("many writers at once", func(t *testing.T) {
		s := open(t)
		const writers, batches, batch = 8, 5, 7
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for b := range batches {
					var rows []usage.Row
					for i := range batch {
						rows = append(rows, sampleRow(w*1000+b*100+i))
					}
					if err := s.AppendUsage(t.Context(), rows, nil); err != nil {
						t.Errorf("AppendUsage: %v", err)
					}
				}
			})
		}
		wg.Wait()
		seen := map[string]bool{}
		for _, row := range list(t, s, 0, 10_000) {
			seen[row.RequestID] = true
		}
		if want := writers * batches * batch; len(seen) != want {
			t.Errorf("%d rows, want %d", len(seen), want)
		}
	})
}

// sum is one of a day's sums; its figures follow from n.
func sum(day time.Time, project, key, model string, n int64) usage.Sum {
	return usage.Sum{
		Day: day, ProjectID: project, KeyID: key, Model: model, Requests: n,
		Usage:        message.Usage{InputTokens: 10 * n, OutputTokens: 20 * n, CacheReadInputTokens: 30 * n, CacheCreationInputTokens: 40 * n},
		CostMicroUSD: 50 * n, Unpriced: 60 * n, Charged: budget.Amount{Tokens: 80 * n, MicroUSD: 70 * n},
	}
}

// TestSums checks what a usage.Store keeps of days: the reports and what was spent.
func TestSums(t *testing.T, open func(t *testing.T) usage.Store) {
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) // a Sunday
	next := day.AddDate(0, 0, 1)
	add := func(t *testing.T, s usage.Store, sums ...usage.Sum) {
		t.Helper()
		if err := s.AppendUsage(t.Context(), nil, sums); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("sums add up and come in order", func(t *testing.T) {
		s := open(t)
		add(t, s, sum(next, "alpha", "key_1", "m", 1), sum(day, "beta", "key_1", "m", 2), sum(day, "alpha", "key_2", "m", 3), sum(day, "alpha", "key_1", "n", 4))
		add(t, s, sum(day, "alpha", "key_1", "m", 5), sum(day, "alpha", "key_2", "m", 6))
		all := []usage.Sum{
			sum(day, "alpha", "key_1", "m", 5), sum(day, "alpha", "key_1", "n", 4), sum(day, "alpha", "key_2", "m", 9),
			sum(day, "beta", "key_1", "m", 2), sum(next, "alpha", "key_1", "m", 1),
		}
		for _, tt := range []struct {
			name   string
			filter usage.Filter
			want   []usage.Sum
		}{
			{"all", usage.Filter{}, all},
			{"a project", usage.Filter{ProjectID: "beta"}, all[3:4]},
			{"a key", usage.Filter{KeyID: "key_2"}, all[2:3]},
			{"a key of a project", usage.Filter{ProjectID: "alpha", KeyID: "key_1", Until: next}, all[:2]},
			{"from a day on", usage.Filter{Since: next}, all[4:]},
			{"from within a day on", usage.Filter{Since: day.Add(time.Microsecond)}, all[4:]},
			{"before a day", usage.Filter{Until: next}, all[:4]},
			{"none", usage.Filter{Since: next, ProjectID: "beta"}, nil},
		} {
			if got, err := s.SumUsage(t.Context(), tt.filter); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
			}
		}
	})

	spent := func(t *testing.T, s usage.Store, kind budget.Kind, id string, period budget.Period, at time.Time, n int64) {
		t.Helper()
		got, err := s.Spent(t.Context(), budget.Owner{Kind: kind, ID: id}, period, period.Start(at))
		if err != nil || got != (budget.Amount{Tokens: (30 + 80) * n, MicroUSD: (50 + 70) * n}) {
			t.Errorf("%s %s has spent %+v in the %s of %s, %v; want %d requests'", kind, id, got, period, at, err, n)
		}
	}

	t.Run("what keys and projects have spent", func(t *testing.T) {
		s := open(t)
		spent(t, s, budget.Key, "one", budget.Day, day, 0)
		add(
			t, s, sum(day, "one", "a", "m", 1), sum(day, "one", "a", "n", 2), sum(day, "one", "b", "m", 4), sum(day, "other", "one", "m", 8),
			sum(next, "one", "a", "m", 16), sum(day.AddDate(0, 0, -1), "one", "a", "m", 32), sum(day.AddDate(-1, 0, 0), "one", "a", "m", 64),
		)
		spent(t, s, budget.Key, "a", budget.Day, day, 3)
		spent(t, s, budget.Key, "one", budget.Day, day, 8) // not the project of that name
		spent(t, s, budget.Project, "one", budget.Day, day, 7)
		spent(t, s, budget.Project, "one", budget.Day, next, 16)
		spent(t, s, budget.Project, "one", budget.Week, day, 7+32)
		spent(t, s, budget.Project, "one", budget.Month, day, 7+16)
		spent(t, s, budget.Project, "one", budget.Total, day, 7+16+32+64)
		spent(t, s, budget.Key, "b", budget.Total, day, 4)
		spent(t, s, budget.Key, "c", budget.Total, day, 0)
	})

	t.Run("the last day of each key", func(t *testing.T) {
		s := open(t)
		add(t, s, sum(next, "one", "a", "m", 1), sum(day, "one", "a", "n", 1), sum(day, "two", "b", "m", 1))
		want := map[string]time.Time{"a": next, "b": day}
		if got, err := s.LastDays(t.Context()); err != nil || !maps.Equal(got, want) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	})

	t.Run("days of another time zone", func(t *testing.T) {
		s := open(t)
		berlin, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		long := time.Date(2026, 10, 25, 0, 0, 0, 0, berlin) // 25 hours
		add(t, s, sum(long, "p", "a", "m", 1), sum(long.AddDate(0, 0, 1), "p", "a", "m", 2), sum(long.AddDate(0, 0, -1), "p", "a", "m", 4))
		spent(t, s, budget.Key, "a", budget.Day, long.Add(24*time.Hour+30*time.Minute), 1)
		spent(t, s, budget.Key, "a", budget.Week, long, 5)
		spent(t, s, budget.Project, "p", budget.Month, long, 7)
	})

	t.Run("rows and sums are stored together or not at all", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.AppendUsage(ctx, []usage.Row{sampleRow(1)}, []usage.Sum{sum(day, "p", "a", "m", 1)}); !errors.Is(err, context.Canceled) {
			t.Errorf("AppendUsage under an ended context = %v", err)
		}
		spent(t, s, budget.Key, "a", budget.Day, day, 0)
		if err := s.AppendUsage(t.Context(), []usage.Row{sampleRow(1)}, []usage.Sum{sum(day, "p", "a", "m", 1)}); err != nil {
			t.Fatal(err)
		}
		if rows := list(t, s, 0, 10); len(rows) != 1 {
			t.Errorf("%d rows, want 1", len(rows))
		}
		spent(t, s, budget.Key, "a", budget.Day, day, 1)
	})

	t.Run("many writers at once", func(t *testing.T) {
		s := open(t)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for range 10 {
					sums := []usage.Sum{sum(day, "p", "a", "m", 1), sum(day, "p", "b", "m", 1)}
					if w%2 == 0 { // in another order: no two writers may wait for each other
						slices.Reverse(sums)
					}
					if err := s.AppendUsage(t.Context(), nil, sums); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		spent(t, s, budget.Key, "a", budget.Day, day, 80)
		spent(t, s, budget.Project, "p", budget.Day, day, 160)
	})
}
