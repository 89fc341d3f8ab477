package storetest

import (
	"context"
	"errors"
	"fmt"
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

	t.Run("rows without tokens aren't added up", func(t *testing.T) {
		s := open(t)
		refused := sampleRow(1)
		refused.Usage, refused.CostMicroUSD, refused.Answered, refused.Status = message.Usage{}, nil, "", 429
		mustAppend(t, s, refused)
		if sums, err := s.SumUsage(t.Context(), usage.Filter{}); err != nil || len(sums) != 0 {
			t.Errorf("%+v, %v", sums, err)
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
			sums, err := s.SumUsage(t.Context(), tt.filter)
			summed := int64(0)
			for _, sum := range sums {
				summed += sum.Requests
			}
			if err != nil || summed != int64(len(tt.want)) || !reflect.DeepEqual(listed, tt.want) {
				t.Errorf("%s: listed %v, %d added up, %v; want %v", tt.name, listed, summed, err, tt.want)
			}
		}
	})

	t.Run("sums by day, project, key and model", func(t *testing.T) {
		s := open(t)
		day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		row := func(n int, at time.Time, change func(r *usage.Row)) usage.Row {
			r := sampleRow(n)
			r.Time = at
			change(&r)
			return r
		}
		mustAppend(t, s,
			row(0, day.Add(-time.Microsecond), func(*usage.Row) {}), // before since
			row(1, day, func(*usage.Row) {}),                        // since is included
			row(2, day, func(r *usage.Row) { r.ProjectID = "beta" }),
			row(3, day.Add(24*time.Hour-time.Microsecond), func(r *usage.Row) { r.CostMicroUSD = nil }),
			row(4, day, func(r *usage.Row) { r.Answered = "" }),
			row(5, day, func(r *usage.Row) { r.Answered, r.Routed = "", "" }),
			row(6, day.Add(24*time.Hour), func(*usage.Row) {}),
			row(7, day, func(r *usage.Row) { r.KeyID = "key_0" }),
		)
		one := message.Usage{InputTokens: 10, OutputTokens: 20, CacheReadInputTokens: 30, CacheCreationInputTokens: 40}
		two := message.Usage{InputTokens: 20, OutputTokens: 40, CacheReadInputTokens: 60, CacheCreationInputTokens: 80}
		want := []usage.Sum{
			{Day: day, ProjectID: "alpha", KeyID: "key_0", Model: "model-answered", Requests: 1, Usage: one, CostMicroUSD: 1007},
			{Day: day, ProjectID: "alpha", KeyID: "key_1", Model: "haiku", Requests: 1, Usage: one, CostMicroUSD: 1005},
			{Day: day, ProjectID: "alpha", KeyID: "key_1", Model: "model-answered", Requests: 2, Usage: two, CostMicroUSD: 1001, Unpriced: 1},
			{Day: day, ProjectID: "alpha", KeyID: "key_1", Model: "model-routed", Requests: 1, Usage: one, CostMicroUSD: 1004},
			{Day: day.Add(24 * time.Hour), ProjectID: "alpha", KeyID: "key_1", Model: "model-answered", Requests: 1, Usage: one, CostMicroUSD: 1006},
		}
		if got, err := s.SumUsage(t.Context(), usage.Filter{ProjectID: "alpha", Since: day}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("SumUsage =\n%+v, %v; want\n%+v", got, err, want)
		}
		// Those of all projects: beta's comes behind the others of its day.
		want = slices.Insert(want, 4, usage.Sum{Day: day, ProjectID: "beta", KeyID: "key_1", Model: "model-answered", Requests: 1, Usage: one, CostMicroUSD: 1002})
		if got, err := s.SumUsage(t.Context(), usage.Filter{Since: day}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("SumUsage of all =\n%+v, %v; want\n%+v", got, err, want)
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

// TestSpent checks what a usage.Store keeps of what was spent.
func TestSpent(t *testing.T, open func(t *testing.T) usage.Store) {
	key, project := budget.Owner{Kind: budget.Key, ID: "key_1"}, budget.Owner{Kind: budget.Project, ID: "key_1"} // of one name
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	spend := func(owner budget.Owner, period budget.Period, start time.Time, tokens int64) budget.Spend {
		return budget.Spend{Owner: owner, Period: period, Start: start, Amount: budget.Amount{Tokens: tokens, MicroUSD: 10 * tokens}}
	}
	want := func(t *testing.T, s usage.Store, owner budget.Owner, period budget.Period, start time.Time, tokens int64) {
		t.Helper()
		got, err := s.Spent(t.Context(), owner, period, start)
		if err != nil || got != (budget.Amount{Tokens: tokens, MicroUSD: 10 * tokens}) {
			t.Errorf("%v has spent %+v in the %s from %s, %v; want %d tokens", owner, got, period, start, err, tokens)
		}
	}

	t.Run("spends add up, apart by owner, period and start", func(t *testing.T) {
		s := open(t)
		want(t, s, key, budget.Day, day, 0)
		for _, spends := range [][]budget.Spend{
			{spend(key, budget.Day, day, 1), spend(project, budget.Day, day, 2), spend(key, budget.Month, day, 4)},
			{spend(key, budget.Day, day, 8), spend(key, budget.Day, day.AddDate(0, 0, 1), 16)},
		} {
			if err := s.AppendUsage(t.Context(), []usage.Row{sampleRow(1)}, spends); err != nil {
				t.Fatal(err)
			}
		}
		want(t, s, key, budget.Day, day, 9)
		want(t, s, key, budget.Day, day.AddDate(0, 0, 1), 16)
		want(t, s, project, budget.Day, day, 2)
		want(t, s, key, budget.Month, day, 4)
		want(t, s, key, budget.Week, day, 0)
	})

	t.Run("the moment counts, not the zone that it is written in", func(t *testing.T) {
		s := open(t)
		if err := s.AppendUsage(t.Context(), nil, []budget.Spend{spend(key, budget.Day, day.In(time.FixedZone("", 3600)), 3)}); err != nil {
			t.Fatal(err)
		}
		want(t, s, key, budget.Day, day, 3)
	})

	t.Run("rows and spends are stored together or not at all", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.AppendUsage(ctx, []usage.Row{sampleRow(1)}, []budget.Spend{spend(key, budget.Day, day, 1)}); err == nil {
			t.Error("stored under an ended context")
		}
		want(t, s, key, budget.Day, day, 0)
	})

	t.Run("many writers at once", func(t *testing.T) {
		s := open(t)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					if err := s.AppendUsage(t.Context(), nil, []budget.Spend{spend(key, budget.Total, time.Unix(0, 0), 1), spend(project, budget.Total, time.Unix(0, 0), 1)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		want(t, s, key, budget.Total, time.Unix(0, 0), 80)
		want(t, s, project, budget.Total, time.Unix(0, 0), 80)
	})
}
