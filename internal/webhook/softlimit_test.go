package webhook_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/webhook"
)

func TestSoftLimits(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	key, project := budget.Owner{Kind: budget.Key, ID: "key_1"}, budget.Owner{Kind: budget.Project, ID: "alpha"}
	for name, tt := range map[string]struct {
		limit budget.Limit
		zone  *time.Location
		spent int64
		want  string
	}{
		"a key's tokens": {
			budget.Limit{Owner: key, Period: budget.Month, Unit: budget.Tokens, Hard: 2000, Soft: 1000}, berlin, 1200,
			`{"owner":{"kind":"key","id":"key_1"},"project_id":"alpha","period":"month","period_start":"2000-01-01T00:00:00+01:00",` +
				`"unit":"tokens","soft_limit":{"tokens":1000},"hard_limit":{"tokens":2000},"spent":{"tokens":1200}}`,
		},
		"a project's dollars": {
			budget.Limit{Owner: project, Period: budget.Total, Unit: budget.USD, Soft: 1_500_000}, time.UTC, 1_500_001,
			`{"owner":{"kind":"project","id":"alpha"},"project_id":"alpha","period":"total",` +
				`"unit":"usd","soft_limit":{"micro_usd":1500000,"usd":1.5},"spent":{"micro_usd":1500001,"usd":1.500001}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t)
				sender := s.start()
				sender.Notify(webhook.OfSoftLimit(tt.limit, "alpha", tt.limit.Period.Start(time.Now().In(tt.zone)), tt.spent))
				s.close(sender)
				want := `{"type":"budget.soft_limit_crossed","timestamp":"2000-01-01T00:00:00Z","data":` + tt.want + `}`
				if got := s.receiver.deliveries(); len(got) != 1 || got[0].body != want {
					t.Errorf("delivered %+v\nwant %s", got, want)
				}
			})
		})
	}
}

// TestASoftLimitIsNewsOnceAPeriod goes through days of one budget, with the
// Sender started anew each time that the limit is told of.
func TestASoftLimitIsNewsOnceAPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		limit := budget.Limit{Owner: budget.Owner{Kind: budget.Key, ID: "key_1"}, Period: budget.Day, Unit: budget.Tokens, Soft: 1000}
		forever := limit
		forever.Period = budget.Total
		cross := func(l budget.Limit, spent int64) {
			sender := s.start()
			sender.Notify(webhook.OfSoftLimit(l, "alpha", l.Period.Start(time.Now().UTC()), spent))
			s.close(sender)
		}
		const days = 3
		for range days {
			for hour := range 24 {
				cross(limit, 1000+int64(hour))
				cross(forever, 2000)
				time.Sleep(time.Hour)
			}
		}
		if n := len(s.receiver.deliveries()); n != days+1 {
			t.Errorf("%d deliveries, want one a day and one for ever", n)
		}
		// So is another limit, in the same period.
		cross(limit, 5000)
		for _, l := range []budget.Limit{
			{Owner: limit.Owner, Period: budget.Day, Unit: budget.Tokens, Soft: 2000},
			{Owner: limit.Owner, Period: budget.Week, Unit: budget.Tokens, Soft: 1000},
			{Owner: limit.Owner, Period: budget.Day, Unit: budget.USD, Soft: 1000},
			{Owner: budget.Owner{Kind: budget.Project, ID: "key_1"}, Period: budget.Day, Unit: budget.Tokens, Soft: 1000},
			{Owner: budget.Owner{Kind: budget.Key, ID: "key_2"}, Period: budget.Day, Unit: budget.Tokens, Soft: 1000},
		} {
			before := len(s.receiver.deliveries())
			cross(l, 5000)
			cross(l, 5001)
			if n := len(s.receiver.deliveries()) - before; n != 1 {
				t.Errorf("%+v: %d deliveries", l, n)
			}
		}
	})
}

// TestOverHTTP uses the Sender's own client: it follows no redirect.
func TestOverHTTP(t *testing.T) {
	got := make(chan *http.Request, 10)
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, server.URL+"/new", http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	var paths []string
	for _, path := range []string{"/moved", "/taken"} {
		sender, err := webhook.New(t.Context(), webhook.Options{
			URL: server.URL + path, Secret: secret, Archive: archive.New(archive.Options{Store: newMemory()}),
		})
		if err != nil {
			t.Fatal(err)
		}
		sender.Notify((&stand{}).event("one"))
		if err := sender.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(got)
	for r := range got {
		paths = append(paths, r.Method+" "+r.URL.Path)
	}
	if all := strings.Join(paths, ", "); all != "POST /moved, POST /taken" {
		t.Errorf("requests %s", all)
	}
}
