package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/audit"
)

func sampleEvent(n int) audit.Event {
	return audit.Event{
		Time: start.Add(time.Duration(n) * time.Second), Actor: "key_1", Address: "192.0.2.1:99", Action: audit.Refused,
		Target: "/v1/messages", Project: "alpha", Detail: "größer", RequestID: fmt.Sprintf("req_%d", n),
	}
}

func mustAudit(t *testing.T, s audit.Store, events ...audit.Event) {
	t.Helper()
	if err := s.AppendAudit(t.Context(), events); err != nil {
		t.Fatalf("AppendAudit: %v", err)
	}
}

func listAudit(t *testing.T, s audit.Store, after int64, limit int, filter audit.Filter) []audit.Event {
	t.Helper()
	events, err := s.ListAudit(t.Context(), after, limit, filter)
	if err != nil {
		t.Fatalf("ListAudit: %v", err)
	}
	return events
}

// TestAudit checks an audit.Store. open gives a new, empty store each time and
// sees to its end.
func TestAudit(t *testing.T, open func(t *testing.T) audit.Store) {
	t.Run("events come back as they were stored", func(t *testing.T) {
		s := open(t)
		bare := audit.Event{Time: start, Action: "key.created"}
		want := []audit.Event{sampleEvent(1), bare, sampleEvent(1)}
		mustAudit(t, s, want...)
		mustAudit(t, s)
		got := listAudit(t, s, 0, 10, audit.Filter{})
		if len(got) != len(want) {
			t.Fatalf("%d events, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i].ID <= 0 || i > 0 && got[i].ID <= got[i-1].ID {
				t.Errorf("event %d has the id %d: ids rise", i, got[i].ID)
			}
			want[i].ID = got[i].ID
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("event %d is\n%+v, want\n%+v", i, got[i], want[i])
			}
		}
	})

	t.Run("page by page", func(t *testing.T) {
		s := open(t)
		var all []audit.Event
		for n := range 25 {
			all = append(all, sampleEvent(n))
		}
		mustAudit(t, s, all...)
		var ids []string
		after := int64(0)
		for {
			page := listAudit(t, s, after, 10, audit.Filter{})
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				ids = append(ids, e.RequestID)
				after = e.ID
			}
		}
		if len(ids) != 25 || ids[0] != "req_0" || ids[24] != "req_24" {
			t.Errorf("the pages hold %v", ids)
		}
	})

	t.Run("page by page, the newest first", func(t *testing.T) {
		s := open(t)
		for n := range 25 {
			e := sampleEvent(n)
			if n%2 == 1 {
				e.Action = "key.created"
			}
			mustAudit(t, s, e)
		}
		for _, tt := range []struct {
			filter      audit.Filter
			count       int
			first, last string
		}{
			{audit.Filter{}, 25, "req_24", "req_0"},
			{audit.Filter{Action: "key.created"}, 12, "req_23", "req_1"},
			{audit.Filter{Since: start.Add(20 * time.Second)}, 5, "req_24", "req_20"},
			{audit.Filter{Actor: "key_2"}, 0, "", ""},
		} {
			var ids []string
			before := int64(0)
			for {
				page, err := s.NewestAudit(t.Context(), before, 10, tt.filter)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				for _, e := range page {
					if before > 0 && e.ID >= before {
						t.Fatalf("id %d comes after %d", e.ID, before)
					}
					ids = append(ids, e.RequestID)
					before = e.ID
				}
			}
			if len(ids) != tt.count || tt.count > 0 && (ids[0] != tt.first || ids[len(ids)-1] != tt.last) {
				t.Errorf("%+v: the pages hold %v", tt.filter, ids)
			}
		}
	})

	t.Run("what a filter chooses", func(t *testing.T) {
		s := open(t)
		other, revoked := sampleEvent(2), sampleEvent(3)
		other.Project = "beta"
		revoked.Action, revoked.Actor, revoked.Target = "key.revoked", "cli", "key_1"
		mustAudit(t, s, sampleEvent(1), other, revoked)
		for name, tt := range map[string]struct {
			filter audit.Filter
			want   []string
		}{
			"all":            {audit.Filter{}, []string{"req_1", "req_2", "req_3"}},
			"since a moment": {audit.Filter{Since: other.Time}, []string{"req_2", "req_3"}},
			"an action":      {audit.Filter{Action: "key.revoked"}, []string{"req_3"}},
			"a project":      {audit.Filter{Project: "beta"}, []string{"req_2"}},
			"both":           {audit.Filter{Project: "alpha", Action: audit.Refused}, []string{"req_1"}},
			"an actor":       {audit.Filter{Actor: "cli"}, []string{"req_3"}},
			"a key":          {audit.Filter{Key: "key_1"}, []string{"req_1", "req_2", "req_3"}},
			"a key, acting":  {audit.Filter{Key: "key_1", Actor: "key_1"}, []string{"req_1", "req_2"}},
			"another key":    {audit.Filter{Key: "key_2"}, nil},
			"nothing":        {audit.Filter{Project: "gamma"}, nil},
		} {
			var got []string
			for _, e := range listAudit(t, s, 0, 10, tt.filter) {
				got = append(got, e.RequestID)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
			}
		}
	})

	t.Run("an ended context changes nothing", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.AppendAudit(ctx, []audit.Event{sampleEvent(1)}); !errors.Is(err, context.Canceled) {
			t.Errorf("AppendAudit = %v, want context.Canceled", err)
		}
		if got := listAudit(t, s, 0, 10, audit.Filter{}); len(got) != 0 {
			t.Errorf("the store has %+v", got)
		}
	})

	t.Run("many at once", func(t *testing.T) {
		s := open(t)
		const writers, each = 8, 25
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := s.AppendAudit(t.Context(), []audit.Event{sampleEvent(2 * (w*each + i)), sampleEvent(2*(w*each+i) + 1)}); err != nil {
						t.Errorf("AppendAudit: %v", err)
					}
				}
			})
		}
		wg.Wait()
		if got := len(listAudit(t, s, 0, 1000, audit.Filter{})); got != 2*writers*each {
			t.Errorf("%d events, want %d", got, 2*writers*each)
		}
	})
}
